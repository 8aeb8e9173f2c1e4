"""Position embeddings learn the plane; ViT's tokens miss local structure, T2T-ViT's less so.

The first: Dosovitskiy et al. 2020, figure 7.  The second: Yuan et al. 2021, figure 2, who find
in ViT few channels with edges, and many that are void.  Three measures, all from -1 or 0 to 1:

positions  correlation, over pairs of places, of the cosine of their embeddings with the distance
           of the places; 0 without structure, towards -1 where near is alike
edges      correlation, over neighbours in an image, of how much their tokens differ (1 - cosine)
           with how steep the pixels of both patches are (mean gradient of the grey image)
repeats    share of channels that vary as an earlier one does (correlation beyond 0.9 either way),
           or not at all (a hundredth of the largest deviation)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minitx.models.vit import ViT

from ..classifiers import build
from ..drawing import position_similarity
from .data import COLORS, MODELS
from .lab import Lab, spread

NAMES = ("vit", "t2t_vit")
WHERE = ("tokens", "after half the blocks")


def position_structure(model: ViT) -> float:
    places = np.indices(model.config.grid).reshape(2, -1).T  # N 2
    distance = np.linalg.norm(places[:, None] - places, axis=-1)
    pairs = np.triu_indices(len(places), 1)
    return float(np.corrcoef(position_similarity(model)[pairs], distance[pairs])[0, 1])


def steepness(images: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Mean gradient of the grey image, patch by patch: (B, C, H, W) -> (B, h, w)"""
    (h, w), gray = grid, images.mean(axis=1)
    steep = np.hypot(*np.gradient(gray, axis=(1, 2)))
    return steep.reshape(len(images), h, steep.shape[1] // h, w, -1).mean(axis=(2, 4))


def edges(x: np.ndarray, steep: np.ndarray) -> float:
    """x: (B, h, w, C) tokens; steep: (B, h, w)"""
    x = x / np.linalg.norm(x, axis=-1, keepdims=True)
    differ, pixels = [], []
    for a, b in (np.s_[:, 1:], np.s_[:, :-1]), (np.s_[:, :, 1:], np.s_[:, :, :-1]):
        differ.append((1 - (x[a] * x[b]).sum(axis=-1)).reshape(len(x), -1))
        pixels.append((steep[a] + steep[b]).reshape(len(x), -1))
    pairs = zip(np.concatenate(differ, axis=1), np.concatenate(pixels, axis=1), strict=True)
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs]))


def repeats(x: np.ndarray) -> float:
    """x: (B, h, w, C) tokens"""
    x = x.reshape(-1, x.shape[-1])
    deviation = x.std(axis=0)
    dead = deviation < deviation.max() / 100
    alike = np.abs(np.atleast_2d(np.corrcoef(x[:, ~dead].T))) > 0.9
    again = np.tril(alike, -1).any(axis=1)
    return float((dead.sum() + again.sum()) / len(dead))


def look(lab: Lab, seed: int) -> dict[str, Any]:
    """All measures of one seed's models, on test images."""
    most, found = max(lab.scale.sizes), {}
    for name in NAMES:
        task = lab.task(most, seed)
        model, _ = lab.classifier(name, most, seed)
        images = task.test[0][:200]
        grid, prepared = model.config.grid, task.prepare(images)
        with model.evaluating():
            tokens = model.patches(prepared).data
            half = model.hidden_states(prepared)[len(model.blocks) // 2].data[:, 1:]
        steep = steepness(images, grid)
        both = dict(zip(WHERE, (tokens, half.reshape(tokens.shape)), strict=True))
        found[name] = {w: [edges(x, steep), repeats(x)] for w, x in both.items()}
        if name == "vit":
            start = build(name, task, seed)
            found["positions"] = [position_structure(start), position_structure(model)]
    return found


def measure(lab: Lab) -> dict[str, Any]:
    """positions: (seeds, before and after); edges, repeats: model -> where -> seeds"""
    seeds = [look(lab, seed) for seed in lab.seeds]
    found: dict[str, Any] = {"positions": [x["positions"] for x in seeds]}
    for i, what in enumerate(("edges", "repeats")):
        found[what] = {n: {w: [x[n][w][i] for x in seeds] for w in WHERE} for n in NAMES}
    return found


def holds(found: dict[str, Any]) -> bool:
    """Positions: within 0.25 of no correlation before (chance makes 0.09 in 16 places), below -0.3
    after; T2T-ViT's tokens follow edges more closely and repeat less, in every seed."""
    before, after = np.array(found["positions"]).T
    closer, fewer = (
        np.subtract(found[what]["t2t_vit"]["tokens"], found[what]["vit"]["tokens"])
        for what in ("edges", "repeats")
    )
    learned = (np.abs(before) < 0.25).all() and (after < -0.3).all()
    return bool(learned and (closer > 0).all() and (fewer < 0).all())


def table(found: dict[str, Any]) -> list[tuple[str, ...]]:
    before, after = np.array(found["positions"]).T
    rows = [
        ("", "untrained", "trained"),
        ("ViT's positions against distance", spread(before), spread(after)),
        ("", *(MODELS[name] for name in NAMES)),
    ]
    for what, said in (("edges", "follow edges"), ("repeats", "repeated or dead channels")):
        for where in WHERE:
            rows.append((f"{said}, {where}", *(spread(found[what][n][where]) for n in NAMES)))
    return rows


def draw(axes: Any, found: dict[str, Any]) -> None:
    before, after = np.array(found["positions"]).T
    bars = [("positions,\nuntrained", before, "vit"), ("positions,\ntrained", after, "vit")]
    for what, said in (("edges", "follow\nedges"), ("repeats", "repeat\nchannels")):
        bars += [(f"{said}", found[what][name]["tokens"], name) for name in NAMES]
    for i, (_, values, name) in enumerate(bars):
        label = MODELS[name] if i in (0, 3) else None
        error = np.std(values, ddof=1)
        axes.bar(i, np.mean(values), yerr=error, color=COLORS[name], label=label)
    axes.set_xticks(range(len(bars)), [said for said, _, _ in bars], fontsize=7)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(ylabel="correlation, or share")
    axes.legend(frameon=False)
