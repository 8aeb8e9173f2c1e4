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


def conv2d(x, weight, bias, stride, padding, dilation, groups):
    """One tap of one window after the other."""
    (O, C), kernel = weight.shape[:2], weight.shape[2:]  # noqa: E741
    geometry = x.shape[2:], kernel, stride, padding, dilation
    out = np.zeros((len(x), O, _count(*geometry)))
    for window, i, j, r, s in places(*geometry):
        for o in range(O):
            first = o // (O // groups) * C
            out[:, o, window] += x[:, first : first + C, r, s] @ weight[o, :, i, j]
    down = _count(*([side[0]] for side in geometry))
    out += 0 if bias is None else bias[:, None]
    return out.reshape(len(x), O, down, out.shape[2] // down)


def conv_transpose2d(x, weight, bias, stride, padding, dilation, groups, output_padding):
    """One pixel of x after the other paints its kernel."""
    (B, O, H, W), C = x.shape, weight.shape[1]  # noqa: E741
    full = [
        (n - 1) * s + d * (k - 1) + 1 + o
        for n, s, d, k, o in zip(
            (H, W), stride, dilation, weight.shape[2:], output_padding, strict=True
        )
    ]
    out = np.zeros((B, C * groups, *full))
    for o, r, s, i, j in np.ndindex(O, H, W, *weight.shape[2:]):
        first = o // (O // groups) * C
        y, z = r * stride[0] + i * dilation[0], s * stride[1] + j * dilation[1]
        out[:, first : first + C, y, z] += x[:, o, r, s, None] * weight[o, :, i, j]
    out += 0 if bias is None else bias[:, None, None]
    return out[:, :, padding[0] : full[0] - padding[0], padding[1] : full[1] - padding[1]]


def _windows(x, kernel, stride, padding):
    """(B, C, rows, columns, kh * kw), NaN where the padding is."""
    wide = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)], constant_values=np.nan)
    view = np.lib.stride_tricks.sliding_window_view(wide, kernel, (2, 3))
    view = view[:, :, :: stride[0], :: stride[1]]
    return view.reshape(*view.shape[:4], math.prod(kernel))


def avg_pool2d(x, kernel, stride, padding, count_pads):
    windows = _windows(x, kernel, stride, padding)
    return np.nansum(windows, 4) / (
        math.prod(kernel) if count_pads else (~np.isnan(windows)).sum(4)
    )


def batch_norm(x, weight, bias, residual, activation, eps, statistics):
    y = np.zeros(x.shape)
    for c in range(x.shape[1]):
        plane = x[:, c]
        mean, var = (z[c] for z in statistics) if statistics else (plane.mean(), np.var(plane))
        y[:, c] = weight[c] * (plane - mean) / np.sqrt(var + eps) + bias[c]
    y = y if residual is None else y + residual
    return y * (y > 0) if activation == "relu" else y


VALUES = {
    "avg_pool2d": avg_pool2d,
    "batch_norm": batch_norm,
    "conv2d": conv2d,
    "conv_transpose2d": conv_transpose2d,
    "fold": fold,
    "max_pool2d": lambda x, *geometry: np.nanmax(_windows(x, *geometry), 4),
    "resize": resize,
    "unfold": unfold,
}
