"""Normalisation."""

from __future__ import annotations

import numpy as np

from .. import kernels
from ..tensor import op
from .checks import check_floating, check_image


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


def _rectified(x, weight, bias, residual, activation, eps, statistics):
    """Where the ReLU is on."""
    parts = x, weight, bias, residual, "identity", eps, statistics
    return activation == "relu" and batch_norm(*parts).data > 0


@op(branch=_rectified)
def batch_norm(
    x,
    weight,
    bias,
    residual=None,
    activation="identity",
    eps=1e-5,
    statistics=None,
    *,
    moments=None,
):
    """activation(normalised x * weight + bias + residual), channel by channel, in one pass.

    Ioffe and Szegedy 2015.  x: (B, C, H, W), weight and bias: (C,), residual: like x, or None.
    activation: "identity" or "relu".  statistics: a pair (mean, variance) of (C,) to normalise
    with; the batch's own unless given.  moments: an array (2, C) that receives the batch's mean and
    unbiased variance.  Raises ValueError on shapes that do not fit, and on a batch of which the
    variance is unknown.
    """
    check_image("batch_norm", x)
    check_floating("batch_norm", weight, bias, residual)
    C = x.shape[1]
    if not weight.shape == bias.shape == (C,):
        shapes = f"x {x.shape}, weight {weight.shape}, bias {bias.shape}"
        raise ValueError(f"batch_norm: {shapes}; expected (B, C, H, W), (C,), (C,)")
    if residual is not None and residual.shape != x.shape:
        raise ValueError(f"batch_norm: residual {residual.shape} for x {x.shape}")
    if activation not in ("identity", "relu"):
        raise ValueError(f"batch_norm: activation is {activation!r}; expected 'identity' or 'relu'")
    rectify, frozen = activation == "relu", statistics is not None
    count = x.size // C if C else 0
    if frozen:
        mean, var = (np.asarray(z, x.dtype) for z in statistics)
        if not mean.shape == var.shape == (C,):
            raise ValueError(f"batch_norm: statistics {mean.shape}, {var.shape}; expected ({C},)")
    elif count < 2:
        raise ValueError(
            f"batch_norm: x {x.shape} has {count} values a channel; expected 2 or more"
        )
    else:
        mean, var = kernels.channel_moments(x)
    if moments is not None:
        moments[:] = mean, var * (count / (count - 1))
    rstd = (1 / np.sqrt(var + x.dtype.type(eps))).astype(x.dtype)
    y = kernels.batch_norm(x, mean, rstd, weight, bias, residual, rectify)
    told = y if rectify else x  # nothing is kept for long without need

    def vjp(dy):
        return kernels.batch_norm_vjp(dy, x, told, mean, rstd, weight, rectify, frozen)

    return y, vjp
