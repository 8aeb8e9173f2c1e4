"""Activations of a layer, elementwise: ReLU, GELU with the exact Phi and through a tanh, SiLU.

Value and slope share most of their work, so both are computed going forward, and backward needs
nothing but the slope.  Phi is the normal distribution function.  GELU: Hendrycks and Gimpel 2016;
SiLU, x * sigmoid(x), there too; ReLU: Nair and Hinton 2010, with slope 0 at 0.
"""

from __future__ import annotations

import math

import numpy as np

from ..jit import jit, kernel
from ..simd import wide_vectors
from ..tasks import run_tasks
from .scalar import erf, exp, sigmoid
from .sums import chunk, chunks_of, ordered_sum

ACTIVATIONS = ["identity", "relu", "gelu", "gelu_tanh", "silu"]  # kernels know them by index
_RELU, _GELU, _GELU_TANH = 1, 2, 3

_erf = np.vectorize(math.erf, otypes=[np.float64])
_ROOT_HALF = math.sqrt(0.5)
_ROOT_HALF_PI = 1 / math.sqrt(2 * math.pi)
_ROOT_2_OVER_PI = math.sqrt(2 / math.pi)
_CUBIC = 0.044715
_FAR = 30.0  # where tanh is 1 to the last bit, and the cube of a float32 still is a number


# ---- the reference: (value, slope) of each -------------------------------------------------------


def _identity(x):
    return x, np.ones_like(x)


def _relu(x):
    return np.maximum(x, 0), (x > 0).astype(x.dtype)


def _gelu(x):
    """x Phi(x), and Phi(x) + x phi(x)."""
    phi = (0.5 * (1 + _erf(x * _ROOT_HALF))).astype(x.dtype)
    return x * phi, phi + x * np.exp(-0.5 * x * x) * _ROOT_HALF_PI


def _gelu_tanh(x):
    """0.5 x (1 + tanh(u)), u = sqrt(2 / pi) (x + 0.044715 x^3)."""
    near = np.clip(x, -_FAR, _FAR)
    t = np.tanh(_ROOT_2_OVER_PI * (near + _CUBIC * near**3))
    du = _ROOT_2_OVER_PI * (1 + 3 * _CUBIC * near**2)
    return 0.5 * x * (1 + t), 0.5 * (1 + t) + 0.5 * near * (1 - t * t) * du


def _silu(x):
    """x s, and s (1 + x (1 - s)), s = sigmoid(x)."""
    e = np.exp(-np.abs(x))  # never overflows
    s = np.where(x >= 0, x.dtype.type(1), e) / (1 + e)
    return x * s, s * (1 + x * (1 - s))


_FORMULAS = [_identity, _relu, _gelu, _gelu_tanh, _silu]


def activate_ref(x, activation):
    """f(x) and f'(x).  (..., C), an index into ACTIVATIONS -> both (..., C)"""
    return _FORMULAS[activation](x)


def activate_vjp_ref(dy, slope):
    """dx = dy * slope (..., C), in the place of the slope, and its column sums (C,).

    These are the gradient of a bias within x.  To write where one has just read is cheapest.
    """
    dx = np.multiply(dy, slope, out=slope)
    return dx, dx.sum(axis=tuple(range(dx.ndim - 1)), dtype=np.float64).astype(dx.dtype)


# ---- the twin ------------------------------------------------------------------------------------


@jit
def activate_row(activation, x, y):
    """y[c], x[c] = f(x[c]), f'(x[c])."""
    real = x.dtype.type
    zero, half, one, three = real(0), real(0.5), real(1), real(3)
    if activation == 0:
        for c in range(x.size):
            y[c] = x[c]
            x[c] = one
    elif activation == _RELU:
        for c in range(x.size):
            y[c] = zero if x[c] < zero else x[c]  # a NaN stays one
            x[c] = one if x[c] > zero else zero
    elif activation == _GELU:
        root, height = real(_ROOT_HALF), real(_ROOT_HALF_PI)
        for c in range(x.size):
            phi = half * (one + erf(x[c] * root))
            y[c] = x[c] * phi
            x[c] = phi + x[c] * height * exp(-half * x[c] * x[c])
    elif activation == _GELU_TANH:
        far, a = real(_FAR), real(2 * _ROOT_2_OVER_PI)
        b = real(2 * _ROOT_2_OVER_PI * _CUBIC)
        for c in range(x.size):
            near = min(max(x[c], -far), far)
            s = sigmoid(near * (a + b * near * near))  # (1 + tanh u) / 2 = sigmoid(2 u)
            y[c] = x[c] * s
            x[c] = s + near * s * (one - s) * (a + three * b * near * near)
    else:
        for c in range(x.size):
            s = sigmoid(x[c])
            y[c] = x[c] * s
            x[c] = s * (one + x[c] * (one - s))


@jit
def _activate(task, activation, x, y, slope):
    wide_vectors()
    first, end = chunk(task, x.shape[0])
    for n in range(first, end):
        source, target = x[n], slope[n]
        for c in range(source.size):
            target[c] = source[c]
        activate_row(activation, target, y[n])


@jit
def activate_jit(x, activation):
    y, slope = np.empty_like(x), np.empty_like(x)
    run_tasks(_activate, chunks_of(x.shape[0]), (activation, x, y, slope))
    return y, slope


@jit
def _activate_vjp(task, dy, dx, partial):
    wide_vectors()
    N, C = dy.shape
    first, end = chunk(task, N)
    for c in range(C):
        partial[task, c] = dy.dtype.type(0)
    for n in range(first, end):
        for c in range(C):
            dx[n, c] *= dy[n, c]
            partial[task, c] += dx[n, c]


@jit
def activate_vjp_jit(dy, slope):
    partial = np.empty((chunks_of(dy.shape[0]), dy.shape[1]), dy.dtype)
    run_tasks(_activate_vjp, partial.shape[0], (dy, slope, partial))
    return slope, ordered_sum(partial)


activate = kernel(activate_ref, activate_jit, rows="x")
activate_vjp = kernel(activate_vjp_ref, activate_vjp_jit, rows="dy slope")
