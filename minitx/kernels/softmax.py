"""Softmax, log-softmax, and cross-entropy on logits; every row is shifted by its maximum first.

A row of scores that are all -inf has nothing to choose from: its probabilities are zero.
Sums over a row are float64 in the twins and NumPy's pairwise ones in the references.
"""

from __future__ import annotations

import numpy as np

from ..jit import jit, kernel, prange
from .scalar import exp


def _shift(x):
    top = x.max(axis=-1, keepdims=True, initial=-np.inf)
    return x - np.where(np.isneginf(top), x.dtype.type(0), top)


def softmax_ref(x):
    """exp(x) / sum(exp(x)) over the last axis.  (..., C) -> (..., C)"""
    e = np.exp(_shift(x))
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, x.dtype.type(1), total)


@jit(parallel=True)
def softmax_jit(x):
    N, C = x.shape
    y = np.empty_like(x)
    zero, lowest = x.dtype.type(0), x.dtype.type(-np.inf)
    for n in prange(N):
        top = lowest
        for c in range(C):
            top = max(top, x[n, c])
        if top == lowest:
            top = zero
        total = 0.0
        for c in range(C):
            y[n, c] = exp(x[n, c] - top)
            total += np.float64(y[n, c])
        scale = x.dtype.type(1 / (1.0 if total == 0 else total))
        for c in range(C):
            y[n, c] *= scale
    return y


def softmax_vjp_ref(dy, y):
    """dx = y * (dy - <dy, y>).  dy, y: (..., C) -> (..., C)"""
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


@jit(parallel=True)
def softmax_vjp_jit(dy, y):
    dx = np.empty_like(y)
    for n in prange(y.shape[0]):
        along = 0.0
        for c in range(y.shape[1]):
            along += np.float64(dy[n, c] * y[n, c])
        for c in range(y.shape[1]):
            dx[n, c] = y[n, c] * (dy[n, c] - y.dtype.type(along))
    return dx


def log_softmax(x):
    """x - log(sum(exp(x))) over the last axis, in NumPy alone.  (..., C) -> (..., C)"""
    x = _shift(x)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def cross_entropy_ref(logits, targets, ignore_index, smoothing):
    """The loss of every row: (1 - s) * -log p[target] + s * mean of all -log p;  0 where ignored.

    logits: (N, V), V > 0, targets: (N,) integers
    -> losses (N,), lse (N,), the log of each row's sum of exponentials.
    Raises IndexError as NumPy's indexing does.
    """
    kept = targets != ignore_index
    top = logits.max(axis=-1)
    lse = np.log(np.exp(logits - top[:, None]).sum(axis=-1)) + top
    picked = logits[np.arange(len(logits)), np.where(kept, targets, 0)]
    losses = lse - (1 - smoothing) * picked
    if smoothing:
        losses -= smoothing * logits.mean(axis=-1)
    return np.where(kept, losses, logits.dtype.type(0)), lse


@jit
def _check(targets, V, ignore_index):
    for target in targets:  # machine code would read and write elsewhere
        if target != ignore_index and not -V <= target < V:
            raise IndexError("cross_entropy: a target is outside the classes")


@jit(parallel=True)
def cross_entropy_jit(logits, targets, ignore_index, smoothing):
    N, V = logits.shape
    losses, lse = np.empty(N, logits.dtype), np.empty(N, logits.dtype)
    zero, s = logits.dtype.type(0), logits.dtype.type(smoothing)
    one = logits.dtype.type(1)
    _check(targets, V, ignore_index)
    for n in prange(N):
        top = logits[n, 0]
        for v in range(1, V):
            top = max(top, logits[n, v])
        sum_exp, sum_logits = 0.0, 0.0
        for v in range(V):
            sum_exp += np.float64(exp(logits[n, v] - top))
        lse[n] = logits.dtype.type(np.log(sum_exp)) + top
        losses[n] = zero
        if targets[n] != ignore_index:
            losses[n] = lse[n] - (one - s) * logits[n, targets[n]]
            if s != zero:
                for v in range(V):
                    sum_logits += np.float64(logits[n, v])
                losses[n] -= s * logits.dtype.type(sum_logits / V)
    return losses, lse


def cross_entropy_vjp_ref(dlosses, logits, targets, lse, ignore_index, smoothing):
    """dlogits = dloss * (p - (1 - s) * onehot(target) - s / V).  dlosses: (N,) -> (N, V)"""
    kept = targets != ignore_index
    dlogits = np.exp(logits - lse[:, None]) - logits.dtype.type(smoothing / logits.shape[1])
    rows = np.flatnonzero(kept)
    dlogits[rows, targets[rows]] -= logits.dtype.type(1 - smoothing)
    return np.where(kept[:, None], dlogits * dlosses[:, None], logits.dtype.type(0))


@jit(parallel=True)
def cross_entropy_vjp_jit(dlosses, logits, targets, lse, ignore_index, smoothing):
    N, V = logits.shape
    dlogits = np.empty_like(logits)
    share, hit = logits.dtype.type(smoothing / V), logits.dtype.type(1 - smoothing)
    _check(targets, V, ignore_index)
    for n in prange(N):
        if targets[n] == ignore_index:
            dlogits[n] = logits.dtype.type(0)
        else:
            for v in range(V):
                dlogits[n, v] = (exp(logits[n, v] - lse[n]) - share) * dlosses[n]
            target = targets[n]
            dlogits[n, target] = (exp(logits[n, target] - lse[n]) - share - hit) * dlosses[n]
    return dlogits


softmax = kernel(softmax_ref, softmax_jit, rows="x")
softmax_vjp = kernel(softmax_vjp_ref, softmax_vjp_jit, rows="dy y")
cross_entropy = kernel(cross_entropy_ref, cross_entropy_jit)
cross_entropy_vjp = kernel(cross_entropy_vjp_ref, cross_entropy_vjp_jit)
