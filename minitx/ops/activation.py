"""Activations, elementwise."""

from __future__ import annotations

import numpy as np

from .. import kernels
from ..tensor import op
from .checks import check_floating


@op(branch=lambda x: x > 0)
def relu(x):
    """max(x, 0), with gradient 0 at 0 (Nair and Hinton 2010)."""
    return np.maximum(x, 0), lambda dy: (dy * (x > 0),)


@op
def tanh(x):
    y = np.tanh(x)
    return y, lambda dy: (dy * (1 - y * y),)


def _sigmoid(x):
    e = np.exp(-np.abs(x))  # never overflows
    return np.where(x >= 0, x.dtype.type(1), e) / (1 + e)


@op
def sigmoid(x):
    y = _sigmoid(x)
    return y, lambda dy: (dy * y * (1 - y),)


@op
def silu(x):
    """x * sigmoid(x) (Hendrycks and Gimpel 2016; "swish", Ramachandran et al. 2017)."""
    s = _sigmoid(x)
    return x * s, lambda dy: (dy * s * (1 + x * (1 - s)),)


@op
def gelu(x, approximate="none"):
    """x * Phi(x) (Hendrycks and Gimpel 2016).

    approximate: "none", Phi through erf, or "tanh", as GPT has it.  Raises ValueError on any other.
    """
    check_floating("gelu", x)
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate is {approximate!r}; expected 'none' or 'tanh'")
    if approximate == "tanh":
        return kernels.gelu_tanh(x), lambda dy: (kernels.gelu_tanh_vjp(dy, x),)
    return kernels.gelu(x), lambda dy: (kernels.gelu_vjp(dy, x),)
