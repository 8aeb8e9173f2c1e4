"""Normalisation of each channel of a batch of images (Ioffe and Szegedy 2015).

One task does one channel, in the order of its images, and sums in float64.
"""

from __future__ import annotations

import numpy as np

from ..jit import compiled, jit, kernel
from ..simd import choose, wide_vectors
from ..tasks import run_tasks

_AXES = 0, 2, 3  # all but the channels'


def channel_moments_ref(x):
    """Mean and biased variance of each channel.  (B, C, H, W) -> (C,), (C,)"""
    mean = x.mean(axis=_AXES, dtype=np.float64)
    var = np.square(x - mean.astype(x.dtype)[:, None, None]).mean(axis=_AXES, dtype=np.float64)
    return mean.astype(x.dtype), var.astype(x.dtype)


@jit
def _channel_moments(c, x, mean, var):
    wide_vectors()
    B, _, P = x.shape
    total, squares = 0.0, 0.0
    for b in range(B):
        for p in range(P):
            total += np.float64(x[b, c, p])
    mu = x.dtype.type(total / (B * P))
    for b in range(B):
        for p in range(P):
            squares += np.float64((x[b, c, p] - mu) * (x[b, c, p] - mu))
    mean[c], var[c] = mu, squares / (B * P)


@jit
def channel_moments_jit(x):
    B, C, H, W = x.shape
    mean, var = np.empty(C, x.dtype), np.empty(C, x.dtype)
    run_tasks(_channel_moments, C, (x.reshape(B, C, H * W), mean, var))
    return mean, var


def batch_norm_ref(x, mean, rstd, weight, bias, residual, rectify):
    """(x - mean) * rstd * weight + bias + residual, and a ReLU if ``rectify``.

    x: (B, C, H, W), residual: alike or None, all else: (C,) -> (B, C, H, W)
    """
    mean, scale, bias = (z[:, None, None] for z in (mean, rstd * weight, bias))
    y = (x - mean) * scale + bias
    y = y if residual is None else y + residual
    return np.maximum(y, 0) if rectify else y


@jit
def _batch_norm(c, x, mean, rstd, weight, bias, residual, rectify, y):
    wide_vectors()
    B, _, P = x.shape
    mu, scale, shift, zero = mean[c], rstd[c] * weight[c], bias[c], x.dtype.type(0)
    for b in range(B):
        for p in range(P):
            y[b, c, p] = (x[b, c, p] - mu) * scale + shift
        if residual.size:
            for p in range(P):
                y[b, c, p] += residual[b, c, p]
        if rectify:
            for p in range(P):
                y[b, c, p] = choose(y[b, c, p] < zero, zero, y[b, c, p])


@jit
def _batch_norm_all(x, mean, rstd, weight, bias, residual, rectify):
    y = np.empty_like(x)
    run_tasks(_batch_norm, x.shape[1], (x, mean, rstd, weight, bias, residual, rectify, y))
    return y


def batch_norm_jit(x, mean, rstd, weight, bias, residual, rectify):
    planes = _planes(x)
    residual = planes[:0] if residual is None else _planes(residual)
    return _batch_norm_all(planes, mean, rstd, weight, bias, residual, rectify).reshape(x.shape)


def _planes(x):
    """(B, C, H, W) -> (B, C, H * W)"""
    return x.reshape(*x.shape[:2], x.shape[2] * x.shape[3])


def batch_norm_vjp_ref(dy, x, y, mean, rstd, weight, rectify, frozen):
    """dx loses its mean and its component along the normalised x, unless moments are ``frozen``.

    -> dx (B, C, H, W), dweight (C,), dbias (C,), and dresidual (B, C, H, W)
    """
    dz = np.where(y > 0, dy, dy.dtype.type(0)) if rectify else dy
    mean, rstd, weight = (z[:, None, None] for z in (mean, rstd, weight))
    xhat = (x - mean) * rstd
    dweight, dbias = (z.sum(_AXES, np.float64).astype(x.dtype) for z in (dz * xhat, dz))
    dx = dz
    if not frozen and x.size:
        along, shift = (z[:, None, None] / x.dtype.type(x[:, 0].size) for z in (dweight, dbias))
        dx = dz - shift - xhat * along
    return dx * (rstd * weight), dweight, dbias, dz


@jit
def _batch_norm_vjp(c, dy, x, y, mean, rstd, weight, rectify, frozen, dx, dweight, dbias, dz):
    wide_vectors()
    B, _, P = x.shape
    mu, r, zero, every = mean[c], rstd[c], x.dtype.type(0), not rectify
    total, along = 0.0, 0.0
    for b in range(B):
        for p in range(P):
            d = choose((y[b, c, p] > zero) | every, dy[b, c, p], zero)
            total += np.float64(d)
            along += np.float64(d * (x[b, c, p] - mu))
    along *= np.float64(r)
    dweight[c], dbias[c] = along, total
    scale = r * weight[c]
    shift, slope = x.dtype.type(total / (B * P)), x.dtype.type(along / (B * P)) * r
    for b in range(B):
        if frozen:
            for p in range(P):
                dx[b, c, p] = choose((y[b, c, p] > zero) | every, dy[b, c, p], zero) * scale
        else:
            for p in range(P):
                d = choose((y[b, c, p] > zero) | every, dy[b, c, p], zero)
                dx[b, c, p] = (d - shift - (x[b, c, p] - mu) * slope) * scale
        if rectify:
            for p in range(P):
                dz[b, c, p] = choose(y[b, c, p] > zero, dy[b, c, p], zero)


@jit
def _batch_norm_vjp_all(dy, x, y, mean, rstd, weight, rectify, frozen):
    C = x.shape[1]
    dx, dweight, dbias = np.empty_like(x), np.empty(C, x.dtype), np.empty(C, x.dtype)
    dz = np.empty_like(x) if rectify else dy
    arguments = dy, x, y, mean, rstd, weight, rectify, frozen, dx, dweight, dbias, dz
    run_tasks(_batch_norm_vjp, C, arguments)
    return dx, dweight, dbias, dz


def batch_norm_vjp_jit(dy, x, y, mean, rstd, weight, rectify, frozen):
    planes = (_planes(z) for z in (dy, x, y))
    dx, dweight, dbias, dz = _batch_norm_vjp_all(*planes, mean, rstd, weight, rectify, frozen)
    return dx.reshape(x.shape), dweight, dbias, dz.reshape(x.shape)


_batch_norm_all, _batch_norm_vjp_all = compiled(_batch_norm_all), compiled(_batch_norm_vjp_all)
channel_moments = kernel(channel_moments_ref, channel_moments_jit)
batch_norm = kernel(batch_norm_ref, batch_norm_jit)
batch_norm_vjp = kernel(batch_norm_vjp_ref, batch_norm_vjp_jit)
