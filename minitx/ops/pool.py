"""Pooling: each window of an image becomes one pixel."""

from __future__ import annotations

import numpy as np

from .. import kernels
from ..tensor import op
from .checks import check_image, check_windows


def _geometry(name, x, kernel, stride, padding):
    """Kernel, stride, padding, of which each window has a pixel of the image."""
    check_image(name, x)
    stride = kernel if stride is None else stride
    kernel, stride, padding, _ = check_windows(name, x.shape, kernel, stride, padding)
    if 2 * padding[0] > kernel[0] or 2 * padding[1] > kernel[1]:
        raise ValueError(f"{name}: padding is {padding}; expected at most half the kernel {kernel}")
    return kernel, stride, padding


def _winners(x, kernel, stride=None, padding=0):
    return kernels.max_pool(x, *_geometry("max_pool2d", x, kernel, stride, padding))[1]


@op(branch=_winners)
def max_pool2d(x, kernel, stride=None, padding=0):
    """The largest of each window; the first of equal ones.  (B, C, H, W) -> (B, C, rows, columns)

    stride: the kernel, unless given.  Padding is never the largest.
    """
    geometry = _geometry("max_pool2d", x, kernel, stride, padding)
    (y, taps), size = kernels.max_pool(x, *geometry), x.shape[2:]
    return y, lambda dy: (kernels.max_pool_vjp(dy, taps, size, *geometry),)


@op
def avg_pool2d(x, kernel, stride=None, padding=0, count_pads=True):
    """The mean of each window.  (B, C, H, W) -> (B, C, rows, columns)

    stride: the kernel, unless given.  count_pads: whether the padding's zeros count as pixels, or
    the sum is divided by the number of true ones.
    """
    geometry = _geometry("avg_pool2d", x, kernel, stride, padding)
    count, size = x.dtype.type(geometry[0][0] * geometry[0][1]), x.shape[2:]
    if not count_pads:
        ones = np.ones((1, 1, *size), x.dtype)
        count = kernels.window_sums(ones, *geometry)
    y = kernels.window_sums(x, *geometry) / count
    return y, lambda dy: (kernels.window_sums_vjp(dy / count, size, *geometry),)
