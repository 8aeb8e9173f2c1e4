"""Where claims are measured: how large everything is, and what was measured already."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from minitx.checkpoint import load_safetensors, save_safetensors

from ..classifiers import RECIPES, Task, build, scenes_task, trainer
from ..language import QUICK as QUICK_TUNING
from ..language import Tuning
from ..pretraining import QUICK as QUICK_BERT
from ..pretraining import Scale as BERTScale
from ..results import measured

if TYPE_CHECKING:
    from .words import Words


@dataclass(frozen=True)
class Scale:
    seeds: int = 3  # of weights, of the scenes and of the order in training
    pixels: int = 16  # across a scene
    sizes: tuple[int, ...] = (300, 1200, 4800)  # training scenes
    test: int = 1000  # scenes, of digits that no training scene shows
    steps: int = 1200  # of a ViT and a T2T-ViT, on any number of scenes; of a ConvNet a third
    pretraining: int = 600  # steps of MAE
    finetuning: int = 200  # steps on the labelled tenth
    ratios: tuple[int, ...] = (25, 50, 75, 90)  # per cent masked
    timed: int = 5  # steps of each form, in turns
    bert: BERTScale = BERTScale()
    tuning: Tuning = Tuning()


QUICK = Scale(
    seeds=2,
    sizes=(40, 80),
    test=50,
    steps=3,
    pretraining=2,
    finetuning=2,
    ratios=(75,),
    timed=1,
    bert=QUICK_BERT,
    tuning=QUICK_TUNING,
)


class Lab:
    """``measured(name, function)`` computes once, then reads runs/claims/<name>.json."""

    def __init__(self, folder: pathlib.Path, scale: Scale):
        self.folder, self.scale = folder, scale
        self._tasks: dict[int, Task] = {}
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def seeds(self) -> range:
        return range(self.scale.seeds)

    def measured(self, name: str, function: Callable[[], Any], *settings: Any) -> Any:
        """What ``function()`` returns, as JSON keeps it; computed anew if settings have changed."""
        scale = self.scale
        settings = scale.pixels, max(scale.sizes), scale.test, *settings
        return self.kept(name, function, settings)

    def kept(self, name: str, function: Callable[[], Any], settings: Any) -> Any:
        """The same of what has nothing to do with scenes."""
        return measured(self.folder / f"{name}.json", function, settings)

    @cached_property
    def words(self) -> Words:
        from .words import Words

        return Words(self)

    def task(self, count: int, seed: int) -> Task:
        """``count`` training scenes; fewer are the first of more."""
        scale = self.scale
        if seed not in self._tasks:
            most = max(scale.sizes)
            self._tasks[seed] = scenes_task(most, scale.test, seed, scale.pixels)
        return self._tasks[seed].first(count)

    def classifier(self, name: str, count: int, seed: int) -> tuple[Any, float]:
        """A model trained on ``count`` scenes, its test accuracy; anew if it starts otherwise."""
        task = self.task(count, seed)
        steps = self.scale.steps // 3 if name == "resnet" else self.scale.steps
        recipe = dataclasses.replace(RECIPES[name], steps=steps)
        model = build(name, task, seed)
        weights = self.folder / f"{name}-{count}-{seed}.safetensors"
        if not weights.exists():
            weights.with_suffix(".json").unlink(missing_ok=True)

        def train() -> float:
            if not trainer(model, task, recipe, seed, quiet=True).run(recipe.steps):
                raise KeyboardInterrupt
            save_safetensors(weights, model.state_dict())
            return task.accuracy(model)

        start = b"".join(array.tobytes() for array in model.state_dict().values())
        told = recipe, f"from {hashlib.sha256(start).hexdigest()[:8]}"
        accuracy = self.measured(weights.stem, train, *told)
        model.load_state_dict(load_safetensors(weights))
        return model, accuracy


def spread(values: Any) -> str:
    """Mean and standard deviation over seeds."""
    values = np.asarray(values, float)
    return f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"
