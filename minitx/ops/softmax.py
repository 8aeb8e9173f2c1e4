"""Softmax and its logarithm, over any one axis."""

from __future__ import annotations

import numpy as np

from .. import kernels
from ..tensor import op
from .checks import check_floating


@op
def softmax(x, axis=-1):
    """exp(x) / sum(exp(x)) along ``axis``; a row of -inf alone gives zeros."""
    check_floating("softmax", x)
    y = kernels.softmax(np.moveaxis(x, axis, -1))

    def vjp(dy):
        return (np.moveaxis(kernels.softmax_vjp(np.moveaxis(dy, axis, -1), y), -1, axis),)

    return np.moveaxis(y, -1, axis), vjp


@op
def log_softmax(x, axis=-1):
    """x - log(sum(exp(x))) along ``axis``."""
    check_floating("log_softmax", x)
    y = np.moveaxis(kernels.log_softmax(np.moveaxis(x, axis, -1)), -1, axis)
    return y, lambda dy: (dy - np.exp(y) * dy.sum(axis=axis, keepdims=True),)
