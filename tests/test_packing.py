"""Packing by vectors does what its Python form says, number by number, and touches nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from minitx.jit import compiled, jit
from minitx.packing import lay, turn
from minitx.simd import ROWS, VECTOR_BYTES

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@jit(strided="x out")
def _lay(x, k, j, out, first, at, lanes):
    lay(x, k, j, out, first, at, lanes)


@jit(strided="x out")
def _turn(x, j, k, rows, out, first, at, lanes):
    turn(x, j, k, rows, out, first, at, lanes)


_lay, _turn = compiled(_lay), compiled(_turn)


def arrays(dtype):
    """What to read from, what to write to, and how many lanes there may be."""
    out = np.full((24, 40), np.nan, dtype)
    n = VECTOR_BYTES // out.itemsize
    x = np.random.default_rng(0).normal(size=(24, 40)).astype(dtype)
    return x, out, [lanes for lanes in (n, ROWS % n) if lanes]


@both_dtypes
def test_lay_copies_one_row(dtype):
    x, out, choices = arrays(dtype)
    for lanes in choices:
        got, expected = out.copy(), out.copy()
        _lay(x, 3, 5, got, 2, 7, lanes)
        expected[2, 7 : 7 + lanes] = x[3, 5 : 5 + lanes]
        np.testing.assert_array_equal(got, expected)


@both_dtypes
def test_turn_makes_columns_of_rows(dtype):
    x, out, choices = arrays(dtype)
    n = VECTOR_BYTES // out.itemsize
    for lanes in choices:
        for rows in range(1, lanes + 2):
            got, expected = out.copy(), out.copy()
            _turn(x[:, :-1], 4, 6, rows, got, 1, 9, lanes)
            for r in range(lanes):
                expected[1 : 1 + n, 9 + r] = x[4 + min(r, rows - 1), 6 : 6 + n]
            np.testing.assert_array_equal(got, expected)
