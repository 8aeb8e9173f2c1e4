"""Optimizers against their papers written out naively, packing, averages and schedules."""

from __future__ import annotations

import math
import pathlib

import numpy as np
import pytest

from minitx import ops
from minitx.jit import use_kernels
from minitx.nn import LayerNorm, Linear, Module, MultiHeadAttention
from minitx.optim import EMA, SGD, AdamW, Optimizer, constant, decays, warmup_cosine
from minitx.tensor import Tensor

both_kernels = pytest.mark.parametrize("kernels", ["ref", "jit"])
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


class Net(Module):
    """Decayed and undecayed parameters in turn, one frozen, one tied."""

    def __init__(self, dtype=np.float64, seed=0):
        rng = np.random.default_rng(seed)
        self.norm = LayerNorm(5)
        self.one = Linear(5, 4, rng, std=0.5)
        self.frozen = Linear(2, 2, rng)
        for x in self.frozen.parameters():
            x.requires_grad = False
        self.two = Linear(4, 3, rng, std=0.5)
        self.tied = self.two.weight
        self.astype(dtype)

    def loss(self, x, y):
        difference = self.two(ops.tanh(self.one(self.norm(x)))) - y
        return (difference * difference).mean()


NAMES = ["norm.weight", "norm.bias", "one.weight", "one.bias", "two.weight", "two.bias"]
PACKED = ["one.weight", "two.weight", "norm.weight", "norm.bias", "one.bias", "two.bias"]


def set_gradients(model, rng, size=1.0):
    for x in model.parameters():
        x.grad[...] = rng.normal(0, size, x.shape)


def values(model):
    return {name: x.data.astype(np.float64) for name, x in model.named_parameters()}


def gradients(model):
    return {name: x.grad.astype(np.float64) for name, x in model.named_parameters()}


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


# ---- packing -----------------------------------------------------------------------------------


def test_parameters_and_gradients_become_views_of_two_buffers():
    model = Net()
    start = values(model)
    frozen = model.frozen.weight.data
    optimizer = AdamW(model)
    assert list(optimizer.parameters) == PACKED
    assert optimizer.data.shape == optimizer.grad.shape == (model.count(trainable=True),)
    place = 0
    for name, x in optimizer.parameters.items():
        np.testing.assert_array_equal(x.data, start[name])
        assert np.shares_memory(x.data, optimizer.data[place : place + x.size])
        assert np.shares_memory(x.grad, optimizer.grad[place : place + x.size])
        place += x.size
    assert model.tied is model.two.weight and model.frozen.weight.data is frozen
    assert model.frozen.weight.grad is None
    x, y = np.ones((2, 5)), np.ones((2, 3))
    model.loss(x, y).backward()
    assert optimizer.grad.any() and np.shares_memory(model.one.weight.grad, optimizer.grad)
    model.zero_grad()
    assert not optimizer.grad.any() and np.shares_memory(model.one.weight.grad, optimizer.grad)
    model.loss(x, y).backward()
    optimizer.zero_grad()
    assert not optimizer.grad.any()
    model.load_state_dict(Net(seed=9).state_dict())
    np.testing.assert_array_equal(optimizer.data[:20].reshape(4, 5), Net(seed=9).one.weight.data)


def test_query_key_and_value_stand_side_by_side():
    class Pair(Module):
        def __init__(self):
            rng = np.random.default_rng(0)
            self.attentions = [MultiHeadAttention(4, 2, rng, bias=i > 0) for i in range(2)]

    optimizer = AdamW(Pair())
    names, data = list(optimizer.parameters), optimizer.data
    for i in range(2):
        parts = [f"attentions.{i}.{part}.weight" for part in ("query", "key", "value")]
        first = names.index(parts[0])
        assert names[first : first + 3] == parts
        q = optimizer.parameters[parts[0]].data
        start = (q.__array_interface__["data"][0] - data.__array_interface__["data"][0]) // 4
        side_by_side = data[start : start + 48].reshape(12, 4)
        expected = np.concatenate([optimizer.parameters[part].data for part in parts])
        np.testing.assert_array_equal(side_by_side, expected)


def test_zero_dimensional_and_empty_parameters_are_packed_too():
    class Odd(Module):
        def __init__(self):
            self.scale = Tensor(np.float32(2), requires_grad=True)
            self.none = Tensor(np.zeros((0, 3), np.float32), requires_grad=True)
            self.transposed = Tensor(np.arange(6, dtype=np.float32).reshape(2, 3).T, True)

    model = Odd()
    optimizer = SGD(model, 0.5)
    (model.scale * model.scale + model.transposed.sum()).backward()
    optimizer.step()
    assert model.scale.item() == 0
    assert model.transposed.data.tolist() == [[-0.5, 2.5], [0.5, 3.5], [1.5, 4.5]]


def replaced_gradient(model):
    model.one.bias.grad = None


def foreign_gradient(model):
    model.one.bias.grad = np.zeros(4)


def replaced_data(model):
    model.astype(np.float64)


def freeze(model):
    model.one.bias.requires_grad = False


def pack_again(model):
    SGD(model, 0.1)


@pytest.mark.parametrize(
    "spoil", [replaced_gradient, foreign_gradient, replaced_data, freeze, pack_again]
)
def test_a_parameter_that_is_no_longer_packed_is_noticed(spoil):
    model = Net()
    optimizer = AdamW(model)
    set_gradients(model, np.random.default_rng(0))
    spoil(model)
    before = optimizer.data.copy()
    with pytest.raises(RuntimeError, match=r"AdamW.step: \S+ or its gradient was replaced"):
        optimizer.step()
    assert optimizer.steps == 0 and np.array_equal(optimizer.data, before)


def test_backward_across_a_step_is_noticed():
    model = Net()
    optimizer = SGD(model, 0.1)
    x, y = np.ones((2, 5)), np.ones((2, 3))
    loss = model.loss(x, y)
    optimizer.step()
    with pytest.raises(RuntimeError, match="updated in place since the forward pass"):
        loss.backward()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@both_kernels
def test_a_gradient_that_is_not_finite_changes_nothing(bad, kernels):
    model = Net()
    optimizer = AdamW(model)
    set_gradients(model, np.random.default_rng(0))
    optimizer.step()
    before = {name: x.copy() for name, x in optimizer.state().items()}
    data, versions = optimizer.data.copy(), [x.version for x in model.parameters()]
    model.two.weight.grad[1, 1] = bad
    with use_kernels(kernels), pytest.raises(FloatingPointError, match="norm is (nan|inf)"):
        optimizer.step(clip=1.0)
    np.testing.assert_array_equal(optimizer.data, data)
    assert [x.version for x in model.parameters()] == versions
    for name, x in optimizer.state().items():
        np.testing.assert_array_equal(x, before[name])


@pytest.mark.parametrize("kind", [AdamW, SGD])
def test_an_update_is_whole_even_where_numpy_raises(kind):
    one, two = Net(np.float32), Net(np.float32)
    for model, raising in ((one, "raise"), (two, "ignore")):
        optimizer = kind(model, lr=1e-30)
        optimizer.grad[...] = 1e-18  # its square, in float32, is on the way to 0
        with use_kernels("ref"), np.errstate(all=raising):
            optimizer.step()
    np.testing.assert_array_equal(
        optimizer.data,
        np.concatenate([x.data.ravel() for x in map(dict(one.named_parameters()).get, PACKED)]),
    )


# ---- state -------------------------------------------------------------------------------------


@both_dtypes
@pytest.mark.parametrize("kind", [AdamW, SGD])
def test_state_survives_a_round_trip(kind, dtype):
    settings = {"lr": 0.01, "weight_decay": 0.1} | ({"momentum": 0.9} if kind is SGD else {})
    first, rng = Net(dtype), np.random.default_rng(4)
    one = kind(first, **settings)
    for _ in range(3):
        set_gradients(first, rng)
        one.step()
    slots = {"m", "v"} if kind is AdamW else {"momentum"}
    assert one.state().keys() == {f"{s}.{n}" for s in slots for n in NAMES} | {"steps"}

    second = Net(dtype, seed=7)
    two = kind(second, **settings)
    second.load_state_dict(first.state_dict())
    two.load_state({name: x.copy() for name, x in one.state().items()})
    assert two.steps == 3
    for optimizer in (one, two):
        optimizer.grad[...] = np.linspace(-1, 1, optimizer.grad.size)
        optimizer.step()
    np.testing.assert_array_equal(one.data, two.data)


def test_a_state_that_does_not_fit_is_told_completely_and_changes_nothing():
    optimizer, rng = AdamW(Net()), np.random.default_rng(5)
    optimizer.buffers["m"][...] = rng.standard_normal(optimizer.data.shape)
    before = {name: x.copy() for name, x in optimizer.state().items()}
    state = {name: x + 1 for name, x in before.items()}
    del state["m.one.bias"], state["steps"]
    state |= {"momentum.one.bias": np.ones(4), "v.two.bias": np.ones(2)}
    with pytest.raises(ValueError) as caught:
        optimizer.load_state(state)
    for line in ("missing m.one.bias (4,)", "missing steps ()", "unexpected momentum.one.bias"):
        assert line in str(caught.value)
    assert "v.two.bias has shape (2,), expected (3,)" in str(caught.value)
    for name, x in optimizer.state().items():
        np.testing.assert_array_equal(x, before[name])


# ---- average -----------------------------------------------------------------------------------


@both_dtypes
def test_the_average_follows_its_formula(dtype):
    model, rng = Net(dtype), np.random.default_rng(6)
    optimizer = SGD(model, 0.1)
    ema = EMA(optimizer, 0.75)
    expected = optimizer.data.astype(np.float64)
    for _ in range(5):
        set_gradients(model, rng)
        optimizer.step()
        ema.update()
        expected = 0.75 * expected + 0.25 * optimizer.data
    tolerance = 1e-6 if dtype == np.float32 else 1e-15
    np.testing.assert_allclose(ema.average, expected, rtol=0, atol=tolerance)
    assert ema.average.dtype == dtype


def test_the_average_is_applied_within_a_block_only_and_restored_after_an_error():
    model = Net()
    optimizer = SGD(model, 0.1)
    ema = EMA(optimizer)
    start = values(model)
    set_gradients(model, np.random.default_rng(7))
    optimizer.step()
    trained = values(model)
    x, y = np.ones((2, 5)), np.ones((2, 3))
    loss = model.loss(x, y)
    with pytest.raises(ZeroDivisionError), ema.applied():
        for name, value in values(model).items():
            np.testing.assert_array_equal(value, start[name])
        with pytest.raises(RuntimeError, match="updated in place"):
            loss.backward()
        _ = 1 / 0
    for name, value in values(model).items():
        np.testing.assert_array_equal(value, trained[name])


def test_the_averages_state():
    optimizer = SGD(Net(), 0.1)
    ema, other = EMA(optimizer), EMA(SGD(Net(seed=8), 0.1))
    assert sorted(ema.state()) == sorted(NAMES)
    other.load_state({name: x.copy() for name, x in ema.state().items()})
    np.testing.assert_array_equal(other.average, ema.average)
    state = {name: x + 1 for name, x in ema.state().items()}
    del state["one.bias"]
    with pytest.raises(ValueError, match="missing one.bias"):
        other.load_state(state)
    np.testing.assert_array_equal(other.average, ema.average)


# ---- schedules ---------------------------------------------------------------------------------


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
    ],
)
def test_bad_arguments_get_one_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call()
