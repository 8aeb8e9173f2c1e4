"""What is written in LLVM's language does what its Python form says, number by number."""

from __future__ import annotations

import numpy as np
import pytest

from minitx.jit import COMPILED, compiled, jit
from minitx.simd import (
    ROWS,
    TILE_BYTES,
    VECTOR_BYTES,
    choose,
    lanes_of,
    multiply_tile,
    row,
    row_max,
    wide_vectors,
    width_of,
)

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def normal(shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


# ---- a tile of a product -------------------------------------------------------------------------


@jit(strided="a b c")
def _tile(a, i, k, b, kb, jb, c, ic, jc, rows, columns, depth, add):
    multiply_tile(a, i, k, b, kb, jb, c, ic, jc, rows, columns, depth, add)


_tile = compiled(_tile)


def in_layout(a, layout):
    if layout == "columns":
        return np.asfortranarray(a)
    if layout == "strided":
        wide = np.full((2 * a.shape[0], 3 * a.shape[1]), np.nan, a.dtype)
        wide[::2, ::3] = a
        return wide[::2, ::3]
    return a[::-1, ::-1].copy()[::-1, ::-1] if layout == "reversed" else a


def check_tile(dtype, rows, depth, add, layout="plain", columns=None):
    """At offsets within larger arrays, of which nothing else may change."""
    width = TILE_BYTES // np.dtype(dtype).itemsize
    columns = width if columns is None else columns
    a = in_layout(normal((rows + 3, depth + 2), dtype), layout)
    b = normal((depth + 1, width + 5), dtype, 1)
    c = normal((ROWS + 2, width + 7), dtype, 2)
    a[:2], a[2 + rows :], a[:, :1], a[:, 1 + depth :] = [np.nan] * 4
    b[depth:], b[:, :3], b[:, 3 + columns :] = [np.nan] * 3
    before = c.copy()
    _tile(a, 2, 1, b, 0, 3, c, 1, 4, rows, columns, depth, add)
    expected = a[2 : 2 + rows, 1 : 1 + depth].astype(float)
    expected = expected @ b[:depth, 3 : 3 + columns].astype(float)
    expected += before[1 : 1 + rows, 4 : 4 + columns] if add else 0
    rtol = 2e-6 if dtype == np.float32 else 1e-14
    got = c[1 : 1 + rows, 4 : 4 + columns]
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=20 * rtol)
    got[...] = before[1 : 1 + rows, 4 : 4 + columns]
    np.testing.assert_array_equal(c, before)


@both_dtypes
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("rows", range(1, ROWS + 1))
def test_a_tile_of_any_number_of_rows(rows, add, dtype):
    for depth in 0, 1, 7, 64:
        check_tile(dtype, rows, depth, add)


@both_dtypes
def test_a_tile_of_any_number_of_columns(dtype):
    for columns in range(1, TILE_BYTES // np.dtype(dtype).itemsize):
        for rows in 1, ROWS:
            check_tile(dtype, rows, 5, columns % 2 == 0, columns=columns)


@both_dtypes
@pytest.mark.parametrize("layout", ["columns", "strided", "reversed"])
def test_the_left_operand_may_have_any_strides(layout, dtype):
    for depth in 1, 33:
        check_tile(dtype, ROWS, depth, True, layout)
        check_tile(dtype, 1, depth, False, layout)


@both_dtypes
def test_without_add_what_was_in_the_tile_does_not_matter(dtype):
    width = TILE_BYTES // np.dtype(dtype).itemsize
    c = np.full((ROWS, width), np.nan, dtype)
    for depth in 0, 3:
        a, b = normal((ROWS, 3), dtype), normal((3, width), dtype)
        _tile(a, 0, 0, b, 0, 0, c, 0, 0, ROWS, width, depth, False)
        np.testing.assert_allclose(c, a[:, :depth] @ b[:depth], rtol=1e-5, atol=1e-6)


@both_dtypes
def test_a_tile_passes_nan_and_infinity_on(dtype):
    width = TILE_BYTES // np.dtype(dtype).itemsize
    a, b, c = np.ones((2, 2), dtype), np.ones((2, width), dtype), np.zeros((ROWS, width), dtype)
    a[0, 0], a[1, 1], b[1, 3] = np.nan, np.inf, 0
    _tile(a, 0, 0, b, 0, 0, c, 0, 0, 2, b.shape[1], 2, False)
    assert np.isnan(c[0]).all() and np.isnan(c[1, 3]) and np.isinf(np.delete(c[1], 3)).all()


# ---- rows, maxima, choices -----------------------------------------------------------------------


@jit
def _largest(x):
    wide_vectors()
    return row_max(x)


_largest = compiled(_largest)
LENGTHS = [0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 95, 100]


@both_dtypes
@pytest.mark.parametrize("length", LENGTHS)
def test_row_max(length, dtype):
    x = normal((length,), dtype)
    assert _largest(x) == x.max(initial=-np.inf)
    assert np.asarray(_largest(x)).dtype == dtype or COMPILED
    for place in range(length):  # the largest, and a NaN, at every place in turn
        y = x.copy()
        y[place] = 9
        assert _largest(y) == 9
        y[place] = np.nan
        assert _largest(y) == np.delete(x, place).max(initial=-np.inf)
        y[place] = np.inf
        assert _largest(y) == np.inf
    x[:] = -np.inf
    assert _largest(x) == -np.inf
    x[:] = np.nan
    assert _largest(x) == -np.inf
    x[length // 2 :] = -3
    assert _largest(x) == (-3 if length else -np.inf)


@jit(strided="x")
def _copy_row(x, i, first, end, out):
    source, target = row(x, i, first, end), row(out, 1, first, end)
    for j in range(source.size):
        target[j] = source[j]
    return source.size, x.size + out.size  # both arrays are alive until here


_copy_row = compiled(_copy_row)


@both_dtypes
def test_row_is_a_view(dtype):
    x, out = normal((6, 12), dtype)[::2, :9], np.zeros((3, 9), dtype)
    for i, first, end in (0, 0, 9), (2, 3, 7), (1, 4, 4):
        out[:] = 0
        assert _copy_row(x, i, first, end, out) == (end - first, 54)
        np.testing.assert_array_equal(out[1, first:end], x[i, first:end])
        out[1, first:end] = 0
        assert not out.any()


@jit(strided="a b")
def _choices(a, b, out):
    for i in range(a.size):
        out[i] = choose(a[i] < b[i], a[i], b[i])


_choices = compiled(_choices)


@both_dtypes
def test_choose(dtype):
    a = np.array([1, 2, np.nan, 3, -np.inf, 0], dtype)
    b = np.array([2, 1, 3, np.nan, np.nan, 0], dtype)
    out = np.empty_like(a)
    _choices(a, b, out)
    np.testing.assert_array_equal(out, [1, 1, 3, np.nan, np.nan, 0])


@jit
def _numbers(x):
    return width_of(x), lanes_of(x)


_numbers = compiled(_numbers)


@both_dtypes
def test_numbers_that_fill_a_tile_and_a_vector(dtype):
    """The constants in machine code are what the Python form computes."""
    x = np.empty(1, dtype)
    assert _numbers(x) == (TILE_BYTES // x.itemsize, VECTOR_BYTES // x.itemsize)


def test_sizes():
    """Whole vectors a row, and rows that leave registers for the operands."""
    assert TILE_BYTES in (32, 64, 256) and ROWS == 6
