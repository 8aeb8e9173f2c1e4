"""Softmax, log-softmax, and cross-entropy on logits; every row is shifted by its maximum first.

A row of scores that are all -inf has nothing to choose from: its probabilities are zero.
Sums over a row are float64 in the twins and NumPy's pairwise ones in the references.
"""

from __future__ import annotations

import numpy as np

from ..jit import jit, kernel
from ..simd import row_max, wide_vectors
from ..tasks import run_tasks
from .scalar import exp
from .sums import chunk, chunks_of


def _shift(x):
    top = x.max(axis=-1, keepdims=True, initial=-np.inf)
    return x - np.where(np.isneginf(top), x.dtype.type(0), top)


def softmax_ref(x):
    """exp(x) / sum(exp(x)) over the last axis.  (..., C) -> (..., C)"""
    e = np.exp(_shift(x))
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, x.dtype.type(1), total)


@jit
def _softmax(task, x, y):
    wide_vectors()
    first, end = chunk(task, x.shape[0])
    for n in range(first, end):
        top, total = row_max(x[n]), 0.0
        if top == x.dtype.type(-np.inf):
            top = x.dtype.type(0)
        for c in range(x.shape[1]):
            y[n, c] = exp(x[n, c] - top)
            total += np.float64(y[n, c])
        scale = x.dtype.type(1 / (1.0 if total == 0 else total))
        for c in range(x.shape[1]):
            y[n, c] *= scale


@jit
def softmax_jit(x):
    y = np.empty_like(x)
    run_tasks(_softmax, chunks_of(x.shape[0]), (x, y))
    return y


def softmax_vjp_ref(dy, y):
    """dx = y * (dy - <dy, y>).  dy, y: (..., C) -> (..., C)"""
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


@jit
def _softmax_vjp(task, dy, y, dx):
    wide_vectors()
    first, end = chunk(task, y.shape[0])
    for n in range(first, end):
        along = 0.0
        for c in range(y.shape[1]):
            along += np.float64(dy[n, c] * y[n, c])
        for c in range(y.shape[1]):
            dx[n, c] = y[n, c] * (dy[n, c] - y.dtype.type(along))


@jit
def softmax_vjp_jit(dy, y):
    dx = np.empty_like(y)
    run_tasks(_softmax_vjp, chunks_of(y.shape[0]), (dy, y, dx))
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


@jit
def _cross_entropy(task, logits, targets, ignore_index, smoothing, losses, lse):
    wide_vectors()
    N, V = logits.shape
    real = logits.dtype.type
    zero, one, s = real(0), real(1), real(smoothing)
    first, end = chunk(task, N)
    for n in range(first, end):
        top, sum_exp, sum_logits = row_max(logits[n]), 0.0, 0.0
        for v in range(V):
            sum_exp += np.float64(exp(logits[n, v] - top))
        lse[n] = real(np.log(sum_exp)) + top
        losses[n] = zero
        if targets[n] != ignore_index:
            losses[n] = lse[n] - (one - s) * logits[n, targets[n]]
            if s != zero:
                for v in range(V):
                    sum_logits += np.float64(logits[n, v])
                losses[n] -= s * real(sum_logits / V)


@jit
def cross_entropy_jit(logits, targets, ignore_index, smoothing):
    N, V = logits.shape
    losses, lse = np.empty(N, logits.dtype), np.empty(N, logits.dtype)
    _check(targets, V, ignore_index)
    arguments = (logits, targets, ignore_index, smoothing, losses, lse)
    run_tasks(_cross_entropy, chunks_of(N), arguments)
    return losses, lse


def cross_entropy_vjp_ref(dlosses, logits, targets, lse, ignore_index, smoothing):
    """dlogits = dloss * (p - (1 - s) * onehot(target) - s / V).  dlosses: (N,) -> (N, V)"""
    kept = targets != ignore_index
    dlogits = np.exp(logits - lse[:, None]) - logits.dtype.type(smoothing / logits.shape[1])
    rows = np.flatnonzero(kept)
    dlogits[rows, targets[rows]] -= logits.dtype.type(1 - smoothing)
    return np.where(kept[:, None], dlogits * dlosses[:, None], logits.dtype.type(0))


@jit
def _cross_entropy_vjp(task, dlosses, logits, targets, lse, ignore_index, smoothing, dlogits):
    wide_vectors()
    N, V = logits.shape
    real = logits.dtype.type
    share, hit = real(smoothing / V), real(1 - smoothing)
    first, end = chunk(task, N)
    for n in range(first, end):
        target = targets[n]
        if target == ignore_index:
            for v in range(V):
                dlogits[n, v] = real(0)
        else:
            for v in range(V):
                dlogits[n, v] = (exp(logits[n, v] - lse[n]) - share) * dlosses[n]
            dlogits[n, target] = (exp(logits[n, target] - lse[n]) - share - hit) * dlosses[n]


@jit
def cross_entropy_vjp_jit(dlosses, logits, targets, lse, ignore_index, smoothing):
    N, V = logits.shape
    dlogits = np.empty_like(logits)
    _check(targets, V, ignore_index)
    arguments = (dlosses, logits, targets, lse, ignore_index, smoothing, dlogits)
    run_tasks(_cross_entropy_vjp, chunks_of(N), arguments)
    return dlogits


softmax = kernel(softmax_ref, softmax_jit, rows="x")
softmax_vjp = kernel(softmax_vjp_ref, softmax_vjp_jit, rows="dy y")
cross_entropy = kernel(cross_entropy_ref, cross_entropy_jit)
cross_entropy_vjp = kernel(cross_entropy_vjp_ref, cross_entropy_vjp_jit)
