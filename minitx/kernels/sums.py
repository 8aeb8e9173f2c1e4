"""Sums over many rows, cut into chunks that do not depend on the number of threads."""

from __future__ import annotations

import numpy as np

from ..jit import jit, kernel
from ..simd import wide_vectors
from ..tasks import run_tasks

CHUNK = 64  # rows that one task takes; fixed, so that sums are, too


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
