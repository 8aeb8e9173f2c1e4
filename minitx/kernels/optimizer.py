"""One pass over flat buffers: the norm of all gradients, and AdamW.

AdamW: Loshchilov and Hutter 2019, algorithm 2.
"""

from __future__ import annotations

import numpy as np

from ..jit import compiled, jit, kernel
from ..simd import wide_vectors
from ..tasks import run_tasks

_CHUNK = 16384  # elements of one task; fixed, so that sums are, too


def sum_of_squares_ref(x):
    """The sum of x ** 2 as float64, accumulated in float64.  x: (N,) -> a number"""
    return float(np.square(x, dtype=np.float64).sum())


@jit
def _sum_of_squares(task, x, partial):
    wide_vectors()
    part, total = x[task * _CHUNK : (task + 1) * _CHUNK], 0.0
    quarter = part.size // 4  # four streams from memory are faster than one
    for i in range(quarter):
        a, b = np.float64(part[i]), np.float64(part[quarter + i])
        c, d = np.float64(part[2 * quarter + i]), np.float64(part[3 * quarter + i])
        total += a * a + b * b + c * c + d * d
    for i in range(4 * quarter, part.size):
        total += np.float64(part[i]) * np.float64(part[i])
    partial[task] = total


@jit
def sum_of_squares_jit(x):
    partial = np.empty((x.size + _CHUNK - 1) // _CHUNK)
    run_tasks(_sum_of_squares, partial.size, (x, partial))
    total = 0.0
    for part in partial:
        total += part
    return total


def adamw_ref(param, grad, m, v, scale, lr, beta1, beta2, eps, weight_decay, step):
    """Updates ``param``, ``m`` and ``v`` in place from ``scale * grad``; ``step`` counts from 1.

    All (N,), and the twin wants those three contiguous.
    """
    real = param.dtype.type
    g = grad * real(scale)
    m += real(1 - beta1) * (g - m)
    v += real(1 - beta2) * (g * g - v)
    m_hat = m * real(1 / (1 - beta1**step))
    v_hat = v * real(1 / (1 - beta2**step))
    param -= real(lr * weight_decay) * param + real(lr) * m_hat / (np.sqrt(v_hat) + real(eps))


def adamw_jit(param, grad, m, v, *settings):
    if not (param.flags.carray and m.flags.carray and v.flags.carray):
        raise ValueError("adamw: param, m and v change in place; expected contiguous, writeable")
    _adamw(param, grad, m, v, *settings)


@jit
def _adamw_chunk(task, param, grad, m, v, scale, lr, beta1, beta2, eps, weight_decay, step):
    wide_vectors()
    real = param.dtype.type
    s, rate, shrink, small = real(scale), real(lr), real(lr * weight_decay), real(eps)
    a, b = real(1 - beta1), real(1 - beta2)
    m_scale, v_scale = real(1 / (1 - beta1**step)), real(1 / (1 - beta2**step))
    part = slice(task * _CHUNK, (task + 1) * _CHUNK)
    param, grad, m, v = param[part], grad[part], m[part], v[part]
    for i in range(param.size):
        g = grad[i] * s
        m[i] += a * (g - m[i])
        v[i] += b * (g * g - v[i])
        root = np.sqrt(v[i] * v_scale)
        param[i] -= shrink * param[i] + rate * (m[i] * m_scale) / (root + small)


@jit
def _adamw(param, grad, m, v, scale, lr, beta1, beta2, eps, weight_decay, step):
    settings = scale, lr, beta1, beta2, eps, weight_decay, step
    run_tasks(_adamw_chunk, (param.size + _CHUNK - 1) // _CHUNK, (param, grad, m, v, *settings))


_adamw = compiled(_adamw)
sum_of_squares = kernel(sum_of_squares_ref, sum_of_squares_jit)
adamw = kernel(adamw_ref, adamw_jit)
