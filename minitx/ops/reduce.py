"""Reductions over ``axis`` (None, a number or a tuple), with ``keepdims``: sum, mean, var, max.

Sums of float32 are accumulated in float64: NumPy adds pairwise along the last axis only.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ..tensor import op


def _accurate(reduction, x, axis, keepdims, **options):
    wide = np.float64 if x.dtype.kind == "f" else None
    y = reduction(x, axis=axis, keepdims=keepdims, dtype=wide, **options)
    return y.astype(x.dtype) if wide else y


def _axes(axis, ndim):
    return tuple(range(ndim)) if axis is None else normalize_axis_tuple(axis, ndim)


def _count(x, axis):
    """How many elements go into each result."""
    return math.prod(x.shape[a] for a in _axes(axis, x.ndim))


def _stretch(y, axis, keepdims, shape):
    """A result of the reduction as a read-only view in the shape of what was reduced."""
    if not keepdims:
        y = np.expand_dims(y, _axes(axis, len(shape)))
    return np.broadcast_to(y, shape)


@op
def sum(x, axis=None, keepdims=False):  # noqa: A001
    """The sum of the elements."""
    y, shape = _accurate(np.sum, x, axis, keepdims), x.shape
    return y, lambda dy: (_stretch(dy, axis, keepdims, shape),)


@op
def mean(x, axis=None, keepdims=False):
    """The sum of the elements over their number."""
    y, shape = _accurate(np.mean, x, axis, keepdims), x.shape
    count = x.dtype.type(_count(x, axis))
    return y, lambda dy: (_stretch(dy / count, axis, keepdims, shape),)


@op
def var(x, axis=None, ddof=0, keepdims=False):
    """The mean squared distance from the mean, divided by the count less ``ddof``.

    ddof: 0 for the biased estimate, 1 for the unbiased.  Raises ValueError unless ddof < count.
    """
    degrees = _count(x, axis) - ddof
    if degrees <= 0:
        raise ValueError(f"var: ddof is {ddof}, but only {degrees + ddof} values are averaged")
    y = _accurate(np.var, x, axis, keepdims, ddof=ddof)

    def vjp(dy):
        centred = x - _accurate(np.mean, x, axis, True)
        return (_stretch(dy, axis, keepdims, x.shape) * centred * x.dtype.type(2 / degrees),)

    return y, vjp


def _largest(x, axis=None, keepdims=False):
    return x == x.max(axis=axis, keepdims=True)


@op(branch=_largest)
def max(x, axis=None, keepdims=False):  # noqa: A001
    """The largest element; equal ones share the gradient."""

    def vjp(dy):
        hit = _largest(x, axis)
        share = hit / hit.sum(axis=axis, keepdims=True, dtype=x.dtype)
        return (_stretch(dy, axis, keepdims, x.shape) * share,)

    return x.max(axis=axis, keepdims=keepdims), vjp
