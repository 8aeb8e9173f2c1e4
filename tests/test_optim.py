"""Optimizers against their papers written out naively, and schedules."""

from __future__ import annotations

import math
import pathlib

import numpy as np
import pytest
from packed import NAMES, Net, gradients, set_gradients, values

from minitx.jit import use_kernels
from minitx.nn import Module
from minitx.optim import (
    EMA,
    SGD,
    AdamW,
    Optimizer,
    constant,
    decays,
    warmup_cosine,
    warmup_inverse_sqrt,
)
from minitx.tensor import Tensor

both_kernels = pytest.mark.parametrize("kernels", ["ref", "jit"])
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


# ---- the algorithms ----------------------------------------------------------------------------


def naive_adamw(x, grads, lr, beta1, beta2, eps, weight_decay):
    """Loshchilov and Hutter 2019, algorithm 2, line by line, with the rate of each step."""
    m, v = 0.0, 0.0
    for t, (g, rate) in enumerate(zip(grads, lr, strict=True), start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        x = x - rate * (m_hat / (np.sqrt(v_hat) + eps) + weight_decay * x)
    return x


def naive_sgd(x, grads, lr, momentum, weight_decay):
    u = 0.0
    for g, rate in zip(grads, lr, strict=True):
        u = momentum * u + g
        x = x - rate * (u + weight_decay * x)
    return x


@both_kernels
@both_dtypes
@pytest.mark.parametrize("which", ["adamw", "sgd", "plain sgd"])
def test_steps_equal_the_algorithm_written_out(which, dtype, kernels):
    model, rng = Net(dtype), np.random.default_rng(1)
    start, history, rates = values(model), [], rng.uniform(0.001, 0.02, 8)
    if which == "adamw":
        settings = {"beta1": 0.8, "beta2": 0.97, "eps": 1e-7, "weight_decay": 0.3}
        optimizer = AdamW(model, betas=(0.8, 0.97), eps=1e-7, weight_decay=0.3)
        naive = naive_adamw
    else:
        settings = {"momentum": 0.9 * (which == "sgd"), "weight_decay": 0.3}
        optimizer, naive = SGD(model, 1.0, **settings), naive_sgd
    with use_kernels(kernels):
        for rate in rates:
            set_gradients(model, rng)
            history.append(gradients(model))
            norm = optimizer.step(lr=rate)
            flat = np.concatenate([g.ravel() for g in history[-1].values()])
            assert math.isclose(norm, np.linalg.norm(flat), rel_tol=1e-12)
    assert optimizer.steps == 8
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    for name, x in values(model).items():
        decay = settings["weight_decay"] if name.endswith("weight") and "norm" not in name else 0.0
        grads = [g[name] for g in history]
        expected = naive(start[name], grads, rates, **(settings | {"weight_decay": decay}))
        np.testing.assert_allclose(x, expected, rtol=tolerance, atol=tolerance, err_msg=name)


@both_kernels
def test_adamw_equals_frozen_numbers(kernels):
    class Layer(Module):
        def __init__(self, start):
            self.weight = Tensor(start["weight"], requires_grad=True)
            self.bias = Tensor(start["bias"], requires_grad=True)

    with np.load(pathlib.Path(__file__).parent / "fixtures" / "adamw.npz") as file:
        start, grads, after = (
            {name: file[f"{part}/{name}"] for name in ("weight", "bias")}
            for part in ("start", "grads", "after")
        )
        rates, (beta1, beta2, eps, weight_decay) = file["lr"], file["settings"]
    model = Layer(start)
    optimizer = AdamW(model, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay)
    with use_kernels(kernels):
        for step, rate in enumerate(rates):
            for name, x in model.named_parameters():
                x.grad[...] = grads[name][step]
            optimizer.step(rate)
            for name, x in model.named_parameters():
                np.testing.assert_allclose(x.data, after[name][step], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        (decays, {"one.weight", "two.weight"}),
        (lambda name, x: name.startswith("norm"), {"norm.weight", "norm.bias"}),
        (lambda name, x: "two" in name or None, {"two.weight", "two.bias"}),
        (lambda name, x: True, set(NAMES)),
        (lambda name, x: np.False_, set()),
    ],
)
@pytest.mark.parametrize("kind", [AdamW, SGD])
def test_weight_decay_shrinks_its_group_only(kind, decay, expected):
    model = Net()
    for x in model.parameters():
        x.data = x.data + 1
    start = values(model)
    optimizer = kind(model, lr=0.1, weight_decay=0.5, decay=decay)
    assert optimizer.decayed == sum(start[name].size for name in expected)
    assert sorted(optimizer.parameters) == sorted(NAMES)
    optimizer.step()
    for name, x in values(model).items():
        factor = 1 - 0.1 * 0.5 if name in expected else 1
        np.testing.assert_allclose(x, start[name] * factor, rtol=1e-15)


@both_kernels
def test_clipping_scales_all_gradients_to_the_norm(kernels):
    for size, clip in ((1.0, 0.25), (0.001, 0.25), (1.0, math.inf)):
        clipped, scaled = Net(seed=1), Net(seed=1)
        first, second = SGD(clipped, 0.1), SGD(scaled, 0.1)
        set_gradients(clipped, np.random.default_rng(2), size)
        with use_kernels(kernels):
            norm = first.step(clip=clip)
            second.grad[...] = first.grad * min(1, clip / norm)
            second.step()
        assert (norm > clip) == (size == 1.0 and clip == 0.25)
        np.testing.assert_allclose(first.data, second.data, rtol=1e-15)
        np.testing.assert_array_equal(clipped.one.weight.grad, first.grad[:20].reshape(4, 5))


def test_clipping_a_zero_gradient_is_no_division():
    assert SGD(Net(), 0.1).step(clip=1.0) == 0


@both_kernels
@both_dtypes
def test_gradients_of_parts_add_up_to_that_of_the_whole_batch(dtype, kernels):
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((8, 5)).astype(dtype), rng.standard_normal((8, 3)).astype(dtype)
    whole, parts = Net(dtype), Net(dtype)
    one, two = AdamW(whole), AdamW(parts)
    with use_kernels(kernels):
        whole.loss(x, y).backward()
        for i in range(0, 8, 2):
            parts.loss(x[i : i + 2], y[i : i + 2]).backward(0.25)
    tolerance = 1e-5 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(two.grad, one.grad, rtol=0, atol=tolerance)


# ---- schedules ---------------------------------------------------------------------------------


def test_warmup_inverse_sqrt_is_the_transformers_schedule():
    rate = warmup_inverse_sqrt(512)
    assert rate(0) == pytest.approx(512**-0.5 * 4000**-1.5)
    assert rate(3999) == pytest.approx(512**-0.5 * 4000**-0.5) == pytest.approx(6.9877e-4, rel=1e-4)
    assert rate(15999) == pytest.approx(rate(3999) / 2)
    assert warmup_inverse_sqrt(512, 4000, 2.0)(7) == pytest.approx(2 * rate(7))


def test_warmup_cosine():
    rate = warmup_cosine(0.5, 4, 12, floor=0.1)
    np.testing.assert_allclose([rate(i) for i in range(4)], [0.125, 0.25, 0.375, 0.5])
    assert rate(4) == 0.5 and math.isclose(rate(8), 0.3)
    assert math.isclose(rate(6), 0.1 + 0.4 * (1 + math.sqrt(0.5)) / 2)
    falling = [rate(i) for i in range(4, 14)]
    assert falling == sorted(falling, reverse=True)
    assert rate(12) == rate(13) == rate(10**9) == 0.1


@pytest.mark.parametrize(("warmup", "total"), [(0, 7), (7, 7), (3, 7), (0, 1), (1, 1)])
def test_warmup_cosine_reaches_its_peak_and_ends_exactly_at_its_floor(warmup, total):
    rate = warmup_cosine(0.3, warmup, total, floor=0.07)
    assert max(rate(i) for i in range(total)) == 0.3
    assert rate(total) == rate(total + 1) == 0.07
    assert all(0 < rate(i) <= 0.3 for i in range(total))


def test_constant():
    assert constant(0.2)(0) == constant(0.2)(10**6) == 0.2


# ---- bad input ---------------------------------------------------------------------------------


def mixed():
    model = Net()
    model.one.astype(np.float32)
    return model


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: AdamW(Net(), lr=-1.0), ValueError, "AdamW: lr is -1.0"),
        (lambda: AdamW(Net(), lr=math.nan), ValueError, "lr is nan"),
        (lambda: AdamW(Net(), weight_decay=-0.1), ValueError, "weight_decay is -0.1"),
        (lambda: AdamW(Net(), betas=(0.9, 1.0)), ValueError, "betas"),
        (lambda: AdamW(Net(), betas=(0.9,)), ValueError, "betas"),
        (lambda: AdamW(Net(), eps=0), ValueError, "eps is 0"),
        (lambda: SGD(Net(), 0.1, momentum=1.0), ValueError, "SGD: momentum is 1.0"),
        (lambda: SGD(Net().frozen, 0.1), ValueError, "Linear has no trainable parameters"),
        (lambda: SGD(mixed(), 0.1), TypeError, "SGD: parameters mix float32, float64"),
        (lambda: SGD(Net(), 0.1).step(lr=math.inf), ValueError, "lr is inf at step 0"),
        (lambda: SGD(Net(), 0.1).step(clip=0.0), ValueError, "clip is 0.0"),
        (lambda: SGD(Net(), 0.1).step(clip=math.nan), ValueError, "clip is nan"),
        (lambda: Optimizer(Net(), 0.1, 0).step(), NotImplementedError, "Optimizer does not define"),
        (lambda: EMA(SGD(Net(), 0.1), 1.0), ValueError, "EMA: decay is 1.0"),
        (lambda: warmup_cosine(1, 5, 4), ValueError, "warmup 5 and total 4"),
        (lambda: warmup_cosine(1, 0, 0), ValueError, "total > 0"),
        (lambda: warmup_inverse_sqrt(512, 0), ValueError, "warmup 0"),
    ],
)
def test_bad_arguments_get_one_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call()
