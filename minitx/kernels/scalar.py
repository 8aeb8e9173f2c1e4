"""Scalar functions for the inside of compiled loops: exp, tanh, erf, and a hash that counts.

The library's exp is a call of about 20 ns an element in a compiled loop.  A polynomial in plain
arithmetic becomes vector instructions, 0.4 ns.  float64, which serves for proof, keeps the call.
In float32, exp errs by at most 1 unit in the last place, erf by 2 and tanh by 2.
The polynomials of tanh and erf are least-squares fits, reweighted until the largest relative error
is as small as can be, to float64 values.
"""

from __future__ import annotations

import math

import numpy as np

from ..jit import by_dtype, jit
from ..simd import choose

_f = np.float32
_ZERO, _HALF, _ONE, _TWO = _f(0), _f(0.5), _f(1), _f(2)
_LOG2_E = _f(1.4426950408889634)
_LN2_HIGH, _LN2_LOW = _f(0.693359375), _f(-2.12194440e-4)  # their sum is ln 2; n * high is exact
_LOWEST, _HIGHEST = _f(-87.5), _f(89)  # n = -126 and 128
_MAGIC = _f(1.5 * 2**23)  # adding it rounds to a whole number, and leaves that in the lowest bits
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
    shifted = x * _LOG2_E + _MAGIC
    n = shifted - _MAGIC
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    p = ((((_P5 * r + _P4) * r + _P3) * r + _P2) * r + _P1) * r + _P0
    exponent = np.int32(np.float32(shifted).view(np.int32) + np.int32(126))  # 0 makes the number 0
    power = np.int32(exponent << np.int32(23)).view(np.float32)
    return ((p * r + _TWO) * r + _TWO) * power


@jit(exact=True)
def _exp_double(x):
    return np.exp(x)


exp = by_dtype(_exp_single, _exp_double)


_LEAST_SIGMOID = _f(-80)  # so that its reciprocal, 1 + exp(80), is far from infinity
_FLIP = np.int32(0x7EF311C7)  # minus the bits of x: those of 1 / x, within 12 %


@jit(exact=True)
def _reciprocal(x):
    """1 / x of a positive float32 far from 0 and infinity, within 2 units in the last place.

    Each of Newton's steps squares the error; together they take a quarter of a division's time.
    """
    y = np.int32(_FLIP - np.float32(x).view(np.int32)).view(np.float32)
    for _ in range(4):
        y = y + y * (_ONE - x * y)
    return y


@jit(exact=True)
def _sigmoid_single(x):
    limited = _LEAST_SIGMOID if x < _LEAST_SIGMOID else x
    s = _reciprocal(_ONE + _exp_single(-limited))
    return choose(x < _LEAST_SIGMOID, _ZERO, s)  # however large a number it will weigh


@jit(exact=True)
def _sigmoid_double(x):
    return 1 / (1 + np.exp(-x))


sigmoid = by_dtype(_sigmoid_single, _sigmoid_double)


# tanh(x) = x + x s P(s), s = x^2, for |x| < 0.55; beyond, 1 - 2 / (exp(2 |x|) + 1)
_TANH_SMALL = _f(0.55)
_T1, _T2 = _f(-0.3333294689655304), _f(0.13320724666118622)
_T3, _T4 = _f(-0.052671805024147034), _f(0.01643756777048111)


@jit(exact=True)
def _tanh_single(x):
    size = abs(x)
    s = x * x
    small = x + x * (s * (((_T4 * s + _T3) * s + _T2) * s + _T1))
    large = _ONE - _TWO / (_exp_single(size + size) + _ONE)
    return choose(size < _TANH_SMALL, small, choose(x < _ZERO, -large, large))


@jit(exact=True)
def _tanh_double(x):
    return math.tanh(x)


tanh = by_dtype(_tanh_single, _tanh_double)

# erf(x) = x + x P(x^2) for |x| < 1; beyond, 1 - exp(Q(|x|)), which is 1 from 4 on
_ERF_LARGEST = _f(4)
_E0, _E1, _E2 = _f(0.12837916612625122), _f(-0.3761262595653534), _f(0.1128358542919159)
_E3, _E4 = _f(-0.026853812858462334), _f(0.005188329610973597)
_E5, _E6 = _f(-0.0008010207093320787), _f(7.853900751797482e-05)
_Q0, _Q1, _Q2 = _f(-0.00034151601721532643), _f(-1.127089262008667), _f(-0.6381447911262512)
_Q3, _Q4 = _f(-0.103106789290905), _f(0.021838082000613213)
_Q5, _Q6 = _f(-0.002947662491351366), _f(0.00018637962057255208)


@jit(exact=True)
def _erf_single(x):
    size = abs(x)
    s = x * x
    p = (((((_E6 * s + _E5) * s + _E4) * s + _E3) * s + _E2) * s + _E1) * s + _E0
    small = x + x * p
    q = _Q6 * size + _Q5
    q = ((((q * size + _Q4) * size + _Q3) * size + _Q2) * size + _Q1) * size + _Q0
    large = choose(size > _ERF_LARGEST, _ONE, _ONE - _exp_single(q))
    return choose(size < _ONE, small, choose(x < _ZERO, -large, large))


@jit(exact=True)
def _erf_double(x):
    return math.erf(x)


erf = by_dtype(_erf_single, _erf_double)

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
