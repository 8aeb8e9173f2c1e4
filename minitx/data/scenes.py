"""Colour scenes made of small grey pictures such as the digits: endless, seeded, with every answer.

A scene is painted back to front: a textured background, scraps of pictures as clutter, then the
pictures themselves, each turned, scaled and in a colour of its own.  Since we place them, class,
box and mask of each are known exactly.  The clutter is after Mnih et al. 2014, section 4.1,
https://arxiv.org/abs/1406.6247; all scenes are painted at once, object by object.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .text import check_generator, whole

SOLID = 0.5  # ink from which on a pixel belongs to an object's mask


@dataclass(frozen=True, eq=False)
class Scenes:
    """B scenes with at most K objects; an absent object has label -1, an empty mask and box."""

    images: np.ndarray  # (B, 3, S, S) float32, 0 to 1
    labels: np.ndarray  # (B, K) int64; object 0, the main one, is always there
    boxes: np.ndarray  # (B, K, 4) float32, pixels x0, y0, x1, y1 around the mask, ends outside it
    masks: np.ndarray  # (B, K, S, S) bool, what can be seen of each object


def scenes(
    images: np.ndarray,
    labels: np.ndarray,
    count: int,
    rng: np.random.Generator,
    *,
    size: int = 32,
    objects: int | tuple[int, int] = 1,
    scale: tuple[float, float] = (0.6, 0.9),
    turn: float = 30.0,
    clutter: int = 2,
    texture: float = 0.08,
) -> Scenes:
    """``count`` scenes of ``size`` x ``size`` pixels, of pictures drawn with replacement.

    images: (N, 1, H, H) floats, 0 to 1, what is to be placed; for training, only what one trains
        on.  labels: (N,) integers.
    objects: how many in a scene, or (fewest, most); each keeps to a cell of its own, the smallest
        square grid that has enough.
    scale: side of a picture over the side of its cell, drawn between the two.
    turn: the most degrees it is rotated, either way; at 30 a 6 and a 9 remain apart.
    clutter: scraps of pictures in a scene.  texture: standard deviation of the background's.
    With 0.15 of texture, 4 scraps and a scale of 0.5 to 0.8 it becomes much harder.
    Raises TypeError or ValueError on a bad argument.
    """
    check_generator("scenes", rng)
    images, labels = _checked_pictures(images, labels)
    B, S = whole("scenes: count", count), whole("scenes: size", size)
    fewest, K = _checked_objects(objects)
    whole("scenes: clutter", clutter, 0)
    if not 0 < scale[0] <= scale[1] <= 1 or not 0 <= turn <= 180 or not 0 <= texture:
        raise ValueError(
            f"scenes: scale {scale}, turn {turn}, texture {texture}; expected two of "
            "0 < scale <= 1 in order, 0 <= turn <= 180 and texture >= 0"
        )

    grid = math.ceil(math.sqrt(K))
    paper = rng.random((B, 3, 1, 1), np.float32)
    canvas = _background(B, S, paper, texture, rng)
    for _ in range(clutter):
        which = rng.integers(len(images), size=B)
        sides = S / grid * rng.uniform(*scale, B)
        centers = rng.uniform(0, S, (B, 2))
        ink = _placed(_scraps(images[which], rng), centers, sides, rng.uniform(-180, 180, B), S)
        canvas = _painted(canvas, ink, paper, rng)

    numbers = rng.integers(fewest, K + 1, B)
    present = np.less(np.arange(K), numbers[:, None])  # B K
    which = rng.integers(len(images), size=(B, K))
    cells = rng.permuted(np.tile(np.arange(grid**2), (B, 1)), axis=1)[:, :K]  # B K
    corners = np.stack([cells % grid, cells // grid], axis=-1) * (S / grid)  # B K 2, x and y
    sides = S / grid * rng.uniform(*scale, (B, K))
    room = S / grid - sides[..., None]
    centers = corners + sides[..., None] / 2 + room * rng.random((B, K, 2))
    angles = rng.uniform(-turn, turn, (B, K))
    masks = np.zeros((B, K, S, S), bool)
    for k in range(K):
        ink = _placed(images[which[:, k]], centers[:, k], sides[:, k], angles[:, k], S)
        ink *= present[:, k, None, None]
        canvas = _painted(canvas, ink, paper, rng)
        solid = ink > SOLID
        masks[:, :k] &= ~solid[:, None]  # what is painted later hides what was there
        masks[:, k] = solid
    labels = np.where(present, labels[which], -1)
    return Scenes(canvas, labels, boxes_of(masks), masks)


def boxes_of(masks: np.ndarray) -> np.ndarray:
    """The boxes x0, y0, x1, y1 around bool masks, ends outside: (..., H, W) -> (..., 4) float32.

    The box of an empty mask is all zeros.
    """
    ends = []
    for axis in (-2, -1):  # over rows: which columns are used, and the other way round
        used = np.asarray(masks.any(axis=axis))
        first, last = used.argmax(axis=-1), used.shape[-1] - used[..., ::-1].argmax(axis=-1)
        ends.append((first, np.where(used.any(axis=-1), last, 0)))
    (x0, x1), (y0, y1) = ends
    return np.stack([x0, y0, x1, y1], axis=-1).astype(np.float32)


def _background(
    B: int, S: int, paper: np.ndarray, texture: float, rng: np.random.Generator
) -> np.ndarray:
    """Colour, and noise of three grains: single pixels, blotches of a quarter and of an eighth."""
    noise = rng.standard_normal((B, 3, S, S), np.float32)
    for n in (4, 8):
        noise += _stretched(_stretched(rng.standard_normal((B, 3, n, n), np.float32), S, 2), S, 3)
    return np.clip(paper + np.float32(texture / math.sqrt(3)) * noise, 0, 1)


def _stretched(x: np.ndarray, S: int, axis: int) -> np.ndarray:
    """One axis at S places from its first to its last value, linear between its values."""
    places = np.linspace(0, x.shape[axis] - 1, S)
    before = places.astype(int)
    after = np.minimum(before + 1, x.shape[axis] - 1)
    share = np.expand_dims((places - before).astype(np.float32), tuple(range(1, x.ndim - axis)))
    return x.take(before, axis) * (1 - share) + x.take(after, axis) * share


def _scraps(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pictures of which only a quarter is left, in its place."""
    rows, columns = np.arange(images.shape[-2]), np.arange(images.shape[-1])
    upper, left = rng.random((2, len(images), 1)) < 0.5
    kept = ((rows < len(rows) // 2) == upper)[:, :, None]
    return images * (kept & ((columns < len(columns) // 2) == left)[:, None, :])


def _placed(
    images: np.ndarray, centers: np.ndarray, sides: np.ndarray, angles: np.ndarray, S: int
) -> np.ndarray:
    """Ink of B pictures on a canvas, between pixels by bilinear interpolation; none outside.

    images: (B, H, W), centers: (B, 2) x and y, sides: (B,), angles: (B,) degrees -> (B, S, S)
    """
    B, H, W = images.shape
    bordered = np.zeros((B, H + 3, W + 3), np.float32)
    bordered[:, 1:-2, 1:-2] = images
    radians = np.deg2rad(angles)
    cos, sin = (f(radians)[:, None, None] * (H / sides)[:, None, None] for f in (np.cos, np.sin))
    points = np.arange(S) + 0.5
    x = points[None, None, :] - centers[:, 0, None, None]  # B 1 S
    y = points[None, :, None] - centers[:, 1, None, None]  # B S 1
    column = np.clip(cos * x + sin * y + (W + 1) / 2, 0, W + 1).astype(np.float32)
    row = np.clip(cos * y - sin * x + (H + 1) / 2, 0, H + 1).astype(np.float32)
    left, upper = column.astype(np.int32), row.astype(np.int32)
    column, row = column - left.astype(np.float32), row - upper.astype(np.float32)
    first = (np.arange(B, dtype=np.int32)[:, None, None] * (H + 3) + upper) * (W + 3) + left
    flat = bordered.reshape(-1)
    above = flat[first] * (1 - column) + flat[first + 1] * column
    below = flat[first + W + 3] * (1 - column) + flat[first + W + 4] * column
    return above * (1 - row) + below * row


def _painted(
    canvas: np.ndarray, ink: np.ndarray, paper: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The canvas, (B, 3, S, S), under ink, (B, S, S), of a colour that stands out from the paper.

    In each channel it is at least 0.35 away: up to 0.65 on, counted around from 1 to 0.
    """
    color = (paper + rng.uniform(0.35, 0.65, paper.shape).astype(np.float32)) % 1
    return canvas + (color - canvas) * ink[:, None]


def _checked_pictures(images: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    images, labels = np.asarray(images), np.asarray(labels)
    fit = images.ndim == 4 and images.shape[1] == 1 and images.shape[2] == images.shape[3]
    if not fit or labels.shape != images.shape[:1] or not images.size:
        raise ValueError(
            f"scenes: images {images.shape}, labels {labels.shape}; expected (N, 1, H, H), (N,)"
        )
    if images.dtype.kind != "f" or labels.dtype.kind not in "iu":
        raise TypeError(
            f"scenes: images are {images.dtype}, labels {labels.dtype}; expected floats from 0 to "
            "1 and integers"
        )
    return images[:, 0].astype(np.float32), labels.astype(np.int64)


def _checked_objects(objects: int | tuple[int, int]) -> tuple[int, int]:
    fewest, most = objects if isinstance(objects, tuple) else (objects, objects)
    fewest = whole("scenes: objects", fewest)
    return fewest, whole("scenes: objects, the most,", most, fewest)
