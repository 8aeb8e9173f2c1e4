"""Sums of two arrays, and over many rows, in pieces that do not depend on the number of threads."""

from __future__ import annotations

import numpy as np

from ..jit import COMPILED, compiled, jit, kernel
from ..simd import wide_vectors
from ..tasks import run_tasks

_PIECE = 16384  # elements that one task adds; fewer are not worth waking a thread
CHUNK = 32  # rows that one task takes; fixed, so that sums are, too


@jit
def chunks_of(rows):
    """The number of tasks that so many rows make."""
    return (rows + CHUNK - 1) // CHUNK


@jit
def chunk(task, rows):
    """The rows of one task: first, and end."""
    return task * CHUNK, min(rows, (task + 1) * CHUNK)


@jit
def ordered_sum(partial):
    """(chunks, C) -> (C,), one chunk after the other and in float64."""
    chunks, C = partial.shape
    total, out = np.zeros(C), np.empty(C, partial.dtype)
    for i in range(chunks):
        for c in range(C):
            total[c] += np.float64(partial[i, c])
    for c in range(C):
        out[c] = total[c]
    return out


def column_sums_ref(x):
    """(..., C) -> (C,), a bias's gradient, summed in float64."""
    return x.sum(axis=tuple(range(x.ndim - 1)), dtype=np.float64).astype(x.dtype)


@jit
def _column_sums(task, x, partial):
    wide_vectors()
    first, end = chunk(task, x.shape[0])
    for c in range(x.shape[1]):
        partial[task, c] = x.dtype.type(0)
    for n in range(first, end):
        for c in range(x.shape[1]):
            partial[task, c] += x[n, c]


@jit
def column_sums_jit(x):
    partial = np.empty((chunks_of(x.shape[0]), x.shape[1]), x.dtype)
    run_tasks(_column_sums, partial.shape[0], (x, partial))
    return ordered_sum(partial)


column_sums = kernel(column_sums_ref, column_sums_jit, rows="x")


def add_ref(a, b, out=None):
    """a + b, broadcast; into ``out`` if given, which may be one of them."""
    return np.add(a, b, out=out)


def add_jit(a, b, out=None):
    large = COMPILED and isinstance(a, np.ndarray) and a.size >= _PIECE
    if not large or not _alike([x for x in (a, b, out) if x is not None]):
        return np.add(a, b, out=out)
    out = np.empty_like(a) if out is None else out
    _add(*(x.reshape(a.size) for x in (a, b, out)))
    return out


def holds(out, like, shape):
    """Whether machine code can put numbers of that shape and of the dtype of ``like`` there."""
    return out.shape == shape and out.dtype == like.dtype.newbyteorder("=") and out.flags.carray


def put(x, out, add):
    """x in ``out``, which is returned; if ``add``, x is added to what is there."""
    if add:
        return np.add(out, x, out=out)
    out[...] = x
    return out


def _alike(arrays):
    """Whether these are contiguous arrays of one shape and one dtype that we compile for."""
    if not all(isinstance(x, np.ndarray) and x.flags.carray for x in arrays):
        return False
    kinds = {(x.shape, x.dtype) for x in arrays}
    return len(kinds) == 1 and arrays[0].dtype.char in "fd"


@jit
def _add_piece(task, a, b, out):
    wide_vectors()
    part = slice(task * _PIECE, (task + 1) * _PIECE)
    a, b, out = a[part], b[part], out[part]
    for i in range(out.size):
        out[i] = a[i] + b[i]


@jit
def _add(a, b, out):
    run_tasks(_add_piece, (out.size + _PIECE - 1) // _PIECE, (a, b, out))


_add = compiled(_add)
add = kernel(add_ref, add_jit)
