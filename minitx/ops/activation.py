"""Activations, elementwise."""

from __future__ import annotations

import numpy as np

from .. import kernels
from ..observer import disposable
from ..tensor import op
from .checks import check_floating


def activation_index(name: str, activation: str) -> int:
    """The kernels' number of an activation.  Raises ValueError, in the name of op ``name``."""
    if activation not in kernels.ACTIVATIONS:
        known = ", ".join(kernels.ACTIVATIONS)
        raise ValueError(f"{name}: unknown activation {activation!r}; expected one of {known}")
    return kernels.ACTIVATIONS.index(activation)


def _activate(name, activation, x):
    check_floating(name, x)
    y, slope = kernels.activate(x, kernels.ACTIVATIONS.index(activation))
    return y, lambda dy: (kernels.activate_vjp(dy, disposable(slope))[0],)


@op(branch=lambda x: x > 0)
def relu(x):
    """max(x, 0), with gradient 0 at 0 (Nair and Hinton 2010)."""
    return _activate("relu", "relu", x)


@op
def tanh(x):
    y = np.tanh(x)
    return y, lambda dy: (dy * (1 - y * y),)


@op
def sigmoid(x):
    e = np.exp(-np.abs(x))  # never overflows
    y = np.where(x >= 0, x.dtype.type(1), e) / (1 + e)
    return y, lambda dy: (dy * y * (1 - y),)


@op
def silu(x):
    """x * sigmoid(x) (Hendrycks and Gimpel 2016; "swish", Ramachandran et al. 2017)."""
    return _activate("silu", "silu", x)


@op
def gelu(x, approximate="none"):
    """x * Phi(x) (Hendrycks and Gimpel 2016).

    approximate: "none", Phi through erf, or "tanh", as GPT has it.  Raises ValueError on any other.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate is {approximate!r}; expected 'none' or 'tanh'")
    return _activate("gelu", "gelu_tanh" if approximate == "tanh" else "gelu", x)
