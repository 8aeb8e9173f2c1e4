"""Packing, state and averages: what an optimizer holds, and when it is no longer valid."""

from __future__ import annotations

import numpy as np
import pytest
from packed import NAMES, PACKED, Net, set_gradients, values

from minitx.jit import use_kernels
from minitx.nn import Module, MultiHeadAttention
from minitx.optim import EMA, SGD, AdamW
from minitx.tensor import Tensor

both_kernels = pytest.mark.parametrize("kernels", ["ref", "jit"])
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


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
    model.one.bias.data = model.one.bias.data.copy()


def converted(model):
    model.astype(np.float32)


def freeze(model):
    model.one.bias.requires_grad = False


def pack_again(model):
    SGD(model, 0.1)


@pytest.mark.parametrize(
    "spoil", [replaced_gradient, foreign_gradient, replaced_data, converted, freeze, pack_again]
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
