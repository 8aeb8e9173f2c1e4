"""Dropout (Srivastava et al. 2014), its mask a hash of (key, position).

Nothing is stored, and any part can be drawn again.
"""

from __future__ import annotations

import numpy as np

from ..jit import jit, kernel
from ..simd import wide_vectors
from ..tasks import run_tasks
from .scalar import uniform, uniform_jit
from .sums import chunk, chunks_of


def dropout_ref(x, p, key):
    """x / (1 - p) with probability 1 - p, else 0.  Linear in x, so it is its own pullback.

    x: (..., C), p in [0, 1), key: uint64 -> (..., C)
    """
    index = np.arange(x.size, dtype=np.uint64).reshape(x.shape)
    kept = uniform(key, index) >= p
    return np.where(kept, x * x.dtype.type(1 / (1 - p)), x.dtype.type(0))


@jit
def _dropout(task, x, p, key, y):
    wide_vectors()
    N, C = x.shape
    scale = x.dtype.type(1 / (1 - p))
    first, end = chunk(task, N)
    for n in range(first, end):
        for c in range(C):
            kept = uniform_jit(key, np.uint64(n * C + c)) >= p
            y[n, c] = x[n, c] * scale if kept else x.dtype.type(0)


@jit
def dropout_jit(x, p, key):
    y = np.empty_like(x)
    run_tasks(_dropout, chunks_of(x.shape[0]), (x, p, key, y))
    return y


dropout = kernel(dropout_ref, dropout_jit, rows="x")
