"""Elementwise arithmetic, with NumPy's names and broadcasting.

A pullback may ignore broadcasting: the engine sums a gradient back to its input's shape.
"""

from __future__ import annotations

import numpy as np

from .. import kernels
from ..tensor import op


@op
def add(a, b):
    return kernels.add(a, b), lambda dy: (dy, dy)


@op
def subtract(a, b):
    return a - b, lambda dy: (dy, lambda: -dy)


@op
def multiply(a, b):
    return a * b, lambda dy: (lambda: dy * b, lambda: dy * a)


@op
def divide(a, b):
    y = a / b
    return y, lambda dy: (lambda: dy / b, lambda: -dy * y / b)


@op
def power(a, b):
    """a ** b.  The gradient of b exists where a > 0, and is taken as 0 where a == 0."""
    y = a**b

    def vjp(dy):
        def db():
            safe = np.where(a == 0, np.ones_like(y), a)
            return dy * y * np.log(safe)

        def da():
            zero = np.equal(b, 0)  # a ** 0 is 1, even at a = 0
            less = np.where(zero, b + 1, b - 1) if np.ndim(b) else b + 1 if zero else b - 1
            return dy * b * a**less

        return da, db

    return y, vjp


@op
def negative(x):
    return -x, lambda dy: (-dy,)


@op(branch=lambda x: x > 0)
def absolute(x):
    return np.abs(x), lambda dy: (dy * np.sign(x),)


@op
def exp(x):
    y = np.exp(x)
    return y, lambda dy: (dy * y,)


@op
def log(x):
    return np.log(x), lambda dy: (dy / x,)


@op
def sqrt(x):
    y = np.sqrt(x)
    return y, lambda dy: (dy * 0.5 / y,)


@op
def sin(x):
    return np.sin(x), lambda dy: (dy * np.cos(x),)


@op
def cos(x):
    return np.cos(x), lambda dy: (-dy * np.sin(x),)


def _halves(chosen, equal, dy):
    """The cotangent where an input was chosen, half of it where both are equal."""
    return dy * np.where(equal, dy.dtype.type(0.5), chosen.astype(dy.dtype))


@op(branch=lambda a, b: a > b)
def maximum(a, b):
    """The larger of two, elementwise; equal ones share the gradient."""

    def vjp(dy):
        equal = np.equal(a, b)
        return (
            lambda: _halves(np.greater(a, b), equal, dy),
            lambda: _halves(np.less(a, b), equal, dy),
        )

    return np.maximum(a, b), vjp


@op(branch=lambda a, b: a > b)
def minimum(a, b):
    """The smaller of two, elementwise; equal ones share the gradient."""

    def vjp(dy):
        equal = np.equal(a, b)
        return (
            lambda: _halves(np.less(a, b), equal, dy),
            lambda: _halves(np.greater(a, b), equal, dy),
        )

    return np.minimum(a, b), vjp


@op
def astype(x, dtype):
    """Convert to another floating dtype; the gradient is converted back."""
    dtype = np.dtype(dtype)
    if dtype.kind != "f":
        raise TypeError(f"astype: {dtype} has no gradient; use tensor.numpy().astype({dtype})")
    before = x.dtype
    return x.astype(dtype), lambda dy: (dy.astype(before),)
