"""GELU (Hendrycks and Gimpel 2016): x * Phi(x), with the exact Phi, and with Phi through a tanh."""

from __future__ import annotations

import math

import numpy as np

from ..jit import jit, kernel, prange
from .scalar import exp, sigmoid

erf = np.vectorize(math.erf, otypes=[np.float64])
_ROOT_HALF = math.sqrt(0.5)
_ROOT_HALF_PI = 1 / math.sqrt(2 * math.pi)
_ROOT_2_OVER_PI = math.sqrt(2 / math.pi)
_CUBIC = 0.044715


def gelu_ref(x):
    """x * Phi(x), Phi the normal distribution function.  (..., C) -> (..., C)"""
    return x * (0.5 * (1 + erf(x * _ROOT_HALF))).astype(x.dtype)


@jit(parallel=True)
def gelu_jit(x):
    y = np.empty_like(x)
    half, one, root = x.dtype.type(0.5), x.dtype.type(1), x.dtype.type(_ROOT_HALF)
    for n in prange(x.shape[0]):
        for c in range(x.shape[1]):
            y[n, c] = x[n, c] * half * (one + x.dtype.type(math.erf(x[n, c] * root)))
    return y


def gelu_vjp_ref(dy, x):
    """d gelu = Phi(x) + x * phi(x).  dy, x: (..., C) -> dx"""
    density = np.exp(-0.5 * x * x) * _ROOT_HALF_PI
    return dy * ((0.5 * (1 + erf(x * _ROOT_HALF))).astype(x.dtype) + x * density)


@jit(parallel=True)
def gelu_vjp_jit(dy, x):
    dx = np.empty_like(x)
    half, one, root = x.dtype.type(0.5), x.dtype.type(1), x.dtype.type(_ROOT_HALF)
    height = x.dtype.type(_ROOT_HALF_PI)
    for n in prange(x.shape[0]):
        for c in range(x.shape[1]):
            z = x[n, c]
            phi = half * (one + x.dtype.type(math.erf(z * root)))
            dx[n, c] = dy[n, c] * (phi + z * height * exp(-half * z * z))
    return dx


def gelu_tanh_ref(x):
    """0.5 x (1 + tanh(u)), u = sqrt(2 / pi) (x + 0.044715 x^3).  (..., C) -> (..., C)"""
    return 0.5 * x * (1 + np.tanh(_ROOT_2_OVER_PI * (x + _CUBIC * x * x * x)))


@jit(parallel=True)
def gelu_tanh_jit(x):
    y = np.empty_like(x)
    a, b = x.dtype.type(2 * _ROOT_2_OVER_PI), x.dtype.type(2 * _ROOT_2_OVER_PI * _CUBIC)
    for n in prange(x.shape[0]):
        for c in range(x.shape[1]):
            z = x[n, c]
            y[n, c] = z * sigmoid(z * (a + b * z * z))  # (1 + tanh(u)) / 2 = sigmoid(2 u)
    return y


def gelu_tanh_vjp_ref(dy, x):
    """dy, x: (..., C) -> dx"""
    t = np.tanh(_ROOT_2_OVER_PI * (x + _CUBIC * x * x * x))
    du = _ROOT_2_OVER_PI * (1 + 3 * _CUBIC * x * x)
    return dy * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * du)


@jit(parallel=True)
def gelu_tanh_vjp_jit(dy, x):
    dx = np.empty_like(x)
    one, three = x.dtype.type(1), x.dtype.type(3)
    a, b = x.dtype.type(2 * _ROOT_2_OVER_PI), x.dtype.type(2 * _ROOT_2_OVER_PI * _CUBIC)
    for n in prange(x.shape[0]):
        for c in range(x.shape[1]):
            z = x[n, c]
            s = sigmoid(z * (a + b * z * z))
            slope = s * (one - s) * (a + three * b * z * z)
            dx[n, c] = dy[n, c] * (s + z * slope)
    return dx


gelu = kernel(gelu_ref, gelu_jit, rows="x")
gelu_vjp = kernel(gelu_vjp_ref, gelu_vjp_jit, rows="dy x")
gelu_tanh = kernel(gelu_tanh_ref, gelu_tanh_jit, rows="x")
gelu_tanh_vjp = kernel(gelu_tanh_vjp_ref, gelu_tanh_vjp_jit, rows="dy x")
