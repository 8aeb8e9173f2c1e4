"""Every op: gradients by finite differences, values against NumPy, dtypes, errors; attention."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import STRATEGIES, Seed, run

from minitx import ops
from minitx.gradcheck import gradcheck
from minitx.jit import use_kernels
from minitx.tensor import OPS, Tensor

pytestmark = pytest.mark.usefixtures("one_thread")

KERNELS = ["ref", "jit"]
F32 = np.float32


def is_float(x):
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def test_every_op_has_a_strategy():
    ours = {name for name, op in OPS.items() if op.__module__.startswith("minitx.")}
    assert ours == set(STRATEGIES)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_gradients_are_those_of_finite_differences(name):
    @given(STRATEGIES[name])
    def check(case):
        args, kwargs = case
        for kernels in KERNELS:
            with use_kernels(kernels):
                gradcheck(lambda *xs: run(name, xs, kwargs), *args)

    check()


# Values, by formulas that share no code with the ops


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def gelu(x, approximate):
    if approximate == "tanh":
        return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    erf = np.vectorize(math.erf, otypes=[float])
    return x * (1 + erf(x / math.sqrt(2))) / 2


def layer_norm(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdims=True)
    return weight * centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) + bias


def cross_entropy(logits, targets, ignore_index, label_smoothing, reduction):
    losses = np.zeros(targets.shape)
    for place in np.ndindex(targets.shape):
        if targets[place] != ignore_index:
            wanted = np.full(logits.shape[-1], label_smoothing / logits.shape[-1])
            wanted[targets[place]] += 1 - label_smoothing
            losses[place] = -(wanted * np.log(softmax(logits[place]))).sum()
    if reduction == "none":
        return losses
    return losses.sum() / (max(1, (targets != ignore_index).sum()) if reduction == "mean" else 1)


def attend(q, k, v, mask=None, bias=None, causal=False, window=0, scale=None, dropout=0, rng=None):
    """One query at a time.  Ignores dropout, but then returns the probabilities too."""
    (B, H, T, D), S = q.shape, k.shape[2]
    full = B, H, T, S
    mask = np.broadcast_to(True if mask is None else mask, full)
    bias = np.broadcast_to(0.0 if bias is None else bias, full)
    scale = D**-0.5 if scale is None else scale
    y, prob = np.zeros((B, H, T, v.shape[-1])), np.zeros(full)
    for b, h, i in np.ndindex(B, H, T):
        at = i + S - T
        seen = [
            j
            for j in range(S)
            if mask[b, h, i, j] and not (causal and j > at) and not (window and j <= at - window)
        ]
        if seen:
            prob[b, h, i, seen] = softmax(scale * k[b, h, seen] @ q[b, h, i] + bias[b, h, i, seen])
            y[b, h, i] = prob[b, h, i, seen] @ v[b, h, seen]
    return (y, prob) if dropout else y


VALUES = {
    "absolute": abs,
    "add": lambda a, b: a + b,
    "astype": lambda x, dtype: x,
    "attend": attend,
    "broadcast_to": lambda x, shape: np.zeros(shape) + x,
    "concatenate": lambda *xs, axis: np.concatenate(xs, axis),
    "cos": np.cos,
    "cross_entropy": cross_entropy,
    "divide": lambda a, b: a / b,
    "einsum": np.einsum,
    "embedding": lambda table, ids: table[ids],
    "exp": np.exp,
    "gelu": gelu,
    "getitem": lambda x, index: x[index],
    "layer_norm": layer_norm,
    "linear": lambda x, weight, bias: x @ weight.T + (0 if bias is None else bias),
    "log": np.log,
    "log_softmax": lambda x, axis: np.log(softmax(x, axis)),
    "matmul": lambda a, b: a @ b,
    "max": lambda x, axis, keepdims: x.max(axis, keepdims=keepdims),
    "maximum": lambda a, b: np.where(a > b, a, b),
    "mean": lambda x, axis, keepdims: x.mean(axis, keepdims=keepdims),
    "minimum": lambda a, b: np.where(a < b, a, b),
    "multiply": lambda a, b: a * b,
    "negative": lambda x: -x,
    "pad": lambda x, width, value: np.pad(x, width, constant_values=value),
    "power": lambda a, b: np.exp(b * np.log(a)),
    "relu": lambda x: x * (x > 0),
    "reshape": lambda x, *shape: x.reshape(*shape),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "sin": np.sin,
    "softmax": softmax,
    "sqrt": lambda x: x**0.5,
    "stack": lambda *xs, axis: np.stack(xs, axis),
    "subtract": lambda a, b: a - b,
    "sum": lambda x, axis, keepdims: x.sum(axis, keepdims=keepdims),
    "swapaxes": lambda x, i, j: np.swapaxes(x, i, j),
    "tanh": lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1),
    "transpose": lambda x, *axes: x.transpose(*axes),
    "var": lambda x, axis, ddof, keepdims: np.var(x, axis, ddof=ddof, keepdims=keepdims),
    "where": lambda c, a, b: np.choose(c, (b, a)),
}


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"dropout"}))
def test_values_are_those_of_numpy(name):
    @given(STRATEGIES[name])
    def check(case):
        args, kwargs = case
        kwargs = kwargs | ({"dropout": 0.0} if name == "attend" else {})
        expected = VALUES[name](*args, **kwargs)
        for kernels in KERNELS:
            with use_kernels(kernels):
                y = run(name, args, kwargs)
            assert isinstance(y, Tensor) and y.shape == np.shape(expected)
            np.testing.assert_allclose(y.data, expected, rtol=1e-11, atol=1e-13)

    check()


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_float32_stays_float32_and_no_input_is_modified(name):
    """The value, what the pullback itself returns, and the gradient."""

    @settings(max_examples=10)
    @given(STRATEGIES[name])
    def check(case):
        args, kwargs = case
        args = [x.astype(F32) if is_float(x) else x for x in args]
        args = [args[0], F32] if name == "astype" else args
        before = [np.copy(x) for x in args if is_float(x)]
        for x in filter(is_float, args):
            x.flags.writeable = False
        for kernels in KERNELS:
            tensors = [Tensor(x, requires_grad=True) if is_float(x) else x for x in args]
            with use_kernels(kernels):
                y = run(name, tensors, kwargs)
                assert y.dtype == F32
                if not y.requires_grad:  # two Python numbers
                    continue
                dy = np.ones(y.shape, F32)
                dy.flags.writeable = False
                for x, entry in zip(tensors, y.node.vjp(dy), strict=False):
                    if isinstance(x, Tensor) and entry is not None:
                        assert (entry() if callable(entry) else entry).dtype == F32
                y.backward(dy)
            for x in tensors:
                if isinstance(x, Tensor):
                    assert x.grad.dtype == F32 and x.grad.shape == x.shape
        for x, old in zip(filter(is_float, args), before, strict=True):
            np.testing.assert_array_equal(x, old)

    check()


# Attention


def attention_case(cross, masked, biased, S=67, D=3):
    """Longer than a tile of the compiled kernel (32 queries, 64 keys) in both directions."""
    rng = np.random.default_rng(0)
    T = 35 if cross else S
    q, k, v = (rng.normal(size=(1, 2, length, D)) for length in (T, S, S))
    mask = rng.random((1, 1, T, S)) < 0.6 if masked else None
    if masked:
        mask[0, 0, 3] = False  # a query that sees nothing
        mask[..., 5] = False  # a key that nobody sees
    return q, k, v, mask, rng.normal(size=(1, 2, T, S)) if biased else None


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("cross", [False, True], ids=["self", "cross"])
@pytest.mark.parametrize("causal,window", [(False, 0), (True, 0), (False, 9), (True, 9)])
def test_attention_in_every_combination(kernels, cross, causal, window):
    for masked, biased, dropout in itertools.product([False, True], [False, True], [0.0, 0.2]):
        args = attention_case(cross, masked, biased)
        options = {"causal": causal, "window": window, "dropout": dropout, "rng": Seed(3)}

        def function(*xs, options=options):
            return run("attend", xs, options)

        with use_kernels(kernels):
            gradcheck(function, *args)
            y = function(*args).data
        if not dropout:
            np.testing.assert_allclose(y, attend(*args, **options), rtol=1e-10, atol=1e-13)
        if masked:
            assert (y[:, :, 3] == 0).all()


@pytest.mark.parametrize("kernels", KERNELS)
def test_attention_dropout_zeroes_probabilities_and_scales_the_rest(kernels):
    rng = np.random.default_rng(0)
    q, k = rng.normal(size=(1, 2, 40, 4)), rng.normal(size=(1, 2, 70, 4))
    eye, v = np.zeros((1, 2, 70, 70)) + np.eye(70), rng.normal(size=(1, 2, 70, 70))
    options = {"dropout": 0.25, "rng": Seed(1), "scale": 0.5}
    _, prob = attend(q, k, v, dropout=0.25, scale=0.5)
    q, k = (np.pad(x, [(0, 0)] * 3 + [(0, 66)]) for x in (q, k))  # one width for q, k and v
    with use_kernels(kernels):
        dropped = run("attend", (q, k, eye), options).data
        y = run("attend", (q, k, v), options).data
    kept = dropped != 0
    assert abs(kept.mean() - 0.75) < 0.02 and kept.any(axis=2).all()
    np.testing.assert_allclose(dropped[kept], prob[kept] / 0.75, rtol=1e-10)
    np.testing.assert_allclose(y, dropped @ v, rtol=1e-10)


@pytest.mark.parametrize("kernels", KERNELS)
def test_values_at_masked_keys_reach_nothing(kernels):
    q, k, v, mask, bias = attention_case(cross=True, masked=True, biased=True)
    mask[..., 60:] = False
    results = []
    for poison in (0.0, np.nan, np.inf):
        xs = [x.copy() for x in (q, k, v, bias)]
        for x in xs[1:3]:
            x[:, :, 60:] = poison
            x[:, :, 5] = poison
        xs[3][..., 60:] = 0 if poison == 0 else np.nan
        xs = [Tensor(x, requires_grad=True) for x in xs]
        with use_kernels(kernels):
            y = ops.attend(*xs[:3], mask, bias=xs[3])
            y.backward(np.ones(y.shape))
        assert all(np.isfinite(x.grad).all() for x in xs)
        assert all((x.grad[:, :, 60:] == 0).all() for x in xs[1:3])
        assert (xs[0].grad[:, :, 3] == 0).all() and (xs[3].grad[..., 3, :] == 0).all()
        results.append([y.data, *(x.grad for x in xs)])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("which", [0, 1, 2])
def test_nan_in_attended_data_propagates_to_those_who_see_it(kernels, which):
    xs = list(attention_case(cross=False, masked=False, biased=False)[:3])
    xs[which][0, 1, 40, 1] = np.nan
    with use_kernels(kernels):
        nan = np.isnan(ops.attend(*xs, causal=True).data)
    assert not nan[0, 0].any() and not nan[0, 1, :40].any()
    if which == 0:
        assert nan[0, 1, 40].all() and not nan[0, 1, 41:].any()
    else:
        assert nan[0, 1, 40:, 1].all()


# Conventions that finite differences cannot see


def test_relu_and_max_treat_special_values_as_numpy_does():
    x = np.array([np.nan, np.inf, -np.inf, 0.0])
    np.testing.assert_array_equal(ops.relu(x).data, [np.nan, np.inf, 0, 0])
    x = Tensor(np.array([2.0, 1.0, 2.0]), requires_grad=True)
    x.max().backward()
    np.testing.assert_array_equal(x.grad, [0.5, 0, 0.5])
    x = Tensor(np.array([-1.0, 0.0, 1.0]), requires_grad=True)
    ops.relu(x).sum().backward()
    np.testing.assert_array_equal(x.grad, [0, 0, 1])


@pytest.mark.parametrize("op,expected", [(ops.maximum, (0.5, 0, 1)), (ops.minimum, (0.5, 1, 0))])
def test_equal_arguments_share_the_gradient(op, expected):
    a = Tensor(np.array([1.0, 1.0, 2.0]), requires_grad=True)
    b = Tensor(np.array([1.0, 2.0, 1.0]), requires_grad=True)
    op(a, b).sum().backward()
    np.testing.assert_array_equal(a.grad, expected)
    np.testing.assert_array_equal(b.grad, 1 - np.array(expected))


def test_the_padding_row_gets_no_gradient():
    table = Tensor(np.ones((3, 2)), requires_grad=True)
    ops.embedding(table, [1, 2, 2, 1], padding_idx=1).sum().backward()
    np.testing.assert_array_equal(table.grad, [[0, 0], [0, 0], [2, 2]])


@pytest.mark.parametrize("kernels", KERNELS)
def test_softmax_of_a_row_without_choices_is_zero(kernels):
    x = Tensor(np.array([[-np.inf, -np.inf], [-np.inf, 3.0]]), requires_grad=True)
    with use_kernels(kernels):
        y = ops.softmax(x)
        y.backward(np.array([[1.0, 2.0], [3.0, 4.0]]))
    np.testing.assert_array_equal(y.data, [[0, 0], [0, 1]])
    np.testing.assert_array_equal(x.grad, 0)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("p", [0.0, 0.1, 0.6])
def test_dropout_zeroes_a_share_and_keeps_the_mean(kernels, p):
    x = Tensor(np.ones((200, 100)), requires_grad=True)
    with use_kernels(kernels):
        y = ops.dropout(x, p, np.random.default_rng(0))
        y.backward(np.ones(y.shape))
    assert abs((y.data == 0).mean() - p) < 0.01
    np.testing.assert_allclose(y.data[y.data != 0], 1 / (1 - p))
    np.testing.assert_array_equal(x.grad, y.data)


def test_both_kernels_drop_the_same_elements():
    results = []
    for kernels in KERNELS:
        with use_kernels(kernels):
            results.append(ops.dropout(np.ones((7, 9)), 0.4, np.random.default_rng(5)).data)
    np.testing.assert_array_equal(*results)


def test_sums_of_float32_are_accumulated_in_float64():
    x = np.full((1 << 18, 3), 0.1, F32)
    for y in (ops.sum(x, axis=0) / len(x), ops.mean(x, axis=0)):
        np.testing.assert_allclose(y.data, F32(0.1), rtol=1e-7)


def test_reductions_of_integers_follow_numpy():
    x = np.arange(6, dtype=np.int32).reshape(2, 3)
    assert ops.sum(x).item() == 15 and ops.sum(x).dtype == x.sum().dtype
    assert ops.mean(x).item() == 2.5 and ops.max(x, axis=0).data.tolist() == [3, 4, 5]


def test_reductions_over_empty_axes_have_gradients():
    x = Tensor(np.zeros((0, 3)), requires_grad=True)
    for y in (x.sum(axis=1), x.mean(axis=1), x.var(axis=1), x.max(axis=1), x.sum()):
        y.backward(np.zeros(y.shape))
    assert x.grad.shape == (0, 3)


def test_a_wrong_user_op_is_named():
    y = Tensor(np.ones((2, 3)), requires_grad=True).sum(axis=0)
    y.node.vjp = lambda dy: (np.ones((3, 2)),)
    with pytest.raises(ValueError, match=r"^sum: its pullback .*\(3, 2\).*\(2, 3\)"):
        y.backward(np.ones(3))


def test_arrays_given_by_name_get_gradients():
    x, w = Tensor(np.ones((1, 1, 2, 2)), requires_grad=True), Tensor(np.ones(2), requires_grad=True)
    ops.layer_norm(x, bias=np.ones(2), weight=w).backward(np.ones((1, 1, 2, 2)))
    assert w.grad.shape == (2,)
    bias = Tensor(np.ones((1, 1, 2, 2)), requires_grad=True)
    ops.attend(x, x, v=x, bias=bias).backward(np.ones((1, 1, 2, 2)))
    assert bias.grad.shape == (1, 1, 2, 2)
    assert (ops.attend(x, x, x, mask=np.ones((1, 1, 2, 2)) > 2).data == 0).all()


@pytest.mark.parametrize("exponent", [0, 1, 2, np.array([0.0, 1.0, 2.0])])
def test_powers_of_zero_have_their_derivative(exponent):
    x = Tensor(np.zeros(3), requires_grad=True)
    (x**exponent).backward(np.ones(3))
    np.testing.assert_array_equal(x.grad, np.equal(exponent, 1) * np.ones(3))
