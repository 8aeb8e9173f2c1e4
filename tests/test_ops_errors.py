"""Every mistake in an argument of an op gets one error that names the op and what came."""

from __future__ import annotations

import numpy as np
import pytest

from minitx import ops
from minitx.tensor import Tensor

pytestmark = pytest.mark.usefixtures("one_thread")

F32 = np.float32


def f(*shape):
    return np.ones(shape)


def i(*shape):
    return np.ones(shape, int)


RNG = np.random.default_rng(0)
QKV = (np.ones((2, 3, 4, 5)),) * 3
IMAGE, W = f(2, 3, 5, 6), f(4, 3, 3, 3)
ERRORS = [
    (TypeError, "gelu: .*int64.*float32", lambda: ops.gelu(i(3))),
    (ValueError, "gelu: approximate is 'erf'", lambda: ops.gelu(f(3), "erf")),
    (TypeError, "relu: ", lambda: ops.relu(["a"])),
    (ValueError, r"add: .*\(2, 3\).*\(4,\)", lambda: ops.add(f(2, 3), f(4))),
    (ValueError, r"where: .*\(2, 3\)", lambda: ops.where(f(2, 3) > 0, f(4), f(4))),
    (TypeError, "multiply: mixes float32 and float64", lambda: ops.multiply(F32(f(2)), f(2))),
    (TypeError, "multiply: float32 would become float64", lambda: ops.multiply(F32(f(2)), i(2))),
    (TypeError, "astype: int64 has no gradient", lambda: ops.astype(f(2), int)),
    (TypeError, "attend: mask has dtype float64", lambda: ops.attend(*QKV, f(1, 1, 1, 4))),
    (ValueError, "attend: mask .*four axes", lambda: ops.attend(*QKV, f(2, 4) > 0)),
    (ValueError, "attend: bias .*B, H, T, S", lambda: ops.attend(*QKV, bias=f(1, 1, 3, 4))),
    (ValueError, "attend: q .* v ", lambda: ops.attend(*QKV[:2], f(2, 3, 4, 6))),
    (ValueError, "attend: q .*expected", lambda: ops.attend(*[f(2, 4, 5)] * 3)),
    (ValueError, "attend: q .*D > 0", lambda: ops.attend(*[f(2, 3, 4, 0)] * 3)),
    (ValueError, "attend: window is -1", lambda: ops.attend(*QKV, window=-1)),
    (ValueError, "attend: dropout probability is 1", lambda: ops.attend(*QKV, dropout=1)),
    (TypeError, "attend: rng is None", lambda: ops.attend(*QKV, dropout=0.1)),
    (TypeError, "attend: .*int64", lambda: ops.attend(*[i(2, 3, 4, 5)] * 3)),
    (TypeError, "attend: mixes", lambda: ops.attend(*QKV, bias=F32(f(1, 1, 4, 4)))),
    (ValueError, "dropout: .* -0.1", lambda: ops.dropout(f(3), -0.1, RNG)),
    (TypeError, "dropout: rng is 7.*Generator", lambda: ops.dropout(f(3), 0.1, 7)),
    (TypeError, "dropout: .*int64", lambda: ops.dropout(i(3), 0.1, RNG)),
    (TypeError, "embedding: ids have dtype float64", lambda: ops.embedding(f(4, 2), f(2))),
    (IndexError, r"embedding: id 4 .*\[0, 4\)", lambda: ops.embedding(f(4, 2), [1, 4])),
    (IndexError, "embedding: id -1 ", lambda: ops.embedding(f(4, 2), [1, -1])),
    (IndexError, "embedding: padding_idx 4", lambda: ops.embedding(f(4, 2), [1], padding_idx=4)),
    (ValueError, r"embedding: .*\(V, C\)", lambda: ops.embedding(f(4), [1])),
    (ValueError, r"matmul: .*\(2, 3\).*\(2, 3\)", lambda: ops.matmul(f(2, 3), f(2, 3))),
    (ValueError, "matmul: ", lambda: ops.matmul(f(2, 3), f())),
    (ValueError, "matmul: ", lambda: ops.matmul(f(2, 3, 4), f(5, 4, 3))),
    (ValueError, "einsum: 'ij'", lambda: ops.einsum("ij", f(2, 3), f(2, 3))),
    (ValueError, "einsum: .*repeats", lambda: ops.einsum("ii,ij->j", f(2, 2), f(2, 3))),
    (ValueError, "einsum: .*unknown", lambda: ops.einsum("ij,jk->iz", f(2, 3), f(3, 2))),
    (ValueError, "einsum: .*shapes", lambda: ops.einsum("ij,jk->ik", f(2, 3), f(2, 3))),
    (ValueError, r"linear: x \(2, 3\)", lambda: ops.linear(f(2, 3), f(3, 4))),
    (ValueError, r"linear: bias \(3,\)", lambda: ops.linear(f(2, 3), f(4, 3), f(3))),
    (ValueError, "linear: unknown .*'tanh'", lambda: ops.linear(f(2, 3), f(4, 3), None, "tanh")),
    (ValueError, "linear: .* identity, relu", lambda: ops.linear(f(2, 3), f(4, 3), f(4), None)),
    (ValueError, "linear_attend: ", lambda: ops.linear_attend(f(2, 3, 4), f(2, 3, 5))),
    (ValueError, "linear_attend: ", lambda: ops.linear_attend(f(2, 3, 3, 4), f(2, 3, 5))),
    (ValueError, "linear_attend: ", lambda: ops.linear_attend(f(2, 4, 2, 4), f(2, 3, 5))),
    (ValueError, "positive_features: ", lambda: ops.positive_features(f(2, 3), f(4, 3))),
    (ValueError, "positive_features: ", lambda: ops.positive_features(f(2, 0), f(2, 3))),
    (ValueError, r"self_attend: qkv \(2, 4, 7\)", lambda: ops.self_attend(f(2, 4, 7), 1)),
    (ValueError, "self_attend: .* with 4 heads", lambda: ops.self_attend(f(2, 4, 18), 4)),
    (ValueError, "self_attend: .* with 0 heads", lambda: ops.self_attend(f(2, 4, 18), 0)),
    (ValueError, r"self_attend: qkv \(2, 18\)", lambda: ops.self_attend(f(2, 18), 3)),
    (ValueError, "self_attend: .*mask", lambda: ops.self_attend(f(2, 4, 18), 3, f(2, 4) > 0)),
    (ValueError, "self_attend: .*window", lambda: ops.self_attend(f(2, 4, 18), 3, window=-1)),
    (TypeError, "self_attend: .*rng", lambda: ops.self_attend(f(2, 4, 18), 3, dropout=0.1)),
    (TypeError, "self_attend: .*int64", lambda: ops.self_attend(i(2, 4, 18), 3)),
    (ValueError, r"cross_entropy: logits \(2, 3\)", lambda: ops.cross_entropy(f(2, 3), i(3))),
    (TypeError, "cross_entropy: targets", lambda: ops.cross_entropy(f(2, 3), f(2))),
    (TypeError, "cross_entropy: .*int64", lambda: ops.cross_entropy(i(2, 3), i(2))),
    (ValueError, "cross_entropy: reduction", lambda: ops.cross_entropy(f(2, 3), i(2), -1, 0, "no")),
    (ValueError, "cross_entropy: label", lambda: ops.cross_entropy(f(2, 3), i(2), -1, 2)),
    (IndexError, "cross_entropy: target 3 ", lambda: ops.cross_entropy(f(2, 3), i(2) * 3)),
    (ValueError, r"layer_norm: .*weight \(4,\)", lambda: ops.layer_norm(f(2, 3), f(4), f(4))),
    (TypeError, "layer_norm: .*int64", lambda: ops.layer_norm(i(2, 3), i(3), i(3))),
    (IndexError, "sum: axis 2 .*float64", lambda: ops.sum(f(2, 3), axis=2)),
    (IndexError, "mean: axis -3", lambda: ops.mean(f(2, 3), axis=-3)),
    (IndexError, "var: axis 4", lambda: ops.var(f(2, 3), axis=(0, 4))),
    (ValueError, "var: ddof is 1, but only 1", lambda: ops.var(f(2, 1), axis=1, ddof=1)),
    (ValueError, "max: zero-size", lambda: ops.max(f(0, 3))),
    (IndexError, "softmax: .*axis 2", lambda: ops.softmax(f(2, 3), axis=2)),
    (IndexError, "log_softmax: .*axis 2", lambda: ops.log_softmax(f(2, 3), axis=2)),
    (TypeError, "softmax: .*int64", lambda: ops.softmax(i(3))),
    (ValueError, "reshape: cannot reshape", lambda: ops.reshape(f(2, 3), 4)),
    (ValueError, "transpose: ", lambda: ops.transpose(f(2, 3), 0, 1, 2)),
    (ValueError, "transpose: repeated", lambda: ops.transpose(f(2, 3), 0, 0)),
    (IndexError, "swapaxes: ", lambda: ops.swapaxes(f(2, 3), 0, 2)),
    (ValueError, "broadcast_to: ", lambda: ops.broadcast_to(f(2, 3), (2, 4))),
    (IndexError, "getitem: index 2", lambda: Tensor(f(2, 3))[2]),
    (IndexError, "getitem: ", lambda: Tensor(f(2, 3))[f(2)]),
    (ValueError, "concatenate: needs at least one", lambda: ops.concatenate([])),
    (ValueError, r"concatenate: .*\(3, 3\)", lambda: ops.concatenate([f(2, 2), f(3, 3)])),
    (IndexError, "concatenate: axis 5", lambda: ops.concatenate([f(2, 3)], axis=5)),
    (ValueError, "stack: needs at least one", lambda: ops.stack([])),
    (ValueError, "stack: ", lambda: ops.stack([f(2), f(3)])),
    (ValueError, "pad: ", lambda: ops.pad(f(2), -1)),
    (
        ValueError,
        "conv2d: x .* has 3 channels; .* expects 2",
        lambda: ops.conv2d(IMAGE, f(4, 2, 3, 3)),
    ),
    (ValueError, r"conv2d: an image \(5, 6\)", lambda: ops.conv2d(IMAGE, f(4, 3, 7, 7))),
    (ValueError, r"conv2d: bias \(3,\)", lambda: ops.conv2d(IMAGE, f(4, 3, 3, 3), f(3))),
    (ValueError, "conv2d: weight has shape", lambda: ops.conv2d(IMAGE, f(4, 3, 3))),
    (ValueError, "conv2d: weight .*multiple of groups", lambda: ops.conv2d(IMAGE, W, groups=3)),
    (ValueError, "conv2d: groups is 0", lambda: ops.conv2d(IMAGE, W, groups=0)),
    (ValueError, "conv2d: x has shape", lambda: ops.conv2d(f(3, 5, 6), W)),
    (TypeError, "conv2d: .*int64", lambda: ops.conv2d(i(1, 3, 5, 6), W)),
    (ValueError, "conv_transpose2d: x .* expects 4", lambda: ops.conv_transpose2d(IMAGE, W)),
    (
        ValueError,
        "conv_transpose2d: output_padding is",
        lambda: ops.conv_transpose2d(f(1, 4, 2, 2), W, stride=2, output_padding=2),
    ),
    (
        ValueError,
        r"conv_transpose2d: x .* gives an image \(-2, -2\)",
        lambda: ops.conv_transpose2d(f(1, 4, 2, 2), W, padding=3),
    ),
    (ValueError, "max_pool2d: padding is", lambda: ops.max_pool2d(IMAGE, 3, 1, 2)),
    (ValueError, "avg_pool2d: an image", lambda: ops.avg_pool2d(IMAGE, 7)),
    (TypeError, "max_pool2d: .*int64", lambda: ops.max_pool2d(i(1, 1, 4, 4), 2)),
    (ValueError, r"batch_norm: .*weight \(4,\)", lambda: ops.batch_norm(IMAGE, f(4), f(3))),
    (ValueError, "batch_norm: .* 1 values", lambda: ops.batch_norm(f(1, 3, 1, 1), f(3), f(3))),
    (ValueError, "batch_norm: residual", lambda: ops.batch_norm(IMAGE, f(3), f(3), f(3))),
    (ValueError, "batch_norm: act", lambda: ops.batch_norm(IMAGE, f(3), f(3), None, "gelu")),
    (
        ValueError,
        "batch_norm: statistics",
        lambda: ops.batch_norm(IMAGE, f(3), f(3), statistics=(f(3), f(4))),
    ),
    (ValueError, r"unfold: x has shape \(3, 4\)", lambda: ops.unfold(f(3, 4), 2)),
    (
        ValueError,
        r"unfold: an image \(3, 4\)",
        lambda: ops.unfold(f(1, 1, 3, 4), 5, 1, (0, 9)),
    ),
    (TypeError, "unfold: .*int64", lambda: ops.unfold(i(1, 1, 3, 4), 2)),
    (TypeError, "unfold: kernel is 2.0", lambda: ops.unfold(f(1, 1, 3, 4), 2.0)),
    (TypeError, "unfold: stride is", lambda: ops.unfold(f(1, 1, 3, 4), 2, (1, 1, 1))),
    (ValueError, "unfold: stride is 0", lambda: ops.unfold(f(1, 1, 3, 4), 2, 0)),
    (ValueError, "unfold: padding is -1", lambda: ops.unfold(f(1, 1, 3, 4), 2, 2, -1)),
    (ValueError, r"fold: patches .*\(B, 6, C \* 4\)", lambda: ops.fold(f(1, 5, 4), (3, 4), 2)),
    (TypeError, "fold: .*int64", lambda: ops.fold(i(1, 6, 4), (3, 4), 2)),
    (ValueError, "resize: mode is 'cubic'", lambda: ops.resize(f(1, 1, 3, 4), 2, "cubic")),
    (ValueError, "resize: size is 0", lambda: ops.resize(f(1, 1, 3, 4), 0)),
    (ValueError, "resize: x .*one pixel", lambda: ops.resize(f(1, 1, 0, 4), 2)),
    (TypeError, "resize: .*int64", lambda: ops.resize(i(1, 1, 3, 4), 2)),
    (TypeError, "where: the condition has dtype int64", lambda: ops.where(i(2), f(2), f(2))),
]


@pytest.mark.parametrize(
    "kind,message,call", ERRORS, ids=[f"{n}-{e[1].split(':')[0]}" for n, e in enumerate(ERRORS)]
)
def test_an_error_names_its_op_and_what_came(kind, message, call):
    with pytest.raises(kind, match=f"^{message}") as error:
        call()
    assert type(error.value) is kind
