"""Where claims are measured: how large everything is, and what was measured already."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minitx.checkpoint import load_safetensors, save_safetensors

from ..classifiers import RECIPES, Task, build, scenes_task, trainer


@dataclass(frozen=True)
class Scale:
    seeds: int = 3  # of weights, of the scenes and of the order in training
    pixels: int = 24  # across a scene, which has no clutter, so that minutes suffice
    sizes: tuple[int, ...] = (300, 1200, 4800)  # training scenes
    test: int = 1000  # scenes, of digits that no training scene shows
    steps: int = 500  # of every classifier on every number of scenes
    batch: int = 32
    pretraining: int = 600  # steps of MAE
    finetuning: int = 150  # steps on the labelled tenth
    ratios: tuple[int, ...] = (25, 50, 75, 90)  # per cent masked
    timed: int = 5  # steps of each form, in turns


QUICK = Scale(2, 16, (40, 80), 50, 3, 8, pretraining=2, finetuning=2, ratios=(75,), timed=1)


class Lab:
    """``measured(name, function)`` computes once, then reads runs/claims/<name>.json."""

    def __init__(self, folder: pathlib.Path, scale: Scale):
        self.folder, self.scale = folder, scale
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def seeds(self) -> range:
        return range(self.scale.seeds)

    def measured(self, name: str, function: Callable[[], Any]) -> Any:
        """What ``function()`` returns, as JSON keeps it; computed anew if the scale has changed."""
        path, scale = self.folder / f"{name}.json", json.loads(json.dumps(vars(self.scale)))
        if path.exists() and (kept := json.loads(path.read_text()))["scale"] == scale:
            return kept["result"]
        print(f"  {name} ...", end="", flush=True)
        start = time.process_time()
        result = function()
        print(f" {time.process_time() - start:.0f} s of CPU", flush=True)
        unfinished = path.with_suffix(".part")
        unfinished.write_text(json.dumps({"scale": scale, "result": result}))
        os.replace(unfinished, path)
        return json.loads(json.dumps(result))

    def task(self, count: int, seed: int) -> Task:
        """``count`` training scenes; fewer are the first of more."""
        most = max(self.scale.sizes)
        scale = self.scale
        task = scenes_task(most, scale.test, seed, size=scale.pixels, clutter=0)
        return task.first(count)

    def classifier(self, name: str, count: int, seed: int) -> tuple[Any, float]:
        """A model trained on ``count`` scenes, and its test accuracy."""
        task = self.task(count, seed)
        model = build(name, task, seed)
        key = f"{name}-{count}-{seed}"
        weights = self.folder / f"{key}.safetensors"

        def train() -> float:
            recipe = dataclasses.replace(RECIPES[name], batch=self.scale.batch)
            steps = self.scale.steps
            if not trainer(model, task, recipe, seed, steps, quiet=True).run(steps):
                raise KeyboardInterrupt
            save_safetensors(weights, model.state_dict())
            return task.accuracy(model)

        accuracy = self.measured(key, train)
        model.load_state_dict(load_safetensors(weights))
        return model, accuracy


def spread(values: Any) -> str:
    """Mean and standard deviation over seeds."""
    values = np.asarray(values, float)
    return f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"
