"""Convolution of images, (B, C, H, W), and its two gradients.

What is called so is a correlation: the kernel is not turned over.  The references unfold the image
and multiply; the twins do so block by block (conv_blocks.py).  The gradient of the image is
a convolution itself: pixels that lie ``stride`` apart see the same taps, so there is one for each
of stride x stride phases.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from ..jit import COMPILED, kernel
from ..simd import ROWS
from .conv_blocks import convolve, correlate
from .linalg import matmul, matmul_ref
from .patches import fold, fold_ref, padded, tiles, unfold, unfold_ref, window_view, windows_of

_COLUMNS = 256  # windows in a block, at most, unless one row has more
_RESULTS = 1 << 17  # numbers in a block of the result, at most
_DEPTH = 384  # numbers of a patch that are multiplied at a time
_TASKS = 8  # to share out: smaller ones would do more of their neighbours' packing again
_PATCH_ROWS = 192  # rows of patches in a task of the weight's gradient, at most


def conv2d_ref(x, weight, stride, padding, dilation, groups):
    """x: (B, G * C, H, W), weight: (G * O, C, kh, kw) -> (B, G * O, rows, columns)"""
    geometry = weight.shape[2:], stride, padding, dilation
    y = _times_patches(matmul_ref, weight, unfold_ref(x, *geometry), groups)
    return y.reshape(len(x), len(weight), *windows_of(x.shape, *geometry))


def _times_patches(product, weight, patches, groups):
    """(G * O, C, kh, kw) and (B, L, G * C * kh * kw) -> (B, G, O, L)"""
    B, L, K = patches.shape
    patches = patches.reshape(B, L, groups, K // groups).transpose(0, 2, 3, 1)  # -> B G K L
    return product(weight.reshape(groups, len(weight) // groups, K // groups), patches)


def conv2d_dx_ref(dy, weight, size, stride, padding, dilation, groups):
    """The image's gradient, and transposed convolution.

    dy: (B, G * O, rows, columns), weight: (G * O, C, kh, kw), size: (H, W) -> (B, G * C, H, W)
    """
    patches = _patches(matmul_ref, dy, weight, groups)
    return fold_ref(patches, size, weight.shape[2:], stride, padding, dilation)


def _patches(product, dy, weight, groups):
    """(B, G * O, rows, columns) and (G * O, C, kh, kw) -> (B, L, G * C * kh * kw)"""
    (B, O, *windows), K = dy.shape, math.prod(weight.shape[1:])  # noqa: E741
    wT = weight.reshape(groups, O // groups, K).swapaxes(1, 2)
    L = math.prod(windows)
    patches = product(wT, dy.reshape(B, groups, O // groups, L))
    return patches.transpose(0, 3, 1, 2).reshape(B, L, groups * K)  # B G K L -> B L (G K)


def conv2d_dweight_ref(dy, x, kernel, stride, padding, dilation, groups):
    """The weight's gradient, summed over images and windows.

    dy: (B, G * O, rows, columns), x: (B, G * C, H, W), kernel: (kh, kw) -> (G * O, C, kh, kw)
    """
    view = window_view(padded(x, padding), kernel, stride, dilation)
    (B, C), O = x.shape[:2], dy.shape[1]  # noqa: E741
    view = view.reshape(B, groups, C // groups, *view.shape[2:])
    dy = dy.reshape(B, groups, O // groups, *dy.shape[2:])
    dw = np.einsum("bgors,bgcrsij->gocij", dy, view, optimize=groups == 1)
    return dw.reshape(O, C // groups, *kernel)


# ---- the twins -----------------------------------------------------------------------------------


def conv2d_jit(x, weight, stride, padding, dilation, groups):
    if not _compiles(x, weight):
        return conv2d_ref(x, weight, stride, padding, dilation, groups)
    kernel = weight.shape[2:]
    geometry = kernel, stride, padding, dilation
    shape = len(x), len(weight), *windows_of(x.shape, *geometry)
    if groups == 1 and _tiles(*geometry):
        return _times_patches(matmul.jit, weight, unfold.jit(x, *geometry), 1).reshape(shape)
    y = np.empty(shape, x.dtype.newbyteorder("="))
    shifts, low = _shifts(kernel, dilation), (-padding[0], -padding[1])
    taps = np.arange(math.prod(kernel))
    _convolve(x, weight, False, taps, y, groups, shape[2:], shifts, stride, low)
    return y


def conv2d_dx_jit(dy, weight, size, stride, padding, dilation, groups):
    if not _compiles(dy, weight):
        return conv2d_dx_ref(dy, weight, size, stride, padding, dilation, groups)
    kernel = weight.shape[2:]
    if groups == 1 and _tiles(kernel, stride, padding, dilation):
        patches = _patches(matmul.jit, dy, weight, 1)
        return fold.jit(patches, size, kernel, stride, padding, dilation)
    dx = np.zeros((len(dy), weight.shape[1] * groups, *size), dy.dtype.newbyteorder("="))
    axes = zip(size, kernel, stride, padding, dilation, strict=True)
    for (top, rows, i, down), (left, columns, j, right) in itertools.product(
        *(_phases(*axis) for axis in axes)
    ):
        if i.size and j.size:
            low, taps = (
                (int(down.min()), int(right.min())),
                (i[:, None] * kernel[1] + j).reshape(-1),
            )
            shifts, places = (down - low[0], right - low[1]), ((top, left), stride)
            wanted = rows, columns
            _convolve(dy, weight, True, taps, dx, groups, wanted, shifts, (1, 1), low, *places)
    return dx


def _phases(size, kernel, stride, padding, dilation):
    """Along one axis: first pixel, number of pixels, taps that reach them, and from which windows.

    Window r, tap i is at pixel r * stride - padding + i * dilation.
    """
    taps = np.arange(kernel)
    for first in range(min(stride, size)):
        far = first + padding - taps * dilation
        here = far % stride == 0
        yield first, -(-(size - first) // stride), taps[here], far[here] // stride


def conv2d_dweight_jit(dy, x, kernel, stride, padding, dilation, groups):
    if not _compiles(dy, x) or groups > 1 or not dy.size or not x.size:
        return conv2d_dweight_ref(dy, x, kernel, stride, padding, dilation, groups)
    (B, O, *windows), C, T = dy.shape, x.shape[1], math.prod(kernel)  # noqa: E741
    if _tiles(kernel, stride, padding, dilation):
        patches = unfold.jit(x, kernel, stride, padding, dilation).reshape(-1, C * T)
        rows = dy.reshape(B, O, -1).swapaxes(0, 1).reshape(O, len(patches))  # B O L -> O (B L)
        return matmul.jit(rows, patches).reshape(O, C, *kernel)
    dw = np.empty((O, C * T), x.dtype.newbyteorder("="))
    tasks = max(-(-C * T // _PATCH_ROWS), min(_TASKS, C, -(-C * T // 24)))
    correlate(
        _flat(x), x.shape, dy.reshape(B, O, -1), dw, tuple(windows), *_shifts(kernel, dilation),
        stride, (-padding[0], -padding[1]), max(1, _DEPTH // windows[1]), -(-C // tasks),
    )  # fmt: skip
    return dw.reshape(O, C, *kernel)


def _compiles(x, weight):
    """Whether there is machine code for these: both float32, or both float64."""
    return COMPILED and x.dtype == weight.dtype and x.dtype.char in "fd"


def _tiles(kernel, stride, padding, dilation):
    """Whether windows of several pixels tile the image: as many numbers, in another order."""
    return kernel != (1, 1) and tiles(kernel, stride, padding, dilation)


def _shifts(kernel, dilation):
    return tuple(np.arange(k) * d for k, d in zip(kernel, dilation, strict=True))


def _flat(x):
    return np.ascontiguousarray(x).reshape(-1)


def _convolve(
    x, weight, turned, taps, y, groups, windows, shifts, step, low, start=(0, 0), spread=(1, 1)
):
    """Fill y, or of it the pixels that are ``spread`` apart: as many as there are ``windows``.

    turned: x has the weight's output channels, y its input channels.
    """
    (B, C), (rows, columns) = x.shape[:2], windows
    if not y.size:
        return
    if not x.size:
        y[...] = 0
        return
    outputs = y.shape[1] // groups
    wide = min(_COLUMNS, max(128, _RESULTS // outputs))
    blocks = max(
        -(-B * rows // max(1, wide // columns)), min(_TASKS, -(-B * rows * columns // 128))
    )
    block = -(-B * rows // blocks)
    shares = max(1, min(outputs // 128, -(-_TASKS // blocks)))  # of few pixels, not all outputs
    outputs = -(-outputs // (shares * ROWS)) * ROWS
    depth = _DEPTH * min(1, _COLUMNS / (block * columns))  # as much in the cache, if a row is long
    chunk = min(C // groups, max(1, int(depth) // taps.size))
    convolve(
        _flat(x), x.shape, weight.reshape(len(weight), -1), turned,
        math.prod(weight.shape[2:]), taps,
        y.reshape(B * y.shape[1], -1), groups, windows, *shifts, step, low, start, spread,
        y.shape[3], block, outputs, chunk,
    )  # fmt: skip


conv2d = kernel(conv2d_ref, conv2d_jit)
conv2d_dx = kernel(conv2d_dx_ref, conv2d_dx_jit)
conv2d_dweight = kernel(conv2d_dweight_ref, conv2d_dweight_jit)
