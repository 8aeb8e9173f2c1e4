"""Windows of images: im2col and col2im (Chellapilla et al. 2006), and the sizes that they imply.

Everywhere an image is (B, C, H, W), and kernel, stride, padding and dilation are (down, right).
Padding is of zeros on both sides.  A window's values are ordered channel, row, column.
"""

from __future__ import annotations

import math

import numpy as np

from ..jit import COMPILED, compiled, jit, kernel
from ..simd import row
from ..tasks import run_tasks, shares


def windows_along(size, kernel, stride, padding, dilation):
    """How many windows fit along one axis; 0 or less if none does."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def windows_of(shape, kernel, stride, padding, dilation):
    """How many windows fit an image of shape (..., H, W): (down, right)."""
    return tuple(map(windows_along, shape[-2:], kernel, stride, padding, dilation))


def tiles(kernel, stride, padding, dilation):
    """Whether windows neither overlap nor leave gaps."""
    return kernel == stride and padding == (0, 0) and dilation == (1, 1)


def padded(x, padding, value=0):
    """x inside a border of one value; x itself if the border has no width."""
    (top, left), (H, W) = padding, x.shape[2:]
    if not top and not left:
        return x
    shape = (*x.shape[:2], H + 2 * top, W + 2 * left)
    out = np.full(shape, value, x.dtype) if value else np.zeros(shape, x.dtype)
    out[:, :, top : top + H, left : left + W] = x
    return out


def window_view(x, kernel, stride, dilation):
    """All windows of a padded x, without a copy: (B, C, rows, columns, kh, kw), not to write to."""
    B, C, down, right = x.strides
    rows, columns = windows_of(x.shape, kernel, stride, (0, 0), dilation)
    return np.lib.stride_tricks.as_strided(
        x,
        (*x.shape[:2], rows, columns, *kernel),
        (B, C, down * stride[0], right * stride[1], down * dilation[0], right * dilation[1]),
        writeable=False,
    )


def each_tap(x, windows, kernel, stride, dilation=(1, 1)):
    """(i, j, that pixel of all windows), views of a padded x: (B, C, rows, columns)"""
    for i, j in np.ndindex(*kernel):
        down, right = (
            slice(k * d, k * d + s * n, s)
            for k, d, s, n in zip((i, j), dilation, stride, windows, strict=True)
        )
        yield i, j, x[:, :, down, right]


def unfold_ref(x, kernel, stride, padding, dilation):
    """im2col.  (B, C, H, W) -> (B, L, C * kh * kw), windows in reading order.

    Where windows tile the image, this is a transposition; elsewhere a copy for every overlap.
    """
    view = window_view(padded(x, padding), kernel, stride, dilation)
    B, C, rows, columns, kh, kw = view.shape
    y = view.transpose(0, 2, 3, 1, 4, 5)  # B C R S kh kw -> B R S C kh kw
    return y.reshape(B, rows * columns, C * kh * kw)  # -> B (R S) (C kh kw)


def fold_ref(y, size, kernel, stride, padding, dilation):
    """col2im, the transpose of ``unfold``: each pixel is the sum of all that was copied from it.

    y: (B, L, C * kh * kw), size: (H, W) -> (B, C, H, W).  Pixels outside all windows are 0.
    """
    (H, W), (kh, kw), (top, left) = size, kernel, padding
    B, C = y.shape[0], y.shape[2] // (kh * kw)
    rows, columns = windows_of(size, kernel, stride, padding, dilation)
    y = y.reshape(B, rows, columns, C, kh, kw)
    if tiles(kernel, stride, padding, dilation):
        whole = y.transpose(0, 3, 1, 4, 2, 5)  # B R S C kh kw -> B C R kh S kw
        whole = whole.reshape(B, C, rows * kh, columns * kw)  # -> B C (R kh) (S kw)
        if whole.shape[2:] == (H, W):
            return whole
        x = np.zeros((B, C, H, W), y.dtype)
        x[:, :, : rows * kh, : columns * kw] = whole
        return x
    x = np.zeros((B, C, H + 2 * top, W + 2 * left), y.dtype)
    y = np.ascontiguousarray(y.transpose(4, 5, 0, 3, 1, 2))  # B R S C kh kw -> kh kw B C R S
    for i, j, pixels in each_tap(x, (rows, columns), kernel, stride, dilation):
        pixels += y[i, j]
    return x[:, :, top : top + H, left : left + W]


# ---- the twins -----------------------------------------------------------------------------------


@jit(borrows=True)
def _copy_windows(task, x, y, windows, kernel, stride, padding, dilation):
    """One row of windows of an image, each to a row of y (B * L, C * kh * kw)."""
    (C, H, W), (kh, kw), zero, index = x.shape[1:], kernel, x.dtype.type(0), np.uintp
    image, top = x[task // windows[0]], task % windows[0] * stride[0] - padding[0]
    for s in range(windows[1]):
        left, k = s * stride[1] - padding[1], index(0)
        inside = _inside(top, left, kernel, dilation, H, W)
        values = row(y, task * windows[1] + s, 0, y.shape[1])
        for c in range(C):
            for i in range(kh):
                for j in range(kw):
                    h, w = top + i * dilation[0], left + j * dilation[1]
                    if inside or 0 <= h < H and 0 <= w < W:
                        values[k] = image[index(c), index(h), index(w)]
                    else:
                        values[k] = zero
                    k += index(1)


@jit(borrows=True)
def _add_windows(task, y, x, windows, kernel, stride, padding, dilation, parts):
    """Some channels of an image x, from its windows, rows of y (B * L, C * kh * kw)."""
    (C, H, W), (kh, kw), index = x.shape[1:], kernel, np.uintp
    b, first, end = task // parts, task % parts * C // parts, (task % parts + 1) * C // parts
    image = x[b]
    image[first:end] = x.dtype.type(0)
    for r in range(windows[0]):
        top = r * stride[0] - padding[0]
        for s in range(windows[1]):
            left, k = s * stride[1] - padding[1], index(0)
            inside = _inside(top, left, kernel, dilation, H, W)
            at = (b * windows[0] + r) * windows[1] + s
            values = row(y, at, first * kh * kw, end * kh * kw)
            for c in range(first, end):
                for i in range(kh):
                    for j in range(kw):
                        h, w = top + i * dilation[0], left + j * dilation[1]
                        if inside or 0 <= h < H and 0 <= w < W:
                            image[index(c), index(h), index(w)] += values[k]
                        k += index(1)


@jit
def _inside(top, left, kernel, dilation, H, W):
    """Whether no pixel of a window is padding."""
    bottom, right = top + (kernel[0] - 1) * dilation[0], left + (kernel[1] - 1) * dilation[1]
    return top >= 0 and left >= 0 and bottom < H and right < W


@jit(strided="x")
def _unfold(x, y, windows, kernel, stride, padding, dilation):
    arguments = x, y, windows, kernel, stride, padding, dilation
    run_tasks(_copy_windows, x.shape[0] * windows[0], arguments)


@jit
def _fold(y, x, windows, kernel, stride, padding, dilation, parts):
    arguments = y, x, windows, kernel, stride, padding, dilation, parts
    run_tasks(_add_windows, x.shape[0] * parts, arguments)


_unfold, _fold = compiled(_unfold), compiled(_fold)


def unfold_jit(x, kernel, stride, padding, dilation):
    (B, C), windows = x.shape[:2], windows_of(x.shape, kernel, stride, padding, dilation)
    if not COMPILED or x.dtype.char not in "fd" or min(windows) < 1:
        return unfold_ref(x, kernel, stride, padding, dilation)
    L, K = math.prod(windows), C * math.prod(kernel)
    y = np.empty((B * L, K), x.dtype.newbyteorder("="))
    _unfold(x, y, windows, kernel, stride, padding, dilation)
    return y.reshape(B, L, K)


def fold_jit(y, size, kernel, stride, padding, dilation):
    (B, L, K), windows = y.shape, windows_of(size, kernel, stride, padding, dilation)
    if not COMPILED or y.dtype.char not in "fd" or min(windows) < 1 or L != math.prod(windows):
        return fold_ref(y, size, kernel, stride, padding, dilation)
    x = np.empty((B, K // math.prod(kernel), *size), y.dtype.newbyteorder("="))
    parts = shares(B, x.shape[1])
    _fold(y.reshape(B * L, K), x, windows, kernel, stride, padding, dilation, parts)
    return x


unfold = kernel(unfold_ref, unfold_jit)
fold = kernel(fold_ref, fold_jit)
