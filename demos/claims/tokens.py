"""T2T-ViT beats ViT on the same small data with fewer parameters and multiply-adds.

Yuan et al. 2021, section 3: tokens that overlap keep the lines and corners that cuts destroy, and a
narrow backbone saves what the wide one wastes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minitx.flops import count_multiply_adds

from .data import COLORS, MODELS
from .lab import Lab, spread

NAMES = ("vit", "t2t_vit")


def measure(lab: Lab) -> dict[str, Any]:
    """accuracy: model -> (sizes, seeds)"""
    sizes = min(lab.scale.sizes), max(lab.scale.sizes)
    accuracy = {
        name: [[lab.classifier(name, n, seed)[1] for seed in lab.seeds] for n in sizes]
        for name in NAMES
    }
    task, found = lab.task(max(sizes), 0), {"sizes": sizes, "accuracy": accuracy}
    image = task.prepare(task.test[0][:1])
    models = {name: lab.classifier(name, max(sizes), 0)[0] for name in NAMES}
    found["parameters"] = {name: models[name].count(trainable=True) for name in NAMES}
    found["adds"] = {name: count_multiply_adds(models[name], image).total() for name in NAMES}
    return found


def lead(found: dict[str, Any]) -> np.ndarray:
    """T2T-ViT less ViT, (sizes, seeds)."""
    return np.array(found["accuracy"]["t2t_vit"]) - np.array(found["accuracy"]["vit"])


def holds(found: dict[str, Any]) -> bool:
    """Ahead in every seed at every size, and lighter in both counts."""
    lighter = all(found[x]["t2t_vit"] < found[x]["vit"] for x in ("parameters", "adds"))
    return bool(lighter and (lead(found) > 0).all())


def table(found: dict[str, Any]) -> list[tuple[str, ...]]:
    rows = [("training scenes", *(f"{n:,}" for n in found["sizes"]))]
    for name in NAMES:
        rows.append((f"accuracy, {MODELS[name]}", *map(spread, found["accuracy"][name])))
    rows.append(("lead of T2T-ViT", *map(spread, lead(found))))
    for name in NAMES:
        rows.append(
            (
                MODELS[name],
                f"{found['parameters'][name]:,} parameters",
                f"{found['adds'][name] / 1e6:.1f} M multiply-adds",
            )
        )
    return rows


def draw(axes: Any, found: dict[str, Any]) -> None:
    for name in NAMES:
        last = found["accuracy"][name][-1]
        label = f"{MODELS[name]}, {found['parameters'][name] / 1e3:.0f} k parameters"
        axes.errorbar(
            found["adds"][name] / 1e6,
            np.mean(last),
            np.std(last, ddof=1),
            fmt="o",
            color=COLORS[name],
            label=label,
        )
    axes.set(xlabel="million multiply-adds an image", ylabel="test accuracy", ylim=(0, 1))
    axes.set_xlim(0, 1.2 * max(found["adds"].values()) / 1e6)
    axes.legend(frameon=False)
