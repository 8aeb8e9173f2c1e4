"""Ways to vary pictures, each a function of a batch and a Generator that takes all of it at once.

    augment = compose(partial(random_crop, padding=4), random_flip, random_erasing)
    images = augment(images, rng)

Every picture of a batch is varied on its own; the same Generator gives the same batch; what is
passed in stays as it is.  Images are (B, C, H, W), bytes from 0 to 255 or floats from 0 to 1; what
mixes colours makes floats of bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import numpy as np

from .text import check_generator, whole

Augmentation = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def compose(*steps: Augmentation) -> Augmentation:
    """One function of (images, rng) that takes the steps in turn."""

    def augment(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for step in steps:
            images = step(images, rng)
        return images

    return augment


def random_crop(
    images: np.ndarray,
    rng: np.random.Generator,
    padding: int = 4,
    size: int | tuple[int, int] | None = None,
    mode: str = "constant",
) -> np.ndarray:
    """Windows at random places of padded pictures, (B, C, H, W) -> (B, C, *size).

    padding: pixels added on every side, zeros, or as ``mode`` of numpy.pad says ("reflect",
    "edge").  size: of the windows, that of the pictures unless given.
    """
    _check("random_crop", images, rng)
    padding = whole("random_crop: padding", padding, 0)
    h, w = images.shape[2:] if size is None else (size, size) if isinstance(size, int) else size
    most = [n + 2 * padding for n in images.shape[2:]]
    if not (1 <= h <= most[0] and 1 <= w <= most[1]):
        raise ValueError(
            f"random_crop: a window of {h} x {w} does not fit into {most[0]} x {most[1]}, the "
            "pictures and their padding"
        )
    sides = (padding, padding)
    padded = np.pad(images, ((0, 0), (0, 0), sides, sides), mode)  # type: ignore[call-overload]
    windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), axis=(2, 3))
    B = len(images)
    top, left = rng.integers(most[0] - h + 1, size=B), rng.integers(most[1] - w + 1, size=B)
    return windows[np.arange(B), :, top, left]  # B C tops lefts h w -> B C h w


def random_shift(images: np.ndarray, rng: np.random.Generator, most: int = 2) -> np.ndarray:
    """Pictures moved by up to ``most`` pixels each way; what comes in repeats the edge."""
    return random_crop(images, rng, whole("random_shift: most", most, 0), mode="edge")


def random_affine(
    images: np.ndarray,
    rng: np.random.Generator,
    turn: float = 10,
    zoom: float = 0.1,
    most: float = 1,
) -> np.ndarray:
    """Pictures turned, stretched and moved; what comes in repeats the edge.  Floats.

    turn: the most degrees, either way.  zoom: how far from 1 the factors are at most by which each
    axis is stretched, on its own.  most: pixels moved each way at most, also by parts of one.
    """
    _check("random_affine", images, rng, zoom=zoom)
    if not (0 <= turn <= 180 and 0 <= most < math.inf):
        raise ValueError(
            f"random_affine: turn {turn}, most {most}; expected 0 to 180 degrees, 0 or more pixels"
        )
    images = _floats("random_affine", images)
    B, _, H, W = images.shape
    angles = np.deg2rad(rng.uniform(-turn, turn, (B, 1, 1)))
    y, x = (  # of each pixel, where it is to be looked for; from the middle
        (np.arange(n) - (n - 1) / 2 + rng.uniform(-most, most, (B, 1)))
        * rng.uniform(1 - zoom, 1 + zoom, (B, 1))
        for n in (H, W)
    )
    y, x = y[:, :, None], x[:, None, :]
    rows = y * np.cos(angles) - x * np.sin(angles) + (H - 1) / 2  # B H W
    columns = x * np.cos(angles) + y * np.sin(angles) + (W - 1) / 2
    return _between_pixels(images, np.clip(rows, 0, H - 1), np.clip(columns, 0, W - 1))


def _between_pixels(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(B, C, H, W) at places (B, h, w), bilinear between pixels -> (B, C, h, w)"""
    B, _, H, W = images.shape
    top, left = rows.astype(np.int64), columns.astype(np.int64)
    bottom, right = np.minimum(top + 1, H - 1), np.minimum(left + 1, W - 1)
    down = (rows - top).astype(images.dtype)[..., None]
    across = (columns - left).astype(images.dtype)[..., None]
    pixels, which = images.transpose(0, 2, 3, 1), np.arange(B)[:, None, None]  # B H W C
    upper = pixels[which, top, left] * (1 - across) + pixels[which, top, right] * across
    lower = pixels[which, bottom, left] * (1 - across) + pixels[which, bottom, right] * across
    return np.ascontiguousarray((upper * (1 - down) + lower * down).transpose(0, 3, 1, 2))


def random_flip(images: np.ndarray, rng: np.random.Generator, share: float = 0.5) -> np.ndarray:
    """About a ``share`` of the pictures as a mirror shows them, left for right."""
    _check("random_flip", images, rng, share=share)
    flipped = rng.random((len(images), 1, 1, 1)) < share
    return np.where(flipped, images[..., ::-1], images)


def random_color(
    images: np.ndarray,
    rng: np.random.Generator,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
) -> np.ndarray:
    """Brighter or darker, with more or less contrast and colour.  Floats, 0 to 1.

    Each strength s stands for a factor from 1 - s to 1 + s, drawn for each picture: on its values,
    on their distance from the picture's mean grey, and on that from each pixel's own grey.
    """
    _check("random_color", images, rng, brightness=brightness, contrast=contrast, color=saturation)
    images = _floats("random_color", images)

    def factor(strength):
        draws = 2 * rng.random((len(images), 1, 1, 1), images.dtype.type) - 1
        return 1 + images.dtype.type(strength) * draws

    images = np.clip(images * factor(brightness), 0, 1)
    mean = _gray(images).mean(axis=(2, 3), keepdims=True)
    images = np.clip(mean + (images - mean) * factor(contrast), 0, 1)
    gray = _gray(images)
    return np.clip(gray + (images - gray) * factor(saturation), 0, 1)


def random_erasing(
    images: np.ndarray,
    rng: np.random.Generator,
    share: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    aspect: float = 0.3,
) -> np.ndarray:
    """Noise over a rectangle of about a ``share`` of the pictures (Zhong et al. 2020, algorithm 1).

    area: of the rectangle, as a share of the picture's, drawn between the two.  aspect: the least
    of its height over width, as of its width over height; drawn evenly on a logarithmic scale, so
    that lying and standing ones are equally likely, where the paper's draw favours standing ones.
    A side that would be longer than the picture's is as long, where the paper draws again.
    """
    _check("random_erasing", images, rng, share=share)
    if not (0 < area[0] <= area[1] <= 1 and 0 < aspect <= 1):
        raise ValueError(
            f"random_erasing: area {area}, aspect {aspect}; expected two of 0 < area <= 1 in "
            "order and 0 < aspect <= 1"
        )
    B, C, H, W = images.shape
    erased = np.less(rng.random(B), share)
    pixels = rng.uniform(*area, B) * H * W
    ratio = np.exp(rng.uniform(-1, 1, B) * math.log(1 / aspect))  # height over width
    inside = []
    for length, side in ((H, np.sqrt(pixels * ratio)), (W, np.sqrt(pixels / ratio))):
        side = np.clip(np.rint(side), 1, length).astype(np.int64)[:, None]
        start = rng.integers(length - side + 1)
        since = np.arange(length) - start
        inside.append((since >= 0) & (since < side))
    rows, columns = inside
    holes = (rows[:, :, None] & columns[:, None, :] & erased[:, None, None])[:, None]  # B 1 H W
    if images.dtype == np.uint8:
        return np.where(holes, rng.integers(0, 256, images.shape, np.uint8), images)
    return np.where(holes, rng.random(images.shape, images.dtype.type), images)


def mixup(
    images: np.ndarray,
    labels: np.ndarray,
    rng: np.random.Generator,
    classes: int,
    alpha: float = 0.2,
) -> tuple[np.ndarray, np.ndarray]:
    """Each picture and its label, blended with another's of the batch (Zhang et al. 2018).

    labels: (B,) integers below ``classes``, or (B, classes) shares.  The share
    of a picture itself is drawn from Beta(alpha, alpha), for each on its own; 0 mixes nothing.
    Returns images, floats, and soft targets, (B, classes), of their dtype.
    """
    _check("mixup", images, rng)
    images = _floats("mixup", images)
    if not 0 <= alpha < math.inf:
        raise ValueError(f"mixup: alpha is {alpha}; expected 0 or more")
    targets = np.asarray(labels)
    if targets.ndim == 1:
        targets = one_hot(targets, classes)
    if targets.shape != (len(images), classes):
        raise ValueError(
            f"mixup: labels {np.shape(labels)} for images {images.shape} and {classes} classes; "
            "expected (B,) or (B, classes)"
        )
    targets = targets.astype(images.dtype)
    if alpha == 0:
        return images, targets
    own = rng.beta(alpha, alpha, (len(images), 1)).astype(images.dtype)
    other = rng.permutation(len(images))
    images = images[other] + (images - images[other]) * own[..., None, None]
    return images, targets[other] + (targets - targets[other]) * own


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """All probability on the label: (B,) integers -> (B, classes) float32."""
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise TypeError(f"one_hot: labels {labels.shape} {labels.dtype}; expected (B,) integers")
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f"one_hot: labels must lie in [0, {classes}), got {labels.min()} to {labels.max()}"
        )
    return np.eye(classes, dtype=np.float32)[labels]


def scaled(images: np.ndarray) -> np.ndarray:
    """Bytes, 0 to 255, as float32, 0 to 1; floats as they are."""
    return images / np.float32(255) if images.dtype == np.uint8 else images


def normalize(images: np.ndarray, mean: float | Sequence, std: float | Sequence) -> np.ndarray:
    """(images - mean) / std, by channel or for all alike; bytes are scaled to 0 to 1 before."""
    images = scaled(images)
    center, spread = (np.asarray(x, images.dtype).reshape(-1, 1, 1) for x in (mean, std))
    channels = images.shape[-3] if images.ndim >= 3 else 0
    if not channels or {len(center), len(spread)} - {1, channels} or not np.all(spread > 0):
        raise ValueError(
            f"normalize: images {images.shape}, mean {mean}, std {std}; expected (..., C, H, W) "
            "and one number, or one for each channel, std above 0"
        )
    return (images - center) / spread


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, for ``normalize``: two (C,), float64."""
    axes = (0, 2, 3)
    scale = 255 if images.dtype == np.uint8 else 1
    mean, std = images.mean(axes, np.float64), images.std(axes, np.float64)
    return mean / scale, std / scale


def _gray(images: np.ndarray) -> np.ndarray:
    """Luma (ITU-R BT.601) of RGB, or the one channel: (B, C, H, W) -> (B, 1, H, W)"""
    if images.shape[1] != 3:
        return images.mean(axis=1, keepdims=True)
    weights = np.array([0.299, 0.587, 0.114], images.dtype)
    return np.einsum("bchw,c->bhw", images, weights)[:, None]


def _check(what: str, images: Any, rng: Any, **shares: float) -> None:
    check_generator(what, rng)
    if not isinstance(images, np.ndarray) or images.ndim != 4:
        came = f"shape {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
        raise ValueError(f"{what}: images must be an array (B, C, H, W), got {came}")
    for name, share in shares.items():
        if not isinstance(share, Real) or not 0 <= share <= 1:
            raise ValueError(f"{what}: {name} must lie between 0 and 1, got {share!r}")


def _floats(what: str, images: np.ndarray) -> np.ndarray:
    images = scaled(images)
    if images.dtype not in (np.float32, np.float64):
        raise TypeError(f"{what}: images are {images.dtype}; expected bytes, float32 or float64")
    return images
