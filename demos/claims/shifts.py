"""Convolution's features move with the image; ViT's do so only before the first block.

A convolution is equivariant to translation, as Dosovitskiy et al. 2020, section 3.3, put its
inductive bias; cutting into patches is so to shifts by whole patches, and position embeddings are
not at all.  Measured as the relative change of features,

    |F(image moved) - F(image) moved| / |F(image) - mean|,

over the middle of the maps; what leaves an image comes in again on the other side.  The ConvNet
pads with zeros, and in its last stage all pixels see that border; "without border" surrounds the
image by copies of itself.  A map is moved by a share of a cell with linear interpolation, so no
grid coarser than pixels can score 0 on shifts by few pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..classifiers import patch_of
from .data import COLORS
from .lab import Lab, spread

PIXELS = (1, 2, 3, 4, 8)
STYLES = {
    "ConvNet, first stage": (COLORS["resnet"], "o--"),
    "ConvNet, last stage": (COLORS["resnet"], "o-"),
    "ConvNet, last, without border": (COLORS["resnet"], "o:"),
    "ViT, patch embedding": (COLORS["vit"], "o--"),
    "ViT, last block": (COLORS["vit"], "o-"),
}


def moved(x: np.ndarray, cells: float) -> np.ndarray:
    """A map to the right by some cells, what leaves it comes in again: (B, C, h, w) alike"""
    whole = int(cells)
    share = cells - whole
    return (1 - share) * np.roll(x, whole, axis=3) + share * np.roll(x, whole + 1, axis=3)


def change(features: Callable[[np.ndarray], np.ndarray], images: np.ndarray, pixels: int) -> float:
    """features: (B, channels, H, W) -> (B, C, h, w)"""
    before, after = features(images), features(moved(images, pixels).astype(images.dtype))
    cells = before.shape[3]
    edge = -(-cells // 4)  # a quarter on either side
    inside = np.s_[:, :, edge:-edge, edge:-edge]
    expected = moved(before, pixels * cells / images.shape[3])
    varies = before - before.mean(axis=(0, 2, 3), keepdims=True)
    return float(np.linalg.norm((after - expected)[inside]) / np.linalg.norm(varies[inside]))


def look(lab: Lab, seed: int) -> dict[str, list[float]]:
    """Layer -> change by each number of pixels, of one seed's models."""
    most = max(lab.scale.sizes)
    task = lab.task(most, seed)
    conv, vit = (lab.classifier(name, most, seed)[0] for name in ("resnet", "vit"))
    images = task.prepare(task.test[0][:100])

    def without_border(x):
        y = conv.features(np.tile(x, (1, 1, 3, 3)))[-1].data
        h, w = (n // 3 for n in y.shape[2:])
        return y[:, :, h:-h, w:-w]

    def last_block(x):
        states = vit.hidden_states(x)[-1].data[:, 1:]
        return states.transpose(0, 2, 1).reshape(len(x), -1, *vit.config.grid)

    layers = (
        lambda x: conv.features(x)[0].data,
        lambda x: conv.features(x)[-1].data,
        without_border,
        lambda x: vit.patches(x).data.transpose(0, 3, 1, 2),  # B h w C -> B C h w
        last_block,
    )
    with conv.evaluating(), vit.evaluating():
        return {
            name: [change(f, images, n) for n in PIXELS]
            for name, f in zip(STYLES, layers, strict=True)
        }


def measure(lab: Lab) -> dict[str, Any]:
    """change: layer -> (pixels, seeds)"""
    seeds = [look(lab, seed) for seed in lab.seeds]
    found = {name: np.array([x[name] for x in seeds]).T.tolist() for name in STYLES}
    return {
        "change": found,
        "patch": patch_of(lab.task(max(lab.scale.sizes), 0).train[0].shape[-1]),
    }


def holds(found: dict[str, Any]) -> bool:
    """By a whole patch, the ConvNet without border and ViT's patches change by less than a tenth,
    ViT's last block by more than twice as much as the ConvNet's last stage, border and all."""
    patch = PIXELS.index(found["patch"])
    change = {name: np.array(x)[patch] for name, x in found["change"].items()}
    still = change["ConvNet, last, without border"], change["ViT, patch embedding"]
    moves = change["ViT, last block"] > 2 * change["ConvNet, last stage"]
    return bool(np.max(still) < 0.1 and moves.all())


def table(found: dict[str, Any]) -> list[tuple[str, ...]]:
    rows = [("pixels moved", *map(str, PIXELS))]
    return rows + [(name, *map(spread, found["change"][name])) for name in STYLES]


def draw(axes: Any, found: dict[str, Any]) -> None:
    for name, (color, style) in STYLES.items():
        values = found["change"][name]
        mean, std = np.mean(values, axis=1), np.std(values, axis=1, ddof=1)
        axes.errorbar(PIXELS, mean, std, fmt=style, color=color, label=name)
    axes.set(
        xlabel=f"pixels moved ({found['patch']} are a patch)", ylabel="relative change", ylim=0
    )
    axes.legend(frameon=False, fontsize=8)
