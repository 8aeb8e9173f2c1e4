"""At small data ViT is behind the ConvNet, and the gap closes as data grows.

Dosovitskiy et al. 2020, section 4.3: what a convolution is built to know, a ViT must see.  Every
model takes the same number of steps on any number of scenes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .lab import Lab, spread

MODELS = {"resnet": "ConvNet", "vit": "ViT", "t2t_vit": "T2T-ViT"}
COLORS = {"resnet": "#444444", "vit": "#2f5aa8", "t2t_vit": "#c2571a"}


def measure(lab: Lab) -> dict[str, Any]:
    """accuracy: model -> (sizes, seeds)"""
    sizes = lab.scale.sizes
    accuracy = {
        name: [[lab.classifier(name, n, seed)[1] for seed in lab.seeds] for n in sizes]
        for name in ("resnet", "vit")
    }
    return {"sizes": sizes, "accuracy": accuracy}


def gaps(found: dict[str, Any]) -> np.ndarray:
    """ConvNet less ViT, (sizes, seeds)."""
    return np.array(found["accuracy"]["resnet"]) - np.array(found["accuracy"]["vit"])


def holds(found: dict[str, Any]) -> bool:
    """The gap is open in every seed at the fewest scenes, and smaller in every seed at the most."""
    gap = gaps(found)
    return bool((gap[0] > 0).all() and (gap[-1] < gap[0]).all())


def table(found: dict[str, Any]) -> list[tuple[str, ...]]:
    rows = [("training scenes", *(f"{n:,}" for n in found["sizes"]))]
    for name, values in found["accuracy"].items():
        rows.append((f"accuracy, {MODELS[name]}", *map(spread, values)))
    return [*rows, ("gap", *map(spread, gaps(found)))]


def draw(axes: Any, found: dict[str, Any]) -> None:
    for name, values in found["accuracy"].items():
        mean, std = np.mean(values, axis=1), np.std(values, axis=1, ddof=1)
        axes.errorbar(found["sizes"], mean, std, fmt="o-", color=COLORS[name], label=MODELS[name])
    axes.set(xscale="log", xlabel="training scenes", ylabel="test accuracy", ylim=(0, 1))
    axes.set_xticks(found["sizes"], [f"{n:,}" for n in found["sizes"]])
    axes.minorticks_off()
    axes.legend(frameon=False)
