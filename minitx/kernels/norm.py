"""Layer normalisation (Ba, Kiros and Hinton 2016).

Sums over a row are float64 in the twins, and NumPy's pairwise ones in the references; sums over all
rows, the parameters' gradients, end in float64 in both.
"""

from __future__ import annotations

import numpy as np

from ..jit import jit, kernel, prange
from .linalg import ordered_sum

_CHUNK = 64  # rows whose parameter gradients one thread adds up; fixed, whatever the threads


def layer_norm_ref(x, weight, bias, eps):
    """(x - mean) * rstd * weight + bias over the last axis, biased variance.

    x: (..., C), weight and bias: (C,) -> y (..., C), mean (..., 1), rstd (..., 1).
    """
    mean = x.mean(axis=-1, keepdims=True)
    rstd = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + x.dtype.type(eps))
    return (x - mean) * rstd * weight + bias, mean, rstd


@jit(parallel=True)
def layer_norm_jit(x, weight, bias, eps):
    N, C = x.shape
    y, mean, rstd = np.empty_like(x), np.empty((N, 1), x.dtype), np.empty((N, 1), x.dtype)
    for n in prange(N):
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


@jit(parallel=True)
def layer_norm_vjp_jit(dy, x, weight, mean, rstd):
    N, C = x.shape
    chunks = (N + _CHUNK - 1) // _CHUNK
    dx = np.empty_like(x)
    dweights, dbiases = np.zeros((chunks, C), x.dtype), np.zeros((chunks, C), x.dtype)
    for chunk in prange(chunks):
        for n in range(chunk * _CHUNK, min(N, (chunk + 1) * _CHUNK)):
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
                dweights[chunk, c] += dy[n, c] * xhat
                dbiases[chunk, c] += dy[n, c]
    return dx, ordered_sum(dweights), ordered_sum(dbiases)


layer_norm = kernel(layer_norm_ref, layer_norm_jit, rows="x")
layer_norm_vjp = kernel(layer_norm_vjp_ref, layer_norm_vjp_jit, rows="dy x mean rstd")
