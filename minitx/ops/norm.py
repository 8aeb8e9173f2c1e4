"""Normalisation."""

from __future__ import annotations

from .. import kernels
from ..tensor import op
from .checks import check_floating


@op
def layer_norm(x, weight, bias, eps=1e-5):
    """Normalise the last axis (Ba et al. 2016).  x: (..., C), weight and bias: (C,) -> (..., C)"""
    if not x.shape[-1:] == weight.shape == bias.shape:
        shapes = f"x {x.shape}, weight {weight.shape}, bias {bias.shape}"
        raise ValueError(f"layer_norm: {shapes}; expected (..., C), (C,), (C,)")
    check_floating("layer_norm", x, weight, bias)
    y, mean, rstd = kernels.layer_norm(x, weight, bias, eps)

    def vjp(dy):
        return kernels.layer_norm_vjp(dy, x, weight, mean, rstd)  # dx, dweight, dbias

    return y, vjp
