"""Where BERT's claims are measured: one pre-training of each kind, three of each fine-tuning.

Texts, tasks and recipes are those of demos/bert.py.  All pre-training takes the same steps on the
same passages; the seeds are those of fine-tuning, which also choose the labels.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from minitx.checkpoint import read_metadata
from minitx.models.bert import BERT, BERTPretraining

from .. import language, pretraining
from .lab import Lab, spread

KINDS: dict[str, dict[str, Any]] = {  # of pre-training
    "both": {},
    "mlm": {"follows": False},
    "ltr": {"follows": False, "causal": True},
}
COLORS = ("#2f5aa8", "#c2571a", "#8fa9d6", "#e3b08f")

Scores = dict[str, dict[str, list[float]]]  # task -> how it was learnt -> over seeds


class Words:
    """Fine-tuned scores in the folder of a Lab; nothing is trained twice."""

    def __init__(self, lab: Lab):
        self.lab, self.scale, self.tuning = lab, lab.scale.bert, lab.scale.tuning
        self.tokenizer = pretraining.wordpiece(self.scale)
        self.models: dict[str, BERTPretraining] = {}

    def pretrained(self, kind: str) -> BERTPretraining:
        """The model of that kind, trained now, or further, if it has not been to the end."""
        if kind not in self.models:
            path, scale = self.lab.folder / f"bert-{kind}.safetensors", self.scale
            trainer = pretraining.pretraining(
                scale, self.tokenizer, checkpoint=path, save_every=200, **KINDS[kind]
            )
            if path.exists() and read_metadata(path).get("scale") == repr(scale):
                trainer.resume()
            if not trainer.run(scale.steps):
                raise KeyboardInterrupt
            self.models[kind] = trainer.model
        return self.models[kind]

    def scores(self, task: str, start: str, labels: int = 0) -> list[float]:
        """start: a kind of pre-training, or "untrained", or "untrained ltr"."""
        tuning = dataclasses.replace(self.tuning, labels=labels or self.tuning.labels)

        def begin(seed: int) -> BERTPretraining:
            if start in KINDS:
                return pretraining.copied(self.pretrained(start), self.scale.length)
            kind = pretraining.LeftToRight if start.endswith("ltr") else BERT
            new = pretraining.new_bert(self.scale, self.tokenizer, seed + 1, kind)
            return BERTPretraining(new)

        def keep(name, function, settings):
            return self.lab.kept(name, function, (self.scale, settings))

        seeds = self.lab.scale.seeds
        return language.scores(keep, begin, self.tokenizer, task, start, tuning, seeds)


def above(a: list[float], b: list[float]) -> bool:
    """Whether the worst of ``a`` is above the best of ``b``."""
    return min(a) > max(b)


def table(found: Scores) -> list[tuple[str, ...]]:
    """A row for each way to learn, a column for each task."""
    ways = next(iter(found.values()))
    return [("", *found)] + [(way, *(spread(task[way]) for task in found.values())) for way in ways]


def draw(axes: Any, found: Scores) -> None:
    """A group of bars for each task."""
    ways = list(next(iter(found.values())))
    places, width = np.arange(len(found)), 0.8 / len(ways)
    for i, way in enumerate(ways):
        values = np.array([task[way] for task in found.values()])
        x = places + (i - (len(ways) - 1) / 2) * width
        error = values.std(axis=1, ddof=1)
        axes.bar(x, values.mean(axis=1), width, yerr=error, color=COLORS[i], label=way)
    axes.set_xticks(places, [name.replace(", ", "\n") for name in found])
    axes.set(ylabel="test score", ylim=(0, 1))
    axes.legend(frameon=False, fontsize=7)
