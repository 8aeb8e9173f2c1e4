"""Convolution of images."""

from __future__ import annotations

import numpy as np

from .. import kernels
from ..tensor import op
from .checks import check_floating, check_image, check_windows, pair


@op
def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Each window of x times each of O kernels.  x: (B, C, H, W) -> (B, O, rows, columns)

    weight: (O, C / groups, kh, kw), bias: (O,) or None.  Each group of output channels sees its own
    group of input channels.  stride, padding (of zeros), dilation: a number or (down, right).
    Raises ValueError on shapes that do not fit, or if no window fits the image.
    """
    check_image("conv2d", x)
    check_floating("conv2d", weight, bias)
    _check("conv2d", x, weight, 1, bias, 0, groups)
    _, *options = check_windows("conv2d", x.shape, weight.shape[2:], stride, padding, dilation)
    y = _add_bias(kernels.conv2d(x, weight, *options, groups), bias)

    def vjp(dy):
        kernel, size = weight.shape[2:], x.shape[2:]
        return (
            lambda: kernels.conv2d_dx(dy, weight, size, *options, groups),
            lambda: kernels.conv2d_dweight(dy, x, kernel, *options, groups),
            None if bias is None else lambda: _sum_pixels(dy),
        )

    return y, vjp


@op
def conv_transpose2d(
    x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    """The pullback of ``conv2d`` as a layer: each pixel of x paints a kernel, ``stride`` apart.

    x: (B, O, H, W), weight: (O, C / groups, kh, kw), bias: (C,) or None -> (B, C, H', W') with
    H' = (H - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1.
    output_padding: rows and columns more below and to the right, less than the stride.
    Raises ValueError on shapes that do not fit.
    """
    name = "conv_transpose2d"
    check_image(name, x)
    check_floating(name, weight, bias)
    _check(name, x, weight, 0, bias, 1, groups)
    kernel, more = weight.shape[2:], pair(name, "output_padding", output_padding, least=0)
    options = pair(name, "stride", stride), pair(name, "padding", padding, least=0)
    options += (pair(name, "dilation", dilation),)
    sides = zip(x.shape[2:], kernel, *options, more, strict=True)
    size = tuple((n - 1) * s - 2 * p + d * (k - 1) + o + 1 for n, k, s, p, d, o in sides)
    if not (more[0] < options[0][0] and more[1] < options[0][1]):
        raise ValueError(
            f"{name}: output_padding is {more}; expected less than stride {options[0]}"
        )
    if min(size) < 1 or 0 in x.shape[2:]:
        raise ValueError(f"{name}: x {x.shape} with padding {options[1]} gives an image {size}")
    y = _add_bias(kernels.conv2d_dx(x, weight, size, *options, groups), bias)

    def vjp(dy):
        return (
            lambda: kernels.conv2d(dy, weight, *options, groups),
            lambda: kernels.conv2d_dweight(x, dy, kernel, *options, groups),
            None if bias is None else lambda: _sum_pixels(dy),
        )

    return y, vjp


def _check(name, x, weight, x_axis, bias, bias_axis, groups):
    """``*_axis``: of the weight, along which channels of x, and the bias, lie."""
    if not isinstance(groups, int | np.integer) or groups < 1:
        raise ValueError(f"{name}: groups is {groups!r}; expected an integer of at least 1")
    if weight.ndim != 4 or 0 in weight.shape or weight.shape[0] % groups:
        what = f"(O, C / groups, kh, kw) with O a multiple of groups, {groups}"
        raise ValueError(f"{name}: weight has shape {weight.shape}; expected {what}")
    channels = weight.shape[0], weight.shape[1] * groups
    if x.shape[1] != channels[x_axis]:
        told = f"weight {weight.shape} with {groups} groups expects {channels[x_axis]}"
        raise ValueError(f"{name}: x {x.shape} has {x.shape[1]} channels; {told}")
    if bias is not None and bias.shape != (channels[bias_axis],):
        raise ValueError(f"{name}: bias {bias.shape} does not fit weight {weight.shape}")


def _add_bias(y, bias):
    if bias is not None:
        y += bias[:, None, None]
    return y


def _sum_pixels(dy):
    return dy.sum(axis=(0, 2, 3), dtype=np.float64).astype(dy.dtype)
