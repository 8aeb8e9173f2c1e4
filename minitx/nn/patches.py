"""Images as grids of tokens, and where each token lies in its grid."""

from __future__ import annotations

import math

import numpy as np

from .. import ops
from ..ops.checks import pair
from ..tensor import Tensor
from .module import Module, constant, normal
from .positions import sinusoids

Images = Tensor | np.ndarray
Pair = tuple[int, int]  # down, right


def check_images(owner: str, images: Images, channels: int, patch: Pair) -> None:
    """Raises TypeError on integers, ValueError on other axes and on a remainder."""
    shape, (p, q) = images.shape, patch
    if len(shape) != 4 or shape[1] != channels:
        raise ValueError(f"{owner}: images have shape {shape}; expected (B, {channels}, H, W)")
    if images.dtype.kind != "f":
        raise TypeError(
            f"{owner}: images have dtype {images.dtype}; expected floats around 0, "
            f"such as images / np.float32(255) less their mean"
        )
    H, W = shape[2:]
    if H % p or W % q or not H * W:
        nearest = f"{max(p, round(H / p) * p)} x {max(q, round(W / q) * q)}"
        raise ValueError(
            f"{owner}: images of {H} x {W} pixels do not divide into patches of {p} x {q}; "
            f"resize, crop or pad them, to {nearest} for instance"
        )


class PatchEmbedding(Module):
    """Cut images into patches and map each to a token (Dosovitskiy et al. 2020, section 3.1).

    (B, channels, H, W) -> (B, H / p, W / q, width)

    weight: (width, channels, p, q), as a convolution has it, starts as N(0, 1 / (channels p q)).
    As strides equal the kernel it is no more than one matrix product.
    """

    def __init__(self, channels: int, width: int, patch: int | Pair, rng: np.random.Generator):
        p, q = pair("PatchEmbedding", "patch", patch)
        self.weight = normal(rng, 1 / math.sqrt(channels * p * q), width, channels, p, q)
        self.bias = constant(0, width)

    def forward(self, images: Images) -> Tensor:
        """Raises TypeError or ValueError on images that do not fit."""
        O, C, p, q = self.weight.shape  # noqa: E741
        check_images("PatchEmbedding", images, C, (p, q))
        B, C, H, W = images.shape
        x = ops.reshape(images, B, C, H // p, p, W // q, q)
        x = x.transpose(0, 2, 4, 1, 3, 5)  # B C h p w q -> B h w C p q
        x = x.reshape(B, H // p, W // q, C * p * q)
        return ops.linear(x, self.weight.reshape(O, -1), self.bias)


def sinusoids_in_plane(grid: Pair, width: int) -> np.ndarray:
    """Fixed positions: half a vector tells the column, half the row (He et al. 2021).

    -> (h * w, width) float64, row by row; each half has all sines, then all cosines.
    """
    if width % 4:
        raise ValueError(f"sinusoids_in_plane: width is {width}; expected a multiple of 4")
    waves = sinusoids(max(grid), width // 2, halves=True)
    row, column = np.indices(grid).reshape(2, -1)
    return np.concatenate([waves[column], waves[row]], axis=1)


def resize_grid(table: Tensor, old: Pair, new: Pair) -> Tensor:
    """A table over one grid, over another: (h * w, C) -> (h' * w', C), bicubic."""
    if old == new:
        return table
    image = table.reshape(1, *old, -1).transpose(0, 3, 1, 2)  # 1 (h w) C -> 1 C h w
    image = ops.resize(image, new, "bicubic")
    return image.transpose(0, 2, 3, 1).reshape(new[0] * new[1], -1)  # 1 C h w -> (h w) C
