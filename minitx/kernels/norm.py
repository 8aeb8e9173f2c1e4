"""Layer normalisation (Ba, Kiros and Hinton 2016).

Sums over a row are float64 in the twins, and NumPy's pairwise ones in the references; sums over all
rows, the parameters' gradients, end in float64 in both.
"""

from __future__ import annotations

import numpy as np

from ..jit import jit, kernel
from ..simd import wide_vectors
from ..tasks import run_tasks
from .sums import chunk, chunks_of, ordered_sum


def layer_norm_ref(x, weight, bias, eps):
    """(x - mean) * rstd * weight + bias over the last axis, biased variance.

    x: (..., C), weight and bias: (C,) -> y (..., C), mean (..., 1), rstd (..., 1).
    """
    mean = x.mean(axis=-1, keepdims=True)
    rstd = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + x.dtype.type(eps))
    return (x - mean) * rstd * weight + bias, mean, rstd


@jit
def _layer_norm(task, x, weight, bias, eps, y, mean, rstd):
    wide_vectors()
    N, C = x.shape
    first, end = chunk(task, N)
    for n in range(first, end):
        total, squares = 0.0, 0.0
        for c in range(C):
            total += np.float64(x[n, c])
        mu = x.dtype.type(total / C)
        for c in range(C):
            squares += np.float64((x[n, c] - mu) * (x[n, c] - mu))
        r = x.dtype.type(1 / np.sqrt(squares / C + eps))
        for c in range(C):
            y[n, c] = (x[n, c] - mu) * r * weight[c] + bias[c]
        mean[n, 0] = mu
        rstd[n, 0] = r


@jit
def layer_norm_jit(x, weight, bias, eps):
    N = x.shape[0]
    y, mean, rstd = np.empty_like(x), np.empty((N, 1), x.dtype), np.empty((N, 1), x.dtype)
    run_tasks(_layer_norm, chunks_of(N), (x, weight, bias, eps, y, mean, rstd))
    return y, mean, rstd


def layer_norm_vjp_ref(dy, x, weight, mean, rstd):
    """dx loses its mean and its component along the normalised x.

    -> dx (..., C), dweight (C,), dbias (C,)
    """
    xhat = (x - mean) * rstd
    dxhat = dy * weight
    projection = (dxhat * xhat).mean(axis=-1, keepdims=True)
    dx = (dxhat - dxhat.mean(axis=-1, keepdims=True) - xhat * projection) * rstd
    leading = tuple(range(x.ndim - 1))
    dweight, dbias = (z.sum(axis=leading, dtype=np.float64) for z in (dy * xhat, dy))
    return dx, dweight.astype(x.dtype), dbias.astype(x.dtype)


@jit
def _layer_norm_vjp(task, dy, x, weight, mean, rstd, dx, dweights, dbiases):
    wide_vectors()
    N, C = x.shape
    first, end = chunk(task, N)
    for c in range(C):
        dweights[task, c] = dbiases[task, c] = x.dtype.type(0)
    for n in range(first, end):
        mu, r = mean[n, 0], rstd[n, 0]
        total, along = 0.0, 0.0
        for c in range(C):
            dxhat = dy[n, c] * weight[c]
            total += np.float64(dxhat)
            along += np.float64(dxhat * (x[n, c] - mu) * r)
        shift, slope = x.dtype.type(total / C), x.dtype.type(along / C)
        for c in range(C):
            xhat = (x[n, c] - mu) * r
            dx[n, c] = (dy[n, c] * weight[c] - shift - xhat * slope) * r
            dweights[task, c] += dy[n, c] * xhat
            dbiases[task, c] += dy[n, c]


@jit
def layer_norm_vjp_jit(dy, x, weight, mean, rstd):
    N, C = x.shape
    tasks = chunks_of(N)
    dx = np.empty_like(x)
    dweights, dbiases = np.empty((tasks, C), x.dtype), np.empty((tasks, C), x.dtype)
    run_tasks(_layer_norm_vjp, tasks, (dy, x, weight, mean, rstd, dx, dweights, dbiases))
    return dx, ordered_sum(dweights), ordered_sum(dbiases)


layer_norm = kernel(layer_norm_ref, layer_norm_jit, rows="x")
layer_norm_vjp = kernel(layer_norm_vjp_ref, layer_norm_vjp_jit, rows="dy x mean rstd")
