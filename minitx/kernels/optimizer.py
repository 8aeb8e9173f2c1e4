"""One pass over flat buffers: the norm of all gradients, and AdamW.

AdamW: Loshchilov and Hutter 2019, algorithm 2.
"""

from __future__ import annotations

import numpy as np

from ..jit import compiled, jit, kernel, prange

_CHUNK = 16384  # elements that one thread takes at a time; fixed, so that sums are, too


def sum_of_squares_ref(x):
    """The sum of x ** 2 as float64, accumulated in float64.  x: (N,) -> a number"""
    return float(np.square(x, dtype=np.float64).sum())


@jit(parallel=True)
def sum_of_squares_jit(x):
    chunks = (x.size + _CHUNK - 1) // _CHUNK
    partial = np.zeros(chunks)
    for chunk in prange(chunks):
        total = 0.0
        for i in range(chunk * _CHUNK, min(x.size, (chunk + 1) * _CHUNK)):
            total += np.float64(x[i]) * np.float64(x[i])
        partial[chunk] = total
    total = 0.0
    for chunk in range(chunks):
        total += partial[chunk]
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


@jit(parallel=True)
def _adamw(param, grad, m, v, scale, lr, beta1, beta2, eps, weight_decay, step):
    real = param.dtype.type
    s, rate, shrink, small = real(scale), real(lr), real(lr * weight_decay), real(eps)
    a, b = real(1 - beta1), real(1 - beta2)
    m_scale, v_scale = real(1 / (1 - beta1**step)), real(1 / (1 - beta2**step))
    for chunk in prange((param.size + _CHUNK - 1) // _CHUNK):
        for i in range(chunk * _CHUNK, min(param.size, (chunk + 1) * _CHUNK)):
            g = grad[i] * s
            m[i] += a * (g - m[i])
            v[i] += b * (g * g - v[i])
            root = np.sqrt(v[i] * v_scale)
            param[i] -= shrink * param[i] + rate * (m[i] * m_scale) / (root + small)


_adamw = compiled(_adamw)
sum_of_squares = kernel(sum_of_squares_ref, sum_of_squares_jit)
adamw = kernel(adamw_ref, adamw_jit)
