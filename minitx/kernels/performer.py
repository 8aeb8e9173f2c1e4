"""The performer: positive random features, and attention that is linear in the length.

Choromanski et al. 2020, "Rethinking Attention with Performers": lemma 1, and section 2.2.  If the
weight of a key is a product of features, q . k, then a sum over keys, of k v^T, can be made before
any query is known.  The twin sums an image, or a sentence, by itself: a task each.
"""

from __future__ import annotations

import math

import numpy as np

from ..jit import compiled, jit, kernel
from ..simd import ROWS, TILE_BYTES, multiply_tile, row, wide_vectors, width_of
from ..tasks import run_tasks
from .attention_tiles import copy_rows, copy_transposed, padded
from .scalar import exp
from .sums import chunk, chunks_of


def positive_features_ref(along, x):
    """exp(along - |x|^2 / 2) / sqrt(m).  along: (..., m), x: (..., C) -> (..., m)

    along: the products of x with m directions.  |x|^2 is a sum in float64.
    """
    squares = np.square(x, dtype=np.float64).sum(axis=-1, keepdims=True)
    return np.exp((along - 0.5 * (squares + math.log(along.shape[-1]))).astype(x.dtype))


@jit
def _features(task, along, x, y):
    wide_vectors()
    first, end = chunk(task, x.shape[0])
    for n in range(first, end):
        squares = 0.0
        for c in range(x.shape[1]):
            squares += np.float64(x[n, c]) * np.float64(x[n, c])
        shift = 0.5 * (squares + math.log(along.shape[1]))
        for c in range(along.shape[1]):
            y[n, c] = exp(x.dtype.type(along[n, c] - shift))


@jit
def positive_features_jit(along, x):
    y = np.empty_like(along)
    run_tasks(_features, chunks_of(x.shape[0]), (along, x, y))
    return y


def positive_features_vjp_ref(dy, x, y):
    """-> dalong (..., m), and dx (..., C), which does not count how ``along`` depends on x."""
    dalong = dy * y
    total = dalong.sum(axis=-1, keepdims=True, dtype=np.float64).astype(x.dtype)
    return dalong, -x * total


@jit
def _features_vjp(task, dy, x, y, dalong, dx):
    wide_vectors()
    first, end = chunk(task, x.shape[0])
    for n in range(first, end):
        total = 0.0
        for c in range(y.shape[1]):
            dalong[n, c] = dy[n, c] * y[n, c]
            total += np.float64(dalong[n, c])
        slope = x.dtype.type(-total)
        for c in range(x.shape[1]):
            dx[n, c] = x[n, c] * slope


@jit
def positive_features_vjp_jit(dy, x, y):
    dalong, dx = np.empty_like(y), np.empty_like(x)
    run_tasks(_features_vjp, chunks_of(x.shape[0]), (dy, x, y, dalong, dx))
    return dalong, dx


positive_features = kernel(positive_features_ref, positive_features_jit, rows="along x")
positive_features_vjp = kernel(positive_features_vjp_ref, positive_features_vjp_jit, rows="dy x y")


# ---- attention -----------------------------------------------------------------------------------


def linear_attend_ref(qk, v, eps):
    """q (k^T v) / (q . sum(k) + eps).  qk: (B, T, 2, m), features of queries and keys; v: (B, T, C)

    -> y (B, T, C), the divisor (B, T), and the sums over keys: of k v^T (B, m, C), of k (B, m)
    """
    q, k = qk[:, :, 0], qk[:, :, 1]
    summary, total = k.swapaxes(1, 2) @ v, k.sum(axis=1, dtype=np.float64).astype(v.dtype)
    divisor = (q @ total[..., None])[..., 0] + v.dtype.type(eps)
    return q @ summary / divisor[..., None], divisor, summary, total


def linear_attend_vjp_ref(dy, qk, v, y, divisor, summary, total):
    """-> dqk (B, T, 2, m), dv (B, T, C)"""
    q, k = qk[:, :, 0], qk[:, :, 1]
    dtop = dy / divisor[..., None]
    ddivisor = -(dtop * y).sum(axis=-1, keepdims=True)
    dsummary, dtotal = q.swapaxes(1, 2) @ dtop, (q * ddivisor).sum(axis=1, keepdims=True)
    dq = dtop @ summary.swapaxes(1, 2) + ddivisor * total[:, None]
    dk = v @ dsummary.swapaxes(1, 2) + dtotal
    return np.stack([dq, dk], axis=2), k @ dsummary


@jit
def _product(a, b, c, columns):
    """c[:, :columns] = a @ b, where b's rows are so long that a tile may read whole vectors."""
    for j in range(0, columns, width_of(c)):
        wide = min(width_of(c), columns - j)
        for i in range(0, a.shape[0], ROWS):
            n = min(ROWS, a.shape[0] - i)
            multiply_tile(a, i, 0, b, 0, j, c, i, j, n, wide, a.shape[1], False)


@jit
def _work(qk, v, eps, y, divisor, summary, total):
    """Of a task's keys, the sum of k v^T, as wide as tiles are, and the sum of k."""
    m = total.shape[1]
    return np.zeros((m, padded(y.shape[2], y)), y.dtype), np.empty(m)


@jit(borrows=True)
def _linear_attend(task, qk, v, eps, y, divisor, summary, total, sums, count):
    """One example: its keys and values are added up, then each query takes its share."""
    wide_vectors()
    (T, C), m, real = y.shape[1:], total.shape[1], y.dtype.type
    queries, keys, out = qk[task, :, :m], qk[task, :, m:], y[task]
    _product(keys.T, v[task], sums, C)
    for a in range(m):
        count[a] = 0.0
    for t in range(T):
        key = row(keys, t, 0, m)
        for a in range(m):
            count[a] += np.float64(key[a])
    for a in range(m):
        total[task, a] = count[a]
    copy_rows(sums, m, summary[task], 0)
    _product(queries, sums, out, C)
    for t in range(T):
        query, target, weight = row(queries, t, 0, m), row(out, t, 0, C), real(eps)
        for a in range(m):
            weight += query[a] * total[task, a]
        factor = real(1) / weight
        divisor[task, t] = weight
        for c in range(C):
            target[c] *= factor


@jit
def _linear_attend_all(qk, v, eps, y, divisor, summary, total):
    run_tasks(_linear_attend, y.shape[0], (qk, v, eps, y, divisor, summary, total), _work)


@jit
def _vjp_work(dy, qk, v, y, divisor, summary, total, dqk, dv):
    """Gradients: of the dividend, of k v^T, of k; and that and k v^T itself with C first."""
    (T, C), m, dtype = y.shape[1:], total.shape[1], y.dtype
    dtop, dsums = np.zeros((T, padded(C, y)), dtype), np.zeros((m, padded(C, y)), dtype)
    return dtop, dsums, np.empty(m), np.zeros((C, padded(m, y)), dtype)


@jit(borrows=True)
def _linear_attend_vjp(
    task, dy, qk, v, y, divisor, summary, total, dqk, dv, dtop, dsums, dcount, turned
):
    """One example: gradients of its queries, and so of both sums, then of its keys and values."""
    wide_vectors()
    (T, C), m, real = y.shape[1:], total.shape[1], y.dtype.type
    queries, keys, count = qk[task, :, :m], qk[task, :, m:], total[task]
    dqueries, dkeys = dqk[task, :, :m], dqk[task, :, m:]
    dout, out = dy[task], y[task]
    for a in range(m):
        dcount[a] = 0.0
    copy_transposed(summary[task], 0, m, 1.0, turned)
    for t in range(T):
        factor = real(1) / divisor[task, t]
        source, target = row(dout, t, 0, C), row(dtop, t, 0, C)
        for c in range(C):
            target[c] = source[c] * factor
    _product(dtop[:, :C], turned, dqueries, m)
    for t in range(T):
        slope, result, ddivisor = row(dtop, t, 0, C), row(out, t, 0, C), real(0)
        for c in range(C):
            ddivisor -= slope[c] * result[c]
        query, dquery = row(queries, t, 0, m), row(dqueries, t, 0, m)
        for a in range(m):
            dquery[a] += ddivisor * count[a]
            dcount[a] += np.float64(ddivisor * query[a])
    _product(queries.T, dtop, dsums, C)
    copy_transposed(dsums[:, :C], 0, m, 1.0, turned)
    _product(v[task], turned, dkeys, m)
    for t in range(T):
        dkey = row(dkeys, t, 0, m)
        for a in range(m):
            dkey[a] += real(dcount[a])
    _product(keys, dsums, dv[task], C)


@jit
def _linear_attend_vjp_all(dy, qk, v, y, divisor, summary, total, dqk, dv):
    arguments = dy, qk, v, y, divisor, summary, total, dqk, dv
    run_tasks(_linear_attend_vjp, y.shape[0], arguments, _vjp_work)


_linear_attend_all = compiled(_linear_attend_all)
_linear_attend_vjp_all = compiled(_linear_attend_vjp_all)


def linear_attend_jit(qk, v, eps):
    (B, T, _, m), C, dtype = qk.shape, v.shape[2], v.dtype.newbyteorder("=")
    y, divisor = np.empty((B, T, C), dtype), np.empty((B, T), dtype)
    summary, total = np.empty((B, m, C), dtype), np.empty((B, m), dtype)
    half = TILE_BYTES // 2 // v.itemsize  # numbers that a tile reads at least
    v = np.pad(v, ((0, 0), (0, 0), (0, -C % half))) if C % half else v
    _linear_attend_all(qk.reshape(B, T, 2 * m), v, eps, y, divisor, summary, total)
    return y, divisor, summary, total


def linear_attend_vjp_jit(dy, qk, v, y, divisor, summary, total):
    B, T, _, m = qk.shape
    dtype = v.dtype.newbyteorder("=")
    dqk, dv = np.empty((B, T, 2 * m), dtype), np.empty(v.shape, dtype)
    both = qk.reshape(B, T, 2 * m)
    _linear_attend_vjp_all(dy, both, v, y, divisor, summary, total, dqk, dv)
    return dqk.reshape(qk.shape), dv


linear_attend = kernel(linear_attend_ref, linear_attend_jit)
linear_attend_vjp = kernel(linear_attend_vjp_ref, linear_attend_vjp_jit)
