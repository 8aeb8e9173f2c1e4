"""Windows of images: im2col and col2im (Chellapilla et al. 2006), and the sizes that they imply.

Everywhere an image is (B, C, H, W), and kernel, stride, padding and dilation are (down, right).
Padding is of zeros on both sides.  A window's values are ordered channel, row, column.
"""

from __future__ import annotations

import numpy as np


def windows_along(size, kernel, stride, padding, dilation):
    """How many windows fit along one axis; 0 or less if none does."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def windows_of(shape, kernel, stride, padding, dilation):
    """How many windows fit an image of shape (..., H, W): (down, right)."""
    return tuple(map(windows_along, shape[-2:], kernel, stride, padding, dilation))


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


def unfold(x, kernel, stride, padding, dilation):
    """im2col.  (B, C, H, W) -> (B, L, C * kh * kw), windows in reading order.

    Where windows tile the image, this is a transposition; elsewhere a copy for every overlap.
    """
    view = window_view(padded(x, padding), kernel, stride, dilation)
    B, C, rows, columns, kh, kw = view.shape
    y = view.transpose(0, 2, 3, 1, 4, 5)  # B C R S kh kw -> B R S C kh kw
    return y.reshape(B, rows * columns, C * kh * kw)  # -> B (R S) (C kh kw)


def fold(y, size, kernel, stride, padding, dilation):
    """col2im, the transpose of ``unfold``: each pixel is the sum of all that was copied from it.

    y: (B, L, C * kh * kw), size: (H, W) -> (B, C, H, W).  Pixels outside all windows are 0.
    """
    (H, W), (kh, kw), (top, left) = size, kernel, padding
    B, C = y.shape[0], y.shape[2] // (kh * kw)
    rows, columns = windows_of(size, kernel, stride, padding, dilation)
    y = y.reshape(B, rows, columns, C, kh, kw)
    if kernel == stride and (top, left) == (0, 0) and dilation == (1, 1):
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
