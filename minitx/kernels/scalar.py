"""Scalar functions for the inside of compiled loops: exp, sigmoid, and a hash that counts.

The library's exp is a call of about 20 ns an element in a compiled loop.  A polynomial in plain
arithmetic becomes vector instructions, 0.4 ns.  float64, which serves for proof, keeps the call.
"""

from __future__ import annotations

import numpy as np

from ..jit import by_dtype, jit

_f = np.float32
_ZERO, _HALF, _ONE, _TWO = _f(0), _f(0.5), _f(1), _f(2)
_LOG2_E = _f(1.4426950408889634)
_LN2_HIGH, _LN2_LOW = _f(0.693359375), _f(-2.12194440e-4)  # their sum is ln 2; n * high is exact
_LOWEST, _HIGHEST = _f(-87.5), _f(89)  # n = -126 and 128
# 2 exp(r) = 2 + 2 r + r^2 * P(r) for |r| <= ln(2) / 2: twice the polynomial in Cephes's expf
_P5, _P4, _P3 = _f(2 * 1.9875691500e-4), _f(2 * 1.3981999507e-3), _f(2 * 8.3334519073e-3)
_P2, _P1, _P0 = _f(2 * 4.1665795894e-2), _f(2 * 1.6666665459e-1), _f(2 * 5.0000001201e-1)


@jit(exact=True)
def _exp_single(x):
    """exp of a float32, never more than one float32 from the right one; below 2^-125.5 it is 0.

    exp(x) = 2^(n - 1) * 2 exp(x - n ln 2): halved, because 2^n itself would overflow too early.
    """
    x = _LOWEST if x < _LOWEST else x  # comparisons that a NaN fails: it stays NaN
    x = _HIGHEST if x > _HIGHEST else x
    n = np.floor(x * _LOG2_E + _HALF)
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    p = ((((_P5 * r + _P4) * r + _P3) * r + _P2) * r + _P1) * r + _P0
    exponent = np.int32(n if n == n else _ZERO) + np.int32(126)  # 0, with no other bit, makes 0.0
    power = np.int32(exponent << np.int32(23)).view(np.float32)
    return (p * r * r + (r + r) + _TWO) * power


@jit(exact=True)
def _exp_double(x):
    return np.exp(x)


exp = by_dtype(_exp_single, _exp_double)


@jit(exact=True)
def _sigmoid_single(x):
    return _ONE / (_ONE + _exp_single(-x))


@jit(exact=True)
def _sigmoid_double(x):
    return 1 / (1 + np.exp(-x))


sigmoid = by_dtype(_sigmoid_single, _sigmoid_double)

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


def uniform(key: np.uint64, index):
    """The ``index``-th number, in [0, 1), of the stream ``key``.  index: uint64, one or many.

    SplitMix64 (Steele, Lea and Flood 2014): without state, so any element can be drawn, or drawn
    again, in any order.
    """
    z = key + (index + np.uint64(1)) * _GOLDEN
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    return np.float64((z ^ (z >> _S31)) >> _S11) * 2.0**-53


uniform_jit = jit(uniform, exact=True)
