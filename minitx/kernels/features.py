"""The performer's positive random features (Choromanski et al. 2020, lemma 1)."""

from __future__ import annotations

import math

import numpy as np

from ..jit import jit, kernel
from ..simd import wide_vectors
from ..tasks import run_tasks
from .scalar import exp
from .sums import chunk, chunks_of


def positive_features_ref(along, x):
    """exp(along - |x|^2 / 2) / sqrt(m).  along: (..., m), x: (..., C) -> (..., m)

    along: the products of x with m directions.  |x|^2 is a sum in float64.
    """
    squares = np.square(x, dtype=np.float64).sum(axis=-1, keepdims=True)
    return np.exp((along - 0.5 * (squares + math.log(along.shape[-1]))).astype(x.dtype))


@jit
def _features(task, along, x, y):
    wide_vectors()
    first, end = chunk(task, x.shape[0])
    for n in range(first, end):
        squares = 0.0
        for c in range(x.shape[1]):
            squares += np.float64(x[n, c]) * np.float64(x[n, c])
        shift = 0.5 * (squares + math.log(along.shape[1]))
        for c in range(along.shape[1]):
            y[n, c] = exp(x.dtype.type(along[n, c] - shift))


@jit
def positive_features_jit(along, x):
    y = np.empty_like(along)
    run_tasks(_features, chunks_of(x.shape[0]), (along, x, y))
    return y


def positive_features_vjp_ref(dy, x, y):
    """-> dalong (..., m), and dx (..., C), which does not count how ``along`` depends on x."""
    dalong = dy * y
    total = dalong.sum(axis=-1, keepdims=True, dtype=np.float64).astype(x.dtype)
    return dalong, -x * total


@jit
def _features_vjp(task, dy, x, y, dalong, dx):
    wide_vectors()
    first, end = chunk(task, x.shape[0])
    for n in range(first, end):
        total = 0.0
        for c in range(y.shape[1]):
            dalong[n, c] = dy[n, c] * y[n, c]
            total += np.float64(dalong[n, c])
        slope = x.dtype.type(-total)
        for c in range(x.shape[1]):
            dx[n, c] = x[n, c] * slope


@jit
def positive_features_vjp_jit(dy, x, y):
    dalong, dx = np.empty_like(y), np.empty_like(x)
    run_tasks(_features_vjp, chunks_of(x.shape[0]), (dy, x, y, dalong, dx))
    return dalong, dx


positive_features = kernel(positive_features_ref, positive_features_jit, rows="along x")
positive_features_vjp = kernel(positive_features_vjp_ref, positive_features_vjp_jit, rows="dy x y")
