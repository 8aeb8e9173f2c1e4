"""Pooling: the largest of each window, or its sum."""

from __future__ import annotations

import numpy as np

from ..jit import jit, kernel
from ..tasks import run_tasks
from .patches import each_tap, padded, window_view, windows_of


def max_pool_ref(x, kernel, stride, padding):
    """(B, C, H, W) -> y (B, C, rows, columns), and which tap it was, i * kw + j, as int32.

    Of equal ones the first; a NaN is larger than all.  The padding never is the largest.
    """
    values = _values(padded(x, padding, -np.inf), kernel, stride)
    inside = _values(padded(np.ones((1, 1, *x.shape[2:])), padding), kernel, stride)
    y = values.max(axis=4)
    taps = np.where(y == -np.inf, inside.argmax(axis=4), values.argmax(axis=4))
    return y, taps.astype(np.int32)


def _values(x, kernel, stride):
    view = window_view(x, kernel, stride, (1, 1))
    return view.reshape(*view.shape[:4], kernel[0] * kernel[1])  # B C R S kh kw -> B C R S (kh kw)


@jit
def _max_pool(task, x, y, taps, kernel, stride, padding):
    x, y, taps = x[task], y[task], taps[task]
    H, W = x.shape
    for r in range(y.shape[0]):
        top = r * stride[0] - padding[0]
        for s in range(y.shape[1]):
            left = s * stride[1] - padding[1]
            best, which = x[max(0, top), max(0, left)], -1
            for i in range(max(0, -top), min(kernel[0], H - top)):
                for j in range(max(0, -left), min(kernel[1], W - left)):
                    value = x[top + i, left + j]
                    if which < 0 or ((value > best or value != value) and best == best):
                        best, which = value, i * kernel[1] + j
            y[r, s], taps[r, s] = best, which


@jit
def max_pool_jit(x, kernel, stride, padding):
    B, C, H, W = x.shape
    rows = (H + 2 * padding[0] - kernel[0]) // stride[0] + 1
    columns = (W + 2 * padding[1] - kernel[1]) // stride[1] + 1
    y = np.empty((B, C, rows, columns), x.dtype)
    taps = np.empty((B, C, rows, columns), np.int32)
    planes = x.reshape(B * C, H, W), y.reshape(B * C, rows, columns)
    more = taps.reshape(B * C, rows, columns), kernel, stride, padding
    run_tasks(_max_pool, B * C, (*planes, *more))
    return y, taps


def max_pool_vjp_ref(dy, taps, size, kernel, stride, padding):
    """Each dy goes to the pixel that it was.  size: (H, W) -> (B, C, H, W)"""
    (B, C, *windows), (H, W), (top, left) = dy.shape, size, padding
    dx = np.zeros((B, C, H + 2 * top, W + 2 * left), dy.dtype)
    for i, j, pixels in each_tap(dx, windows, kernel, stride):
        pixels += np.where(taps == i * kernel[1] + j, dy, dy.dtype.type(0))
    return dx[:, :, top : top + H, left : left + W]


@jit
def _max_pool_vjp(task, dy, taps, dx, kernel, stride, padding):
    dy, taps, dx = dy[task], taps[task], dx[task]
    for r in range(dy.shape[0]):
        for s in range(dy.shape[1]):
            y = r * stride[0] - padding[0] + taps[r, s] // kernel[1]
            x = s * stride[1] - padding[1] + taps[r, s] % kernel[1]
            dx[y, x] += dy[r, s]


@jit
def max_pool_vjp_jit(dy, taps, size, kernel, stride, padding):
    B, C, rows, columns = dy.shape
    dx = np.zeros((B, C, size[0], size[1]), dy.dtype)
    planes = dy.reshape(B * C, rows, columns), taps.reshape(B * C, rows, columns)
    more = dx.reshape(B * C, size[0], size[1]), kernel, stride, padding
    run_tasks(_max_pool_vjp, B * C, (*planes, *more))
    return dx


max_pool = kernel(max_pool_ref, max_pool_jit)
max_pool_vjp = kernel(max_pool_vjp_ref, max_pool_vjp_jit)


def window_sums(x, kernel, stride, padding):
    """(B, C, H, W) -> (B, C, rows, columns), the padding being of zeros."""
    windows = windows_of(x.shape, kernel, stride, padding, (1, 1))
    y = np.zeros((*x.shape[:2], *windows), x.dtype)
    for _, _, pixels in each_tap(padded(x, padding), windows, kernel, stride):
        y += pixels
    return y


def window_sums_vjp(dy, size, kernel, stride, padding):
    """Each pixel gets dy from all windows around it.  size: (H, W) -> (B, C, H, W)"""
    (B, C, *windows), (H, W), (top, left) = dy.shape, size, padding
    dx = np.zeros((B, C, H + 2 * top, W + 2 * left), dy.dtype)
    for _, _, pixels in each_tap(dx, windows, kernel, stride):
        pixels += dy
    return dx[:, :, top : top + H, left : left + W]
