"""Dropout (Srivastava et al. 2014), its mask a hash of (key, position).

Nothing is stored, and any part can be drawn again.
"""

from __future__ import annotations

import numpy as np

from ..jit import jit, kernel, prange
from .scalar import uniform, uniform_jit


def dropout_ref(x, p, key):
    """x / (1 - p) with probability 1 - p, else 0.  Linear in x, so it is its own pullback.

    x: (..., C), p in [0, 1), key: uint64 -> (..., C)
    """
    index = np.arange(x.size, dtype=np.uint64).reshape(x.shape)
    kept = uniform(key, index) >= p
    return np.where(kept, x * x.dtype.type(1 / (1 - p)), x.dtype.type(0))


@jit(parallel=True)
def dropout_jit(x, p, key):
    N, C = x.shape
    y = np.empty_like(x)
    scale = x.dtype.type(1 / (1 - p))
    for n in prange(N):
        for c in range(C):
            kept = uniform_jit(key, np.uint64(n * C + c)) >= p
            y[n, c] = x[n, c] * scale if kept else x.dtype.type(0)
    return y


dropout = kernel(dropout_ref, dropout_jit, rows="x")
