"""Scaled dot-product attention (Vaswani et al. 2017, section 3.2.1), exact and in tiles.

The reference writes down the T x T scores.  The twin never holds more than a tile of them: it
carries each row's maximum and sum along (Milakov and Gimelshein 2018; Dao et al. 2022, algorithm
1), and its pullback computes the probabilities again from the saved log-sum-exp (algorithm 4).

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

from ..jit import compiled, jit, kernel, prange
from .dropout import dropout_ref
from .scalar import exp, uniform_jit

_ROWS, _COLUMNS = 32, 64  # a tile of scores: queries x keys


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


def attend_vjp_ref(dy, q, k, v, y, lse, mask, bias, causal, window, scale, p, key):
    """-> dq (B, H, T, D), dk, dv (B, H, S, D)"""
    prob, dscores = _dscores_ref(dy, q, k, v, y, lse, mask, bias, causal, window, scale, p, key)
    dscaled = dscores * q.dtype.type(scale)
    dk, dv = _product(dscaled.swapaxes(-1, -2), q), _product(prob.swapaxes(-1, -2), dy)
    return _product(dscaled, k), dk, dv


def attend_dbias(dy, q, k, v, y, lse, mask, bias, causal, window, scale, p, key):
    """The gradient of the scores, (B, H, T, S): as large as a bias is, so plain NumPy serves."""
    return _dscores_ref(dy, q, k, v, y, lse, mask, bias, causal, window, scale, p, key)[1]


# ---- the twin: pieces of a tile ------------------------------------------------------------------


@jit
def _add_product(a, b, c):
    """c += a @ b.  a: (M, K), b: (K, N), M and K multiples of 4.

    Four rows by four depths at a time, columns in vectors.
    """
    M, K = a.shape
    N = b.shape[1]
    for i in range(0, M, 4):
        for k in range(0, K, 4):
            a00, a01, a02, a03 = a[i, k], a[i, k + 1], a[i, k + 2], a[i, k + 3]
            a10, a11, a12, a13 = a[i + 1, k], a[i + 1, k + 1], a[i + 1, k + 2], a[i + 1, k + 3]
            a20, a21, a22, a23 = a[i + 2, k], a[i + 2, k + 1], a[i + 2, k + 2], a[i + 2, k + 3]
            a30, a31, a32, a33 = a[i + 3, k], a[i + 3, k + 1], a[i + 3, k + 2], a[i + 3, k + 3]
            for j in range(N):
                b0, b1, b2, b3 = b[k, j], b[k + 1, j], b[k + 2, j], b[k + 3, j]
                c[i, j] += a00 * b0 + a01 * b1 + a02 * b2 + a03 * b3
                c[i + 1, j] += a10 * b0 + a11 * b1 + a12 * b2 + a13 * b3
                c[i + 2, j] += a20 * b0 + a21 * b1 + a22 * b2 + a23 * b3
                c[i + 3, j] += a30 * b0 + a31 * b1 + a32 * b2 + a33 * b3


@jit
def _add_weighted(weights, values, c, finite):
    """c += weights @ values, where a zero weight silences values that are not ``finite``."""
    if finite:
        _add_product(weights, values, c)
        return
    for i in range(weights.shape[0]):
        for k in range(weights.shape[1]):
            if weights[i, k] != 0:
                for j in range(values.shape[1]):
                    c[i, j] += weights[i, k] * values[k, j]


@jit
def _transpose(a, out):
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            out[j, i] = a[i, j]


@jit
def _load(x, b, h, first, out):
    """Rows first, first + 1, ... of x[b, h] into the tile ``out``, zeros beyond its end.

    -> whether all are finite
    """
    rows, D = min(out.shape[0], x.shape[2] - first), x.shape[3]
    out[:] = out.dtype.type(0)
    total = out.dtype.type(0)
    for i in range(rows):
        for d in range(D):
            out[i, d] = x[b, h, first + i, d]
            total += out[i, d] * out.dtype.type(0)
    return total == out.dtype.type(0)


@jit
def _tile_scores(q, kT, s, mask, bias, scale, causal, window, b, h, i0, j0, T, S):
    """Scores of queries i0.. and keys j0.. into ``s``; -inf if not allowed, or beyond the end."""
    s[:] = s.dtype.type(0)
    _add_product(q, kT, s)
    hidden, shift = s.dtype.type(-np.inf), S - T
    for i in range(s.shape[0]):
        last = min(S, i0 + i + shift + 1) if causal else S
        first = i0 + i + shift + 1 - window if window else 0
        if i0 + i >= T:
            last = 0
        for j in range(s.shape[1]):
            s[i, j] *= s.dtype.type(scale)
        if bias.size and i0 + i < T:
            row = bias[b % bias.shape[0], h % bias.shape[1], (i0 + i) % bias.shape[2]]
            for j in range(min(s.shape[1], S - j0)):
                s[i, j] += row[j0 + j]
        if mask.size and i0 + i < T:
            seen = mask[b % mask.shape[0], h % mask.shape[1], (i0 + i) % mask.shape[2]]
            for j in range(min(s.shape[1], S - j0)):
                if not seen[j0 + j]:
                    s[i, j] = hidden
        if j0 < first or j0 + s.shape[1] > last:
            for j in range(s.shape[1]):
                if j0 + j < first or j0 + j >= last:
                    s[i, j] = hidden


@jit
def _key_range(i0, i1, S, causal, window, shift):
    """The tiles of keys that queries i0 <= i < i1 can see at all: first key, and end."""
    end = min(S, max(0, i1 + shift)) if causal else S
    first = max(0, i0 + shift + 1 - window) if window else 0
    return first // _COLUMNS * _COLUMNS, end


@jit
def _drop(x, p, key, b, h, H, i0, j0, T, S):
    """Dropout on a tile, by each element's index in (B, H, T, S)."""
    scale = x.dtype.type(1 / (1 - p))
    for i in range(x.shape[0]):
        start = ((b * H + h) * T + i0 + i) * S + j0
        for j in range(x.shape[1]):
            kept = uniform_jit(key, np.uint64(start + j)) >= p
            x[i, j] = x[i, j] * scale if kept else x.dtype.type(0)


# ---- the twin ------------------------------------------------------------------------------------


@jit
def _attend_rows(q, k, v, mask, bias, causal, window, scale, p, key, y, lse, b, h, i0):
    """One block of queries against all keys that it may see, a tile at a time."""
    (H, T, D), S = q.shape[1:], k.shape[2]
    real = q.dtype.type
    zero, lowest = real(0), real(-np.inf)
    depth, shift = (D + 3) // 4 * 4, S - T
    q_tile, acc = np.empty((_ROWS, depth), q.dtype), np.zeros((_ROWS, depth), q.dtype)
    k_tile, v_tile = np.empty((_COLUMNS, depth), q.dtype), np.empty((_COLUMNS, depth), q.dtype)
    kT, s = np.empty((depth, _COLUMNS), q.dtype), np.empty((_ROWS, _COLUMNS), q.dtype)
    top, total = np.full(_ROWS, lowest), np.zeros(_ROWS, q.dtype)
    _load(q, b, h, i0, q_tile)
    start, end = _key_range(i0, min(T, i0 + _ROWS), S, causal, window, shift)
    for j0 in range(start, end, _COLUMNS):
        _load(k, b, h, j0, k_tile)
        finite = _load(v, b, h, j0, v_tile)
        _transpose(k_tile, kT)
        _tile_scores(q_tile, kT, s, mask, bias, scale, causal, window, b, h, i0, j0, T, S)
        for i in range(_ROWS):
            new = top[i]
            for j in range(_COLUMNS):
                new = max(new, s[i, j])
            base = zero if new == lowest else new
            shrink = exp(top[i] - base)
            added = zero
            for j in range(_COLUMNS):
                s[i, j] = exp(s[i, j] - base)
                added += s[i, j]
            top[i] = new
            total[i] = total[i] * shrink + added
            for d in range(depth):
                acc[i, d] *= shrink
        if p > 0:
            _drop(s, p, key, b, h, H, i0, j0, T, S)
        _add_weighted(s, v_tile, acc, finite)
    for i in range(min(_ROWS, T - i0)):
        factor = zero if total[i] == zero else real(1) / total[i]
        for d in range(D):
            y[b, h, i0 + i, d] = acc[i, d] * factor
        lse[b, h, i0 + i] = (zero if top[i] == lowest else top[i]) + np.log(total[i])


@jit(parallel=True, strided="q k v mask bias")
def _attend(q, k, v, mask, bias, causal, window, scale, p, key):
    B, H, T, D = q.shape
    blocks = (T + _ROWS - 1) // _ROWS
    y, lse = np.empty((B, H, T, D), q.dtype), np.empty((B, H, T), q.dtype)
    for task in prange(B * H * blocks):
        b, h, i0 = task // (H * blocks), task // blocks % H, task % blocks * _ROWS
        _attend_rows(q, k, v, mask, bias, causal, window, scale, p, key, y, lse, b, h, i0)
    return y, lse


@jit
def _attend_vjp_head(
    dy, q, k, v, y, lse, mask, bias, causal, window, scale, p, key, dq, dk, dv, b, h
):
    """One head: for each tile of keys, all queries that see it."""
    (H, T, D), S = q.shape[1:], k.shape[2]
    real = q.dtype.type
    zero, lowest = real(0), real(-np.inf)
    depth, shift = (D + 3) // 4 * 4, S - T
    q_tile, dy_tile = np.empty((_ROWS, depth), q.dtype), np.empty((_ROWS, depth), q.dtype)
    k_tile, v_tile = np.empty((_COLUMNS, depth), q.dtype), np.empty((_COLUMNS, depth), q.dtype)
    kT, vT = np.empty((depth, _COLUMNS), q.dtype), np.empty((depth, _COLUMNS), q.dtype)
    s, ds = np.empty((_ROWS, _COLUMNS), q.dtype), np.empty((_ROWS, _COLUMNS), q.dtype)
    sT, dsT = np.empty((_COLUMNS, _ROWS), q.dtype), np.empty((_COLUMNS, _ROWS), q.dtype)
    dk_tile, dv_tile = np.empty((_COLUMNS, depth), q.dtype), np.empty((_COLUMNS, depth), q.dtype)
    dq_tile, delta = np.empty((_ROWS, depth), q.dtype), np.zeros(T, q.dtype)
    for i in range(T):
        for d in range(D):
            delta[i] += dy[b, h, i, d] * y[b, h, i, d]
    for j0 in range(0, S, _COLUMNS):
        k_finite = _load(k, b, h, j0, k_tile)
        _load(v, b, h, j0, v_tile)
        _transpose(k_tile, kT)
        _transpose(v_tile, vT)
        dk_tile[:] = zero
        dv_tile[:] = zero
        for i0 in range(0, T, _ROWS):
            rows = min(_ROWS, T - i0)
            start, end = _key_range(i0, i0 + rows, S, causal, window, shift)
            if j0 < start or j0 >= end:
                continue
            q_finite = _load(q, b, h, i0, q_tile)
            dy_finite = _load(dy, b, h, i0, dy_tile)
            _tile_scores(q_tile, kT, s, mask, bias, scale, causal, window, b, h, i0, j0, T, S)
            ds[:] = zero
            _add_product(dy_tile, vT, ds)
            if p > 0:
                _drop(ds, p, key, b, h, H, i0, j0, T, S)
            for i in range(rows):
                log_sum, dot = lse[b, h, i0 + i], delta[i0 + i]
                for j in range(_COLUMNS):
                    prob = zero if s[i, j] == lowest else exp(s[i, j] - log_sum)
                    s[i, j] = prob
                    ds[i, j] = zero if prob == zero else prob * (ds[i, j] - dot) * real(scale)
            s[rows:] = zero
            ds[rows:] = zero
            _transpose(ds, dsT)
            if p > 0:
                _drop(s, p, key, b, h, H, i0, j0, T, S)
            _transpose(s, sT)
            dq_tile[:] = zero
            _add_weighted(sT, dy_tile, dv_tile, dy_finite)
            _add_weighted(dsT, q_tile, dk_tile, q_finite)
            _add_weighted(ds, k_tile, dq_tile, k_finite)
            for i in range(rows):
                for d in range(D):
                    dq[b, h, i0 + i, d] += dq_tile[i, d]
        for j in range(min(_COLUMNS, S - j0)):
            for d in range(D):
                dk[b, h, j0 + j, d] = dk_tile[j, d]
                dv[b, h, j0 + j, d] = dv_tile[j, d]


@jit(parallel=True, strided="dy q k v y mask bias")
def _attend_vjp(dy, q, k, v, y, lse, mask, bias, causal, window, scale, p, key):
    B, H, T, D = q.shape
    S = k.shape[2]
    dq = np.zeros((B, H, T, D), q.dtype)
    dk, dv = np.empty((B, H, S, D), q.dtype), np.empty((B, H, S, D), q.dtype)
    for task in prange(B * H):
        b, h = task // H, task % H
        _attend_vjp_head(
            dy, q, k, v, y, lse, mask, bias, causal, window, scale, p, key, dq, dk, dv, b, h
        )
    return dq, dk, dv


_attend, _attend_vjp = compiled(_attend), compiled(_attend_vjp)


def _or_empty(mask, bias, dtype):
    """An absent mask or bias as an array without elements: one compilation serves all cases."""
    mask = np.empty((0, 0, 0, 0), bool) if mask is None else mask
    bias = np.empty((0, 0, 0, 0), dtype) if bias is None else bias
    return mask, bias


def attend_jit(q, k, v, mask, bias, causal, window, scale, p, key):
    return _attend(q, k, v, *_or_empty(mask, bias, q.dtype), causal, window, scale, p, key)


def attend_vjp_jit(dy, q, k, v, y, lse, mask, bias, causal, window, scale, p, key):
    mask, bias = _or_empty(mask, bias, q.dtype)
    return _attend_vjp(dy, q, k, v, y, lse, mask, bias, causal, window, scale, p, key)


attend = kernel(attend_ref, attend_jit)
attend_vjp = kernel(attend_vjp_ref, attend_vjp_jit)
