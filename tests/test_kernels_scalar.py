"""The scalar functions inside of compiled loops, against float64; and the hash behind dropout."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minitx import kernels as K
from minitx.jit import COMPILED, jit
from minitx.kernels import scalar

# functions in plain arithmetic


def over_all(function):
    @jit
    def apply(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    return apply


APPLY = {name: over_all(getattr(scalar, name)) for name in ("exp", "tanh", "erf", "sigmoid")}
APPLY["reciprocal"] = over_all(scalar._reciprocal)
_erf = np.vectorize(math.erf, otypes=[np.float64])
EXACT = {
    "exp": np.exp,
    "tanh": np.tanh,
    "erf": _erf,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "reciprocal": lambda x: 1 / x,
}


def both(name, x):
    """Ours, and the exact ones in float64."""
    out = np.empty_like(x)
    with np.errstate(all="ignore"):
        APPLY[name](x, out)
        return out, EXACT[name](x.astype(np.float64))


def floats(first, last):
    """A dense grid of positive float32: evenly spaced bits, and random ones."""
    first, last = (int(np.float32(x).view(np.uint32)) for x in (first, last))
    evenly = np.arange(first, last, 1009 if COMPILED else 1_000_003)
    randomly = np.random.default_rng(0).integers(first, last, size=100_000 if COMPILED else 500)
    return np.concatenate([evenly, randomly]).astype(np.uint32).view(np.float32)


def ulps(got, exact):
    """Errors in units of the last place of the right float32."""
    return np.abs(got - exact) / np.spacing(np.abs(exact).astype(np.float32))


@pytest.mark.parametrize(
    ("name", "most", "lowest", "highest"),
    [
        ("exp", 1.1, 86.98, 88.72),  # the worst was 1.024, and 1.096 without fused instructions
        ("tanh", 2, 3.4e38, 3.4e38),
        ("erf", 2, 3.4e38, 3.4e38),
        ("sigmoid", 4, 80, 3.4e38),
        ("reciprocal", 4, 0, 1e30),
    ],
)
def test_errors_in_units_of_the_last_place(name, most, lowest, highest):
    """From minus the lowest to the highest, numbers too small for a whole mantissa among them."""
    x = floats(1e-30 if name == "reciprocal" else 0, highest)
    if lowest:
        x = np.concatenate([-floats(0, lowest), x])
    got, exact = both(name, x)
    assert got.dtype == np.float32
    assert ulps(got, exact).max() <= most


def test_exp_is_within_one_float_of_the_right_one():
    got, exact = both("exp", np.concatenate([-floats(0, 86.98), floats(0, 88.72)]))
    steps = got.view(np.int32) - exact.astype(np.float32).view(np.int32)
    assert np.abs(steps).max() <= 1


EDGES = [0, -0.0, 1e-45, -1e-45, 1e-30, -1e-30, 89, 1e38, np.inf, -88, -1e38, -np.inf, np.nan]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("exp", [1, 1, 1, 1, 1, 1, np.inf, np.inf, np.inf, 0, 0, 0, np.nan]),
        ("tanh", [0, 0, 1e-45, -1e-45, 1e-30, -1e-30, 1, 1, 1, -1, -1, -1, np.nan]),
        ("sigmoid", [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1, 1, 1, 0, 0, 0, np.nan]),
    ],
)
def test_edges(name, expected):
    got, _ = both(name, np.array(EDGES, np.float32))
    np.testing.assert_allclose(got, np.array(expected, np.float32), rtol=3e-7, atol=2e-35)
    assert got.dtype == np.float32


def test_edges_of_erf():
    x = np.array(EDGES, np.float32)
    got, exact = both("erf", x)
    np.testing.assert_allclose(got, exact, rtol=3e-7, atol=1e-44)


@pytest.mark.parametrize("name", ["exp", "tanh", "erf", "sigmoid"])
def test_float64_is_the_library_s(name):
    got, exact = both(name, np.linspace(-700, 700, 1001))
    np.testing.assert_allclose(got, exact, rtol=4e-16)


def test_activations_die_out_on_the_far_side():
    """Where the sigmoid is cut off, however large the number that it weighs."""
    x = -(np.float32(2) ** np.arange(5, 128, dtype=np.float32))[None]
    with np.errstate(all="ignore"):
        for activation in range(1, len(K.ACTIVATIONS)):
            y, slope = K.activate.jit(x, activation)
            assert np.abs(y).max() <= 1e-12
            assert np.abs(slope[x > -1e12]).max() <= 1e-12  # beyond, its cube is infinite


# the hash behind dropout


@jit
def draw_all(key, out):
    for i in range(out.size):
        out[i] = scalar.uniform_jit(key, np.uint64(i))


def test_draws_are_the_same_bits_in_both_forms():
    for key in np.uint64(0), np.uint64(2**64 - 1), np.uint64(12345):
        out = np.empty(1000)
        with np.errstate(over="ignore"):
            draw_all(key, out)
        assert out.tobytes() == scalar.uniform(key, np.arange(1000, dtype=np.uint64)).tobytes()


def test_draws_are_uniform():
    """Mean, 256 cells and pairs of neighbours, each within what one in a million draws exceeds."""
    n, index = 1 << 18, np.arange(1 << 18, dtype=np.uint64)
    for key in np.random.default_rng(0).integers(0, 2**64, size=4, dtype=np.uint64):
        u = scalar.uniform(key, index)
        assert u.min() >= 0 and u.max() < 1
        assert abs(u.mean() - 0.5) < 4.9 / math.sqrt(12 * n)
        pairs = (u[::2] * 16).astype(int) * 16 + (u[1::2] * 16).astype(int)
        for cells in (u * 256).astype(int), pairs:
            counts = np.bincount(cells, minlength=256)
            chi_square = ((counts - cells.size / 256) ** 2).sum() / (cells.size / 256)
            assert abs(chi_square - 255) < 4.9 * math.sqrt(2 * 255)
        assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 4.9 / math.sqrt(n)
