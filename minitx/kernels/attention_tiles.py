"""Pieces of a tile of attention scores, for attention_heads.py.

A tile is ``QUERIES`` x ``KEYS``.  Within it, scores are made for ``ROWS`` queries at a time, and
only for the grains of keys that these may see.
"""

from __future__ import annotations

import numpy as np

from ..jit import jit
from ..packing import lay, pack_columns, pack_rows
from ..simd import lanes_of, multiply_tile, row, width_of
from .scalar import exp, uniform_jit

QUERIES, KEYS = 96, 128  # whole tiles of registers on any processor
GRAIN = 32  # keys that are looked at or skipped together


@jit
def padded(n, x):
    half = width_of(x) // 2
    return (n + half - 1) // half * half


@jit
def keys_of(S):
    """Keys of a tile, in whole grains: ``KEYS``, or all if there are fewer."""
    return min(KEYS, (S + GRAIN - 1) // GRAIN * GRAIN)


@jit
def fill(x, i, first, end, value):
    """x[i, first:end] = value"""
    part = row(x, i, first, end)
    for j in range(part.size):
        part[j] = value


@jit
def copy(x, first, last, out):
    """Rows first..last of x into the first columns of ``out``, zeros beyond -> are all finite?"""
    zero, total, n = out.dtype.type(0), out.dtype.type(0), last - first
    pack_rows(x, 0, x.shape[1], first, last, out, -first)
    if x.shape[1] < out.shape[1]:
        for i in range(n):
            fill(out, i, x.shape[1], out.shape[1], zero)
    flat = out.reshape(out.size)
    for i in range(n * out.shape[1]):
        total += flat[i] * zero
    return total == zero


@jit
def copy_transposed(x, first, last, scale, out):
    """Rows first..last of x, times ``scale``, as columns of ``out``, zeros beyond."""
    n, factor = last - first, out.dtype.type(scale)
    pack_columns(x, first, n, 0, x.shape[1], out, 0)
    for d in range(x.shape[1]):
        fill(out, d, n, out.shape[1], out.dtype.type(0))
    if factor != 1:
        flat = out.reshape(out.size)
        for i in range(x.shape[1] * out.shape[1]):
            flat[i] *= factor


@jit
def copy_rows(x, n, out, first):
    """The first n rows of x to the rows of ``out`` from ``first`` on, as many columns as it has."""
    lanes = lanes_of(out)
    whole = out.shape[1] // lanes * lanes
    for i in range(n):
        for d in range(0, whole, lanes):
            lay(x, i, d, out, first + i, d, lanes)
        for d in range(whole, out.shape[1]):
            out[first + i, d] = x[i, d]


@jit
def _seen(i, n, j0, S, causal, window, shift):
    """Keys that queries i to i + n - 1 may see in the tile at j0: first and end, from j0 on."""
    last = min(KEYS, S - j0)
    if causal:
        last = min(last, i + n + shift - j0)
    first = max(0, i + shift + 1 - window - j0) if window else 0
    return first, last


@jit
def grains(i, n, j0, S, causal, window, shift):
    """What queries i to i + n - 1 see of the tile at j0, in whole grains."""
    first, last = _seen(i, n, j0, S, causal, window, shift)
    end = (max(first, last) + GRAIN - 1) // GRAIN * GRAIN
    return first // GRAIN * GRAIN, min(KEYS, end)


@jit
def tile_scores(q, kT, s, at, mask, bias, b, h, i, n, j0, T, S, causal, window):
    """Scaled scores of queries i to i + n - 1, n <= ROWS, in s[at:]; -inf where they may not look.

    Only within the grains (first, end) that it returns.
    """
    hidden, shift = s.dtype.type(-np.inf), S - T
    lo, hi = grains(i, n, j0, S, causal, window, shift)
    for j in range(lo, hi, width_of(s)):
        wide = min(width_of(s), hi - j)
        multiply_tile(q, i, 0, kT, 0, j, s, at, j, n, wide, kT.shape[0], False)
    for r in range(n):
        first, last = _seen(i + r, 1, j0, S, causal, window, shift)
        if bias.size:
            added = bias[b, h, i + r]
            for j in range(first, last):
                s[at + r, j] += added[j0 + j]
        if mask.size:
            seen = mask[b, h, i + r]
            for j in range(first, last):
                if not seen[j0 + j]:
                    s[at + r, j] = hidden
        fill_outside(s, at + r, lo, hi, first, last, hidden)
    return lo, hi


@jit
def exponentials(x, base):
    """x = exp(x - base), whole grains -> their sum."""
    total = x.dtype.type(0)
    for g in range(x.size // GRAIN):
        for j in range(GRAIN):
            x[g * GRAIN + j] = exp(x[g * GRAIN + j] - base)
    for j in range(x.size):  # by itself: LLVM would add up each grain to one number
        total += x[j]
    return total


@jit
def slopes(x, dx, log_sum, dot, scale):
    """Scores to probabilities, and the gradient of those to the gradient of scores, scaled."""
    zero, lowest = x.dtype.type(0), x.dtype.type(-np.inf)
    for j in range(x.size):
        prob = zero if x[j] == lowest else exp(x[j] - log_sum)
        slope = prob * (dx[j] - dot) * scale
        dx[j] = zero if prob == zero else slope
        x[j] = prob


@jit
def fill_outside(x, i, first, end, lo, hi, value):
    """x[i, first:end] = value, except within lo:hi."""
    fill(x, i, first, min(lo, end), value)
    fill(x, i, max(first, hi), end, value)


@jit
def add_weighted(weights, i, k, values, kv, c, ic, rows, depth, finite):
    """c[ic : ic + rows] += weights[i : i + rows, k : k + depth] @ values[kv : kv + depth].

    A zero weight silences values that are not ``finite``.
    """
    if finite:
        for d in range(0, c.shape[1], width_of(c)):
            wide = min(width_of(c), c.shape[1] - d)
            multiply_tile(weights, i, k, values, kv, d, c, ic, d, rows, wide, depth, True)
    else:
        for r in range(rows):
            for j in range(depth):
                if weights[i + r, k + j] != 0:
                    for d in range(c.shape[1]):
                        c[ic + r, d] += weights[i + r, k + j] * values[kv + j, d]


@jit
def drop(x, row, lo, hi, p, key, start):
    """Dropout on x[row, lo:hi], whose first column has the index ``start`` in (B, H, T, S)."""
    scale = x.dtype.type(1 / (1 - p))
    for j in range(lo, hi):
        kept = uniform_jit(key, np.uint64(start + j)) >= p
        x[row, j] = x[row, j] * scale if kept else x.dtype.type(0)
