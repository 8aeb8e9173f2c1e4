"""Scaled dot-product attention (Vaswani et al. 2017, section 3.2.1), exact and in tiles.

The reference writes down the T x T scores.  The twin, whose loops are in attention_heads.py, never
holds more than a tile of them: it carries each row's maximum and sum along (Milakov and Gimelshein
2018; Dao et al. 2022, algorithm 1), and its pullback computes the probabilities again from the
saved log-sum-exp (algorithm 4).

Which key a query may see is an argument, never an infinity in the data.  A weight of exactly zero
contributes nothing, whatever the value it would multiply, NaN included; a query that may see no key
gets zeros and gives zero gradients.  The twin's sums, in the dtype of its arguments, run within a
tile first and then over tiles; the reference's are NumPy's.

    q: (B, H, T, D)   k, v: (B, H, S, D)
    mask: None or bool (B|1, H|1, T|1, S), True where attention is allowed
    bias: None or (B|1, H|1, T|1, S), added to the scaled scores;  scale: a number
    causal: query i sees keys up to i + S - T
    window: and none at i + S - T - window or before (0: no such bound)
    p, key: dropout on the probabilities, its mask a hash of the position (see dropout.py)
"""

from __future__ import annotations

import numpy as np

from ..jit import compiled, kernel
from ..tasks import shares
from .attention_heads import attend_few, attend_heads, attend_heads_vjp
from .attention_tiles import KEYS, QUERIES
from .dropout import dropout_ref
from .softmax import softmax

_FEW_QUERIES = 4  # so few are not worth a tile


# ---- the reference -------------------------------------------------------------------------------


def _allowed(T, S, mask, causal, window):
    i, j = np.arange(T)[:, None] + (S - T), np.arange(S)
    allowed = np.ones((1, 1, T, S), bool) if mask is None else mask
    if causal:
        allowed = allowed & (j <= i)
    if window:
        allowed = allowed & (j > i - window)
    return allowed


def _product(weights, values):
    """weights @ values, where a zero weight silences even NaN.  (..., T, S) @ (..., S, D)"""
    if np.isfinite(values).all():
        return weights @ values
    with np.errstate(invalid="ignore"):
        terms = weights[..., None] * values[..., None, :, :]
    return np.where(weights[..., None] == 0, weights.dtype.type(0), terms).sum(axis=-2)


def _scores(q, k, mask, bias, causal, window, scale):
    with np.errstate(invalid="ignore"):
        scores = q @ k.swapaxes(-1, -2) * q.dtype.type(scale)
    if bias is not None:
        scores = scores + bias
    allowed = _allowed(q.shape[2], k.shape[2], mask, causal, window)
    return np.where(allowed, scores, q.dtype.type(-np.inf))


def probabilities(q, k, mask, causal, window, scale):
    """The weights that ``attend`` gives the values, whole, to look at: (B, H, T, S)"""
    return softmax(_scores(q, k, mask, None, causal, window, scale))


def attend_ref(q, k, v, mask, bias, causal, window, scale, p, key):
    """softmax(scale q k^T + bias) v -> y (B, H, T, D), lse (B, H, T), each row's log-sum-exp."""
    scores = _scores(q, k, mask, bias, causal, window, scale)
    top = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    top = np.where(np.isneginf(top), q.dtype.type(0), top)
    e = np.exp(scores - top)
    total = e.sum(axis=-1, keepdims=True)
    prob = e / np.where(total == 0, q.dtype.type(1), total)
    if p:
        prob = dropout_ref(prob, p, key)
    with np.errstate(divide="ignore"):
        return _product(prob, v), (top + np.log(total))[..., 0]


def _dscores_ref(dy, q, k, v, y, lse, mask, bias, causal, window, scale, p, key):
    """The probabilities after dropout, and the gradient of the scores.  Both (B, H, T, S)."""
    scores = _scores(q, k, mask, bias, causal, window, scale)
    seen = ~np.isneginf(scores)
    zero = q.dtype.type(0)
    prob = np.where(seen, np.exp(scores - np.where(seen.any(-1), lse, zero)[..., None]), zero)
    with np.errstate(invalid="ignore"):
        delta = np.where(seen.any(-1, keepdims=True), (dy * y).sum(axis=-1, keepdims=True), zero)
        dprob = dy @ v.swapaxes(-1, -2)
        if p:
            dprob = dropout_ref(dprob, p, key)
        dscores = np.where(prob == 0, zero, prob * (dprob - delta))
    return dropout_ref(prob, p, key) if p else prob, dscores


def attend_vjp_ref(dy, q, k, v, y, lse, mask, bias, causal, window, scale, p, key, out=None):
    """-> dq (B, H, T, D), dk, dv (B, H, S, D); in the three arrays of ``out``, if given."""
    prob, dscores = _dscores_ref(dy, q, k, v, y, lse, mask, bias, causal, window, scale, p, key)
    dscaled = dscores * q.dtype.type(scale)
    dk, dv = _product(dscaled.swapaxes(-1, -2), q), _product(prob.swapaxes(-1, -2), dy)
    gradients = _product(dscaled, k), dk, dv
    if out is None:
        return gradients
    for place, gradient in zip(out, gradients, strict=True):
        place[...] = gradient
    return out


def attend_dbias(dy, q, k, v, y, lse, mask, bias, causal, window, scale, p, key):
    """The gradient of the scores, (B, H, T, S): as large as a bias is, so plain NumPy serves."""
    return _dscores_ref(dy, q, k, v, y, lse, mask, bias, causal, window, scale, p, key)[1]


# ---- the twin ------------------------------------------------------------------------------------


def _heads_last(B, H, T, D, dtype):
    """(B, H, T, D), in memory (B, T, H, D): the next layer has its (B, T, C) without a copy."""
    return np.empty((B, T, H, D), dtype).swapaxes(1, 2)


def _by_rows(x):
    """x, contiguous along its last axis."""
    return x if x.strides[3] == x.itemsize else np.ascontiguousarray(x)


def _whole(mask, bias, q, k):
    """Both broadcast; an absent one has no elements: one compilation serves all cases."""
    shape, none = (*q.shape[:3], k.shape[2]), (0, 0, 0, 0)
    return (
        np.empty(none, bool) if mask is None else np.broadcast_to(mask, shape),
        np.empty(none, q.dtype.newbyteorder("=")) if bias is None else np.broadcast_to(bias, shape),
    )


def attend_jit(q, k, v, mask, bias, causal, window, scale, p, key):
    dtype = q.dtype.newbyteorder("=")
    y, lse = _heads_last(*q.shape, dtype), np.empty(q.shape[:3], dtype)
    options = *_whole(mask, bias, q, k), causal, window, scale
    q, k, v = (_by_rows(x) for x in (q, k, v))
    if q.shape[2] <= _FEW_QUERIES and not p:
        _attend_few(q, k, v, *options, y, lse)
    else:
        parts = shares(q.shape[0] * q.shape[1], -(-q.shape[2] // QUERIES))
        attend_heads(q, k, v, *options, p, key, parts, y, lse)
    return y, lse


def attend_vjp_jit(dy, q, k, v, y, lse, mask, bias, causal, window, scale, p, key, out=None):
    (B, H, T, D), S, dtype = q.shape, k.shape[2], q.dtype.newbyteorder("=")
    if out is None:
        out = tuple(_heads_last(B, H, n, D, dtype) for n in (T, S, S))
    dq, dk, dv = out
    parts = shares(B * H, -(-S // KEYS))
    partial = dq[None] if parts == 1 else np.empty((parts, B, H, T, D), dtype)
    options = *_whole(mask, bias, q, k), causal, window, scale, p, key
    dy, q, k, v, y = (_by_rows(x) for x in (dy, q, k, v, y))
    attend_heads_vjp(dy, q, k, v, y, lse, *options, partial, dk, dv)
    if parts > 1:
        np.sum(partial, axis=0, out=dq)
    return out


_attend_few = compiled(attend_few)
attend = kernel(attend_ref, attend_jit)
attend_vjp = kernel(attend_vjp_ref, attend_vjp_jit)
