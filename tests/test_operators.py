"""Tensor as Python and NumPy see it: dtypes, scalars, operators, immutability, its printed form."""

from __future__ import annotations

import numpy as np
import pytest

from minitx import ops
from minitx.tensor import Tensor

F32 = np.float32


def leaf(*values, dtype=float):
    return Tensor(np.array(values, dtype), requires_grad=True)


def test_dtypes_of_new_tensors():
    assert Tensor([1.0, 2]).dtype == F32 and Tensor(1.5).dtype == F32
    assert Tensor(np.zeros(2)).dtype == float and Tensor(np.float64(1)).dtype == float
    assert Tensor([1.0], dtype=float).dtype == float and Tensor(Tensor(np.zeros(2))).dtype == float
    assert Tensor([1, 2]).dtype == int and Tensor(True).dtype == bool
    x = np.zeros(3)
    assert Tensor(x).data is x  # no copy


def test_big_endian_data_becomes_native():
    x = Tensor(np.array([1.0, 2.0], ">f4"), requires_grad=True)
    assert x.dtype.isnative and x.dtype == F32 and x.data.tolist() == [1, 2]
    (x * 2).sum().backward()
    assert Tensor(np.array([1, 2], ">i8")).dtype.isnative


@pytest.mark.parametrize("data", [1j, "text", None, np.array(["2020-01-01"], "M8[D]")])
def test_other_data_is_refused(data):
    with pytest.raises(TypeError, match="^Tensor: .* data; expected numbers or booleans"):
        Tensor(data)


def test_integers_carry_no_gradient():
    with pytest.raises(TypeError, match="^Tensor: int64 has no gradient; use float32 or float64"):
        Tensor([1, 2], requires_grad=True)
    ids = Tensor([0, 2, 2])
    table = leaf(1.0, 2.0, 3.0)
    table[ids].backward([1, 1, 1])
    np.testing.assert_array_equal(table.grad, [1, 0, 2])
    assert (ids + 1).dtype == int and (ids + 1).node is None


@pytest.mark.parametrize("scalar", [2, 2.5, True, np.float64(2.5), np.float32(2.5), np.int64(2)])
@pytest.mark.parametrize("dtype", [F32, float])
def test_scalars_are_weak(scalar, dtype):
    x = leaf(1.0, 2.0, dtype=dtype)
    for y in (
        x + scalar,
        scalar + x,
        x - scalar,
        scalar - x,
        x * scalar,
        scalar * x,
        x / scalar,
        scalar / x,
        x**scalar,
        scalar**x,
        ops.maximum(x, scalar),
        ops.where(x > 1, x, scalar),
    ):
        assert isinstance(y, Tensor) and y.dtype == dtype
        y.backward(np.ones(2))
    assert x.grad.dtype == dtype


def test_mixing_dtypes_is_refused():
    with pytest.raises(TypeError, match="^add: mixes float32 and float64; .* astype"):
        leaf(1.0, dtype=F32) + leaf(1.0)
    with pytest.raises(TypeError, match="^add: mixes float32 and float64"):
        leaf(1.0, dtype=F32) + np.ones(1)
    with pytest.raises(TypeError, match="^multiply: float32 would become float64"):
        leaf(1.0, dtype=F32) * np.arange(1)


def test_an_array_on_the_left_gives_a_tensor():
    a, x = np.array([[1.0, 2.0], [3.0, 4.0]]), Tensor(np.array([[1.0, 1.0], [0.0, 2.0]]))
    for y, expected in (
        (a + x, a + x.data),
        (a - x, a - x.data),
        (a * x, a * x.data),
        (x / a, x.data / a),
        (a**x, a**x.data),
        (a @ x, a @ x.data),
    ):
        assert isinstance(y, Tensor)
        np.testing.assert_array_equal(y.data, expected)


def test_operators_and_methods():
    x = leaf(-1.0, 2.0)
    np.testing.assert_array_equal((-x).data, [1, -2])
    np.testing.assert_array_equal(abs(x).data, [1, 2])
    np.testing.assert_array_equal(x > 0, [False, True])
    np.testing.assert_array_equal(x == x, [True, True])
    m = Tensor(np.arange(6.0).reshape(2, 3))
    assert m.T.shape == (3, 2) and m.reshape(-1).shape == (6,) and m.swapaxes(0, 1).shape == (3, 2)
    assert m.sum().item() == 15 and m.mean().item() == 2.5 and m.max().item() == 5
    assert m.var(ddof=1).item() == 3.5 and m.astype(F32).dtype == F32
    assert m.ndim == 2 and m.size == 6 and len(m) == 2 and len({x, m, x}) == 2
    np.testing.assert_array_equal([row.data for row in m], m.data)
    assert float(m[1, 2]) == 5 and bool(m[0, 0]) is False and f"{m[1, 2]:.2f}" == "5.00"
    with pytest.raises(TypeError, match="^len: "):
        len(m[0, 0])


def test_tensors_are_immutable():
    x = Tensor([1.0, 2.0])
    with pytest.raises(TypeError, match="immutable: make a new one with where, concatenate or pad"):
        x[0] = 3.0
    for view in (x.numpy(), np.asarray(x)):
        with pytest.raises(ValueError, match="read-only"):
            view[0] = 3.0
    assert np.array(x).flags.writeable


@pytest.mark.parametrize("cotangent", [None, np.ones(3), np.ones((1, 2)), 1.0])
def test_backward_needs_a_cotangent_of_the_right_shape(cotangent):
    y = leaf(1.0, 2.0) * 2
    with pytest.raises(ValueError, match=r"^backward: expected a cotangent of shape \(2,\), not"):
        y.backward(cotangent)
    y.backward(Tensor(np.ones(2)))


def test_repr():
    x = leaf(1.0, 2.0)
    assert repr(x) == "Tensor([1. 2.], (2,), float64, requires_grad=True)"
    assert repr(x * 2) == "Tensor([2. 4.], (2,), float64, op=multiply)"
    assert repr(Tensor([1])) == "Tensor([1], (1,), int64)"
    assert len(repr(Tensor(np.zeros((500, 500))))) < 300 and f"{Tensor([1])}" == repr(Tensor([1]))


def test_half_precision_has_no_gradient():
    with pytest.raises(TypeError, match="float16 has no gradient"):
        Tensor(np.ones(2, np.float16), requires_grad=True)
