"""Heads of attention, each by tiles, for the compiled twin in attention.py.

A task is a head, or a share of one where heads are few.
"""

from __future__ import annotations

import numpy as np

from ..jit import compiled, jit
from ..simd import ROWS, multiply_tile, row, row_max, wide_vectors, width_of
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
from .linalg import dots
from .scalar import exp

# ---- forward -------------------------------------------------------------------------------------


@jit
def _share_work(q, k, v, options, parts, y, lse):
    """All tiles of keys and values, and what a block of queries needs."""
    (T, D), S, dtype = q.shape[2:], k.shape[2], q.dtype
    tiles, keys, depth = (S + KEYS - 1) // KEYS, keys_of(S), padded(D, q)
    kT, v_rows = np.empty((tiles, D, keys), dtype), np.empty((tiles, keys, depth), dtype)
    finite, s = np.empty(tiles, np.bool_), np.empty((ROWS, KEYS), dtype)
    acc, sums = np.empty((min(T, QUERIES), depth), dtype), np.empty((2, min(T, QUERIES)), dtype)
    return kT, v_rows, finite, s, acc, sums


@jit(borrows=True)
def _attend_share(task, q, k, v, options, parts, y, lse, kT, v_rows, finite, s, acc, sums):
    """A share of a head's blocks of queries: each against all keys that it may see, by tiles."""
    wide_vectors()
    mask, bias, causal, window, scale, p, key = options
    (H, T, D), S, real = q.shape[1:], k.shape[2], q.dtype.type
    b, h, part = task // (H * parts), task // parts % H, task % parts
    zero, lowest, top, total = real(0), real(-np.inf), sums[0], sums[1]
    tiles, blocks, depth = finite.size, (T + QUERIES - 1) // QUERIES, acc.shape[1]
    for tile in range(tiles):
        j0, j1 = tile * KEYS, min(S, (tile + 1) * KEYS)
        copy_transposed(k[b, h], j0, j1, scale, kT[tile])
        finite[tile] = copy(v[b, h], j0, j1, v_rows[tile])
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
def _head_work(q, k, v, mask, bias, causal, window, scale, y, lse):
    """The scores and the sum of one query."""
    return np.empty((1, k.shape[2]), q.dtype), np.empty(q.shape[3], q.dtype)


@jit(borrows=True)
def _attend_head(task, q, k, v, mask, bias, causal, window, scale, y, lse, s, acc):
    """A few queries, one by one: they would not fill a tile, as when generating."""
    wide_vectors()
    (H, T, D), S = q.shape[1:], k.shape[2]
    b, h, real = task // H, task % H, q.dtype.type
    zero, lowest = real(0), real(-np.inf)
    q_head, k_head, v_head = q[b, h], k[b, h], v[b, h]
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
def attend_few(q, k, v, mask, bias, causal, window, scale, y, lse):
    arguments = q, k, v, mask, bias, causal, window, scale, y, lse
    run_tasks(_attend_head, q.shape[0] * q.shape[1], arguments, _head_work)


@jit(strided="q k v mask bias y")
def attend_heads(q, k, v, mask, bias, causal, window, scale, p, key, parts, y, lse):
    options = mask, bias, causal, window, scale, p, key
    arguments = q, k, v, options, parts, y, lse
    run_tasks(_attend_share, q.shape[0] * q.shape[1] * parts, arguments, _share_work)


# ---- backward ------------------------------------------------------------------------------------


@jit
def _vjp_work(dy, q, k, v, y, lse, options, dq, dk, dv):
    """Rows of q, dy, dq; of a tile of k, dk, dv; columns of k, v; scores and their gradient."""
    (T, D), S, dtype = q.shape[2:], k.shape[2], q.dtype
    queries, keys, depth = min(T, QUERIES), keys_of(S), padded(D, q)
    rows, delta = np.empty((3, T, depth), dtype), np.empty(T, dtype)
    tile, turned = np.empty((3, keys, depth), dtype), np.empty((2, D, keys), dtype)
    scores, finite = np.empty((2, queries, KEYS), dtype), np.empty(2, np.bool_)
    return rows, delta, tile, turned, scores, finite


@jit(borrows=True)
def _attend_vjp_head(
    task, dy, q, k, v, y, lse, options, dq, dk, dv, rows, delta, tile, turned, scores, finite
):
    """One head, or a share of its tiles of keys: for each, all queries that see it."""
    wide_vectors()
    mask, bias, causal, window, scale, p, key = options
    q_rows, dy_rows, dq_rows = rows[0], rows[1], rows[2]
    k_rows, dk_rows, dv_rows = tile[0], tile[1], tile[2]
    kT, vT, s, ds = turned[0], turned[1], scores[0], scores[1]
    (parts, _, H, T, D), S = dq.shape, k.shape[2]
    b, h, part = task // (H * parts), task // parts % H, task % parts
    real = q.dtype.type
    zero, shift = real(0), S - T
    for x, out, number in ((q[b, h], q_rows, 0), (dy[b, h], dy_rows, 1)):
        finite[number] = copy(x, 0, T, out)
    y_head = y[b, h]
    for i in range(T):
        dy_row, y_row, dot = row(dy_rows, i, 0, D), row(y_head, i, 0, D), zero
        for d in range(D):
            dot += dy_row[d] * y_row[d]
        delta[i] = dot
    dq_rows[...] = zero
    for j0 in range(part * KEYS, S, parts * KEYS):
        j1 = min(S, j0 + KEYS)
        k_finite = copy(k[b, h], j0, j1, k_rows)
        for x, factor, out in ((k[b, h], scale, kT), (v[b, h], 1.0, vT)):
            copy_transposed(x, j0, j1, factor, out)
        tile[1:] = zero
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
                for j in range(lo, hi, width_of(s)):
                    wide = min(width_of(ds), hi - j)
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
                    for weights, values, out, number in (
                        (s.T, dy_rows, dv_rows, 1),
                        (ds.T, q_rows, dk_rows, 0),
                    ):
                        add_weighted(
                            weights, j, first, values, at, out, j, n, count, finite[number]
                        )
        for x, out in ((dk_rows, dk[b, h]), (dv_rows, dv[b, h])):
            copy_rows(x, j1 - j0, out, j0)
    copy_rows(dq_rows, T, dq[part, b, h], 0)


@jit(strided="dy q k v y mask bias dq dk dv")
def attend_heads_vjp(dy, q, k, v, y, lse, mask, bias, causal, window, scale, p, key, dq, dk, dv):
    options = mask, bias, causal, window, scale, p, key
    arguments = dy, q, k, v, y, lse, options, dq, dk, dv
    run_tasks(_attend_vjp_head, dq.shape[0] * dq.shape[1] * dq.shape[2], arguments, _vjp_work)


attend_heads, attend_heads_vjp = compiled(attend_heads), compiled(attend_heads_vjp)
