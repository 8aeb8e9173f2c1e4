"""The values of ops on images, one pixel after the other; see formulas.py."""

from __future__ import annotations

import itertools
import math

import numpy as np


def places(size, kernel, stride, padding, dilation):
    """(window, row in it, column in it, row and column of the image) wherever there is a pixel."""
    (H, W), window = size, 0
    for top in range(-padding[0], H + padding[0] - dilation[0] * (kernel[0] - 1), stride[0]):
        for left in range(-padding[1], W + padding[1] - dilation[1] * (kernel[1] - 1), stride[1]):
            for i, j in np.ndindex(*kernel):
                y, x = top + i * dilation[0], left + j * dilation[1]
                if 0 <= y < H and 0 <= x < W:
                    yield window, i, j, y, x
            window += 1


def _count(size, kernel, stride, padding, dilation):
    return math.prod(
        len(range(-p, n + p - d * (k - 1), s))
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    )


def unfold(x, kernel, *geometry):
    (B, C), size = x.shape[:2], x.shape[2:]
    out = np.zeros((B, _count(size, kernel, *geometry), C, *kernel))
    for window, i, j, r, s in places(size, kernel, *geometry):
        out[:, window, :, i, j] = x[:, :, r, s]
    return out.reshape(*out.shape[:2], C * math.prod(kernel))


def fold(patches, size, kernel, *geometry):
    B, L = patches.shape[:2]
    patches = patches.reshape(B, L, patches.shape[2] // math.prod(kernel), *kernel)
    out = np.zeros((B, patches.shape[2], *size))
    for window, i, j, r, s in places(size, kernel, *geometry):
        out[:, :, r, s] += patches[:, window, :, i, j]
    return out


def _linear(t):
    return {0: 1 - t, 1: t}


def _cubic(t, a=-0.75):
    """The four weights written out, of pixels -1, 0, 1, 2 at t after pixel 0."""
    return {
        -1: a * t * (1 - t) ** 2,
        0: 1 - (a + 3) * t**2 + (a + 2) * t**3,
        1: -a * t + (2 * a + 3) * t**2 - (a + 2) * t**3,
        2: a * t**2 * (1 - t),
    }


def resize(x, size, mode):
    H, W = x.shape[2:]
    out = np.zeros((*x.shape[:2], *size))
    for i, j in itertools.product(*map(range, size)):
        if mode == "nearest":
            out[:, :, i, j] = x[:, :, math.floor(i * H / size[0]), math.floor(j * W / size[1])]
            continue
        r, s = (i + 0.5) * H / size[0] - 0.5, (j + 0.5) * W / size[1] - 0.5
        weights = _linear if mode == "bilinear" else _cubic
        down, right = weights(r - math.floor(r)), weights(s - math.floor(s))
        for (dr, p), (ds, q) in itertools.product(down.items(), right.items()):
            row = min(max(math.floor(r) + dr, 0), H - 1)
            column = min(max(math.floor(s) + ds, 0), W - 1)
            out[:, :, i, j] += p * q * x[:, :, row, column]
    return out


VALUES = {
    "fold": fold,
    "resize": resize,
    "unfold": unfold,
}
