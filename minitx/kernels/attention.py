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

from ..jit import compiled, jit, kernel
from ..simd import ROWS, multiply_tile, row, row_max, wide_vectors, width
from ..tasks import run_tasks
from .attention_tiles import (
    KEYS,
    QUERIES,
    add_weighted,
    copy,
    copy_rows,
    copy_transposed,
    drop,
    exponentials,
    fill_outside,
    grains,
    keys_of,
    padded,
    slopes,
    tile_scores,
)
from .dropout import dropout_ref
from .linalg import dots
from .scalar import exp
from .softmax import softmax

_FEW_QUERIES = 4  # so few are not worth a tile
_ENOUGH = 8  # tasks, to share out evenly


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


# ---- the twin, forward ---------------------------------------------------------------------------


@jit
def _attend_share(task, q, k, v, mask, bias, causal, window, scale, p, key, parts, y, lse):
    """A share of a head's blocks of queries: each against all keys that it may see, by tiles."""
    wide_vectors()
    (H, T, D), S, real = q.shape[1:], k.shape[2], q.dtype.type
    b, h, part = task // (H * parts), task // parts % H, task % parts
    zero, lowest = real(0), real(-np.inf)
    tiles, blocks = (S + KEYS - 1) // KEYS, (T + QUERIES - 1) // QUERIES
    keys, depth, queries = keys_of(S), padded(D, q), min(T, QUERIES)
    kT, v_rows = np.empty((tiles, D, keys), q.dtype), np.empty((tiles, keys, depth), q.dtype)
    finite = np.empty(tiles, np.bool_)
    for tile in range(tiles):
        j0, j1 = tile * KEYS, min(S, (tile + 1) * KEYS)
        copy_transposed(k[b, h], j0, j1, scale, kT[tile])
        finite[tile] = copy(v[b, h], j0, j1, v_rows[tile])
    s, acc = np.empty((ROWS, KEYS), q.dtype), np.empty((queries, depth), q.dtype)
    top, total = np.empty(queries, q.dtype), np.empty(queries, q.dtype)
    q_head, y_head, lse_head = q[b, h], y[b, h], lse[b, h]
    for turn in range((blocks + parts - 1) // parts):
        block = turn * parts + (part if turn % 2 == 0 else parts - 1 - part)  # long and short rows
        i0, i1 = block * QUERIES, min(T, (block + 1) * QUERIES)
        for r in range(i1 - i0):
            top[r], total[r] = lowest, zero
            acc[r] = zero
        for tile in range(tiles):
            j0, kT_tile, v_tile = tile * KEYS, kT[tile], v_rows[tile]
            for i in range(i0, i1, ROWS):
                n, at = min(ROWS, i1 - i), i - i0
                lo, hi = tile_scores(
                    q_head, kT_tile, s, 0, mask, bias, b, h, i, n, j0, T, S, causal, window
                )
                if lo >= hi:
                    continue
                for r in range(n):
                    scores = row(s, r, lo, hi)
                    largest = row_max(scores)
                    new = largest if largest > top[at + r] else top[at + r]
                    base = zero if new == lowest else new
                    if new > top[at + r]:
                        shrink = exp(top[at + r] - base)
                        total[at + r] *= shrink
                        for d in range(depth):
                            acc[at + r, d] *= shrink
                        top[at + r] = new
                    total[at + r] += exponentials(scores, base)
                    if p > 0:
                        drop(s, r, lo, hi, p, key, ((b * H + h) * T + i + r) * S + j0)
                seen = min(hi, S - j0) - lo
                add_weighted(s, 0, lo, v_tile, lo, acc, at, n, seen, finite[tile])
        for r in range(i1 - i0):
            factor = zero if total[r] == zero else real(1) / total[r]
            source, target = row(acc, r, 0, D), row(y_head, i0 + r, 0, D)
            for d in range(D):
                target[d] = source[d] * factor
            lse_head[i0 + r] = (zero if top[r] == lowest else top[r]) + np.log(total[r])


@jit
def _attend_head(task, q, k, v, mask, bias, causal, window, scale, y, lse):
    """A few queries, one by one: they would not fill a tile, as when generating."""
    wide_vectors()
    (H, T, D), S = q.shape[1:], k.shape[2]
    b, h, real = task // H, task % H, q.dtype.type
    zero, lowest = real(0), real(-np.inf)
    q_head, k_head, v_head = q[b, h], k[b, h], v[b, h]
    s, acc = np.empty((1, S), q.dtype), np.empty(D, q.dtype)
    for i in range(T):
        last = max(0, i + S - T + 1) if causal else S
        first = max(0, i + S - T + 1 - window) if window else 0
        scores, query = row(s, 0, 0, S), row(q_head, i, 0, D)
        dots(query, k_head, 0, S, scores)
        for j in range(S):
            scores[j] *= real(scale)
            if bias.size:
                scores[j] += bias[b, h, i, j]
            if mask.size and not mask[b, h, i, j]:
                scores[j] = lowest
            if j < first or j >= last:
                scores[j] = lowest
        top = row_max(scores)
        base, total = zero if top == lowest else top, zero
        for d in range(D):
            acc[d] = zero
        for j in range(S):
            scores[j] = exp(scores[j] - base)
            total += scores[j]
        for j in range(S):
            if scores[j] != zero:  # a weight of zero silences even NaN
                value = row(v_head, j, 0, D)
                for d in range(D):
                    acc[d] += scores[j] * value[d]
        factor = zero if total == zero else real(1) / total
        for d in range(D):
            y[b, h, i, d] = acc[d] * factor
        lse[b, h, i] = base + np.log(total)


@jit(strided="q k v mask bias y")
def _attend_few(q, k, v, mask, bias, causal, window, scale, y, lse):
    arguments = q, k, v, mask, bias, causal, window, scale, y, lse
    run_tasks(_attend_head, q.shape[0] * q.shape[1], arguments)


@jit(strided="q k v mask bias y")
def _attend(q, k, v, mask, bias, causal, window, scale, p, key, parts, y, lse):
    arguments = q, k, v, mask, bias, causal, window, scale, p, key, parts, y, lse
    run_tasks(_attend_share, q.shape[0] * q.shape[1] * parts, arguments)


# ---- the twin, backward --------------------------------------------------------------------------


@jit
def _attend_vjp_head(
    task, dy, q, k, v, y, lse, mask, bias, causal, window, scale, p, key, dq, dk, dv
):
    """One head, or a share of its tiles of keys: for each, all queries that see it."""
    wide_vectors()
    (parts, _, H, T, D), S = dq.shape, k.shape[2]
    b, h, part = task // (H * parts), task // parts % H, task % parts
    real = q.dtype.type
    zero, shift = real(0), S - T
    depth = padded(D, q)
    q_rows, dy_rows = np.empty((T, depth), q.dtype), np.empty((T, depth), q.dtype)
    dq_rows, delta = np.zeros((T, depth), q.dtype), np.empty(T, q.dtype)
    q_finite = copy(q[b, h], 0, T, q_rows)
    dy_finite = copy(dy[b, h], 0, T, dy_rows)
    y_head = y[b, h]
    for i in range(T):
        dy_row, y_row, dot = row(dy_rows, i, 0, D), row(y_head, i, 0, D), zero
        for d in range(D):
            dot += dy_row[d] * y_row[d]
        delta[i] = dot
    queries, keys = min(T, QUERIES), keys_of(S)
    k_rows = np.empty((keys, depth), q.dtype)
    kT, vT = np.empty((D, keys), q.dtype), np.empty((D, keys), q.dtype)
    s, ds = np.empty((queries, KEYS), q.dtype), np.empty((queries, KEYS), q.dtype)
    for j0 in range(part * KEYS, S, parts * KEYS):
        j1 = min(S, j0 + KEYS)
        k_finite = copy(k[b, h], j0, j1, k_rows)
        for x, factor, out in ((k[b, h], scale, kT), (v[b, h], 1.0, vT)):
            copy_transposed(x, j0, j1, factor, out)
        dk_rows, dv_rows = np.zeros((keys, depth), q.dtype), np.zeros((keys, depth), q.dtype)
        for i0 in range(0, T, QUERIES):
            i1 = min(T, i0 + QUERIES)
            left, right = grains(i0, i1 - i0, j0, S, causal, window, shift)
            if left >= right:
                continue
            for i in range(i0, i1, ROWS):
                n = min(ROWS, i1 - i)
                lo, hi = tile_scores(
                    q_rows, kT, s, i - i0, mask, bias, b, h, i, n, j0, T, S, causal, window
                )
                for j in range(lo, hi, width(s)):
                    wide = min(width(ds), hi - j)
                    multiply_tile(dy_rows, i, 0, vT, 0, j, ds, i - i0, j, n, wide, D, False)
                for r in range(i - i0, i - i0 + n):
                    start = ((b * H + h) * T + i0 + r) * S + j0
                    if p > 0:
                        drop(ds, r, lo, hi, p, key, start)
                    if lo < hi:
                        log_sum, dot = lse[b, h, i0 + r], delta[i0 + r]
                        slopes(row(s, r, lo, hi), row(ds, r, lo, hi), log_sum, dot, real(scale))
                    if p > 0:
                        drop(s, r, lo, hi, p, key, start)
                    fill_outside(s, r, left, right, lo, hi, zero)
                    fill_outside(ds, r, left, right, lo, hi, zero)
                if lo < hi:
                    seen = min(hi, j1 - j0) - lo
                    add_weighted(ds, i - i0, lo, k_rows, lo, dq_rows, i, n, seen, k_finite)
            end = min(right, j1 - j0)
            for j in range(left, end, ROWS):
                n = min(ROWS, end - j)
                first = max(0, j0 + j - shift - i0) if causal else 0  # the first query that sees j
                count = i1 - i0 - first
                if count > 0:
                    at = i0 + first
                    for weights, values, out, finite in (
                        (s.T, dy_rows, dv_rows, dy_finite),
                        (ds.T, q_rows, dk_rows, q_finite),
                    ):
                        add_weighted(weights, j, first, values, at, out, j, n, count, finite)
        copy_rows(dk_rows, j1 - j0, dk[b, h], j0)
        copy_rows(dv_rows, j1 - j0, dv[b, h], j0)
    copy_rows(dq_rows, T, dq[part, b, h], 0)


@jit(strided="dy q k v y mask bias dq dk dv")
def _attend_vjp(dy, q, k, v, y, lse, mask, bias, causal, window, scale, p, key, dq, dk, dv):
    options = mask, bias, causal, window, scale, p, key
    tasks = dq.shape[0] * dq.shape[1] * dq.shape[2]
    run_tasks(_attend_vjp_head, tasks, (dy, q, k, v, y, lse, *options, dq, dk, dv))


_attend, _attend_few = compiled(_attend), compiled(_attend_few)
_attend_vjp = compiled(_attend_vjp)


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


def _shares(heads, rows, block):
    """Into how many tasks to cut a head of so many rows, by blocks, where heads are few."""
    return max(1, min(-(-rows // block), _ENOUGH // max(1, heads)))


def attend_jit(q, k, v, mask, bias, causal, window, scale, p, key):
    dtype = q.dtype.newbyteorder("=")
    y, lse = _heads_last(*q.shape, dtype), np.empty(q.shape[:3], dtype)
    options = *_whole(mask, bias, q, k), causal, window, scale
    q, k, v = (_by_rows(x) for x in (q, k, v))
    if q.shape[2] <= _FEW_QUERIES and not p:
        _attend_few(q, k, v, *options, y, lse)
    else:
        parts = _shares(q.shape[0] * q.shape[1], q.shape[2], QUERIES)
        _attend(q, k, v, *options, p, key, parts, y, lse)
    return y, lse


def attend_vjp_jit(dy, q, k, v, y, lse, mask, bias, causal, window, scale, p, key, out=None):
    (B, H, T, D), S, dtype = q.shape, k.shape[2], q.dtype.newbyteorder("=")
    if out is None:
        out = tuple(_heads_last(B, H, n, D, dtype) for n in (T, S, S))
    dq, dk, dv = out
    parts = _shares(B * H, S, KEYS)
    shares = dq[None] if parts == 1 else np.empty((parts, B, H, T, D), dtype)
    options = *_whole(mask, bias, q, k), causal, window, scale, p, key
    dy, q, k, v, y = (_by_rows(x) for x in (dy, q, k, v, y))
    _attend_vjp(dy, q, k, v, y, lse, *options, shares, dk, dv)
    if parts > 1:
        np.sum(shares, axis=0, out=dq)
    return out


attend = kernel(attend_ref, attend_jit)
attend_vjp = kernel(attend_vjp_ref, attend_vjp_jit)
