"""The attention ops: every combination of options, dropout, what is masked, NaN, packed inputs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from formulas import attend
from strategies import Seed, run

from minitx import ops
from minitx.gradcheck import gradcheck
from minitx.jit import use_kernels
from minitx.tensor import Tensor

pytestmark = pytest.mark.usefixtures("one_thread")

KERNELS = ["ref", "jit"]


def attention_case(cross, masked, biased, S=67, D=3):
    """Longer than a tile of registers in both directions; a whole tile has a test of its own."""
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


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("causal,window", [(False, 0), (True, 0), (True, 5)])
def test_self_attention_is_attention_of_its_three_parts(kernels, causal, window):
    """Values, and the gradients of one packed array and of a bias, dropout included."""
    rng = np.random.default_rng(0)
    B, H, T, D = 2, 3, 20, 4
    qkv, dy = rng.normal(size=(B, T, 3 * H * D)), rng.normal(size=(B, T, H * D))
    mask, bias = rng.random((B, 1, 1, T)) < 0.7, rng.normal(size=(1, H, T, T))
    found = []
    with use_kernels(kernels):
        for packed in True, False:
            x, b = Tensor(qkv, requires_grad=True), Tensor(bias, requires_grad=True)
            options = {"causal": causal, "window": window, "dropout": 0.2}
            options["rng"] = np.random.default_rng(3)
            if packed:
                y = ops.self_attend(x, H, mask, b, **options)
            else:
                parts = x.reshape(B, T, 3, H, D).transpose(2, 0, 3, 1, 4)  # 3 B H T D
                y = ops.attend(parts[0], parts[1], parts[2], mask, b, **options)
                y = y.transpose(0, 2, 1, 3).reshape(B, T, H * D)
            y.backward(dy)
            found.append([y.data, x.grad, b.grad])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)
