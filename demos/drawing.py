"""Pictures of images, filters and tokens for the demos; without matplotlib they say so."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from minitx.models.vit import ViT


def pyplot() -> Any:
    """matplotlib's pyplot, drawing to files; None where it is not installed."""
    try:
        import matplotlib
    except ImportError:
        print("(no pictures: matplotlib is not installed; pip install matplotlib)")
        return None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def save(figure: Any, path: pathlib.Path, dpi: int = 110) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
    figure.clear()
    print(f"picture: {path}")


def shown(image: np.ndarray) -> np.ndarray:
    """(C, H, W), bytes or floats from 0 to 1 -> (H, W, 3) floats; one channel is ink on paper."""
    image = image / 255 if image.dtype == np.uint8 else image
    image = np.repeat(1 - image, 3, axis=0) if len(image) == 1 else image
    return image.transpose(1, 2, 0).clip(0, 1)  # C H W -> H W C


def stretched(x: np.ndarray) -> np.ndarray:
    """From 0, the least value, to 1, the largest."""
    return (x - x.min()) / max(np.ptp(x), 1e-12)


def mosaic(tiles: np.ndarray, columns: int, gap: int = 1) -> np.ndarray:
    """Tiles side by side on white, row by row: (N, H, W, 3) -> (rows H, columns W, 3)"""
    _, H, W, _ = tiles.shape
    rows = -(-len(tiles) // columns)
    canvas = np.ones((rows * (H + gap) - gap, columns * (W + gap) - gap, 3))
    for i, tile in enumerate(tiles):
        top, left = i // columns * (H + gap), i % columns * (W + gap)
        canvas[top : top + H, left : left + W] = tile
    return canvas


def principal(x: np.ndarray, count: int) -> np.ndarray:
    """The first coordinates of the rows along their principal axes: (N, C) -> (N, count)"""
    x = x - x.mean(axis=0)
    _, _, axes = np.linalg.svd(x, full_matrices=False)
    return x @ axes[:count].T


def position_similarity(model: ViT) -> np.ndarray:
    """Cosine of every two places' position embeddings: (N, N), N = h w"""
    x = model.positions.data[1:]
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    return x @ x.T
