"""A small run of everything that the training loop does, and ways to compare two of them."""

from __future__ import annotations

import json
import os
import signal

import numpy as np

from minitx.data import Shuffled
from minitx.models.gpt import GPT, GPTConfig
from minitx.nn import Linear, Module
from minitx.optim import EMA, SGD, AdamW, warmup_cosine
from minitx.train import Trainer

STEPS = 9
TEXTS = np.random.default_rng(0).integers(0, 13, (11, 6))


class Run:
    """All the objects of a run, new ones each time, as another process would make them."""

    def __init__(self, folder, *, width=16, sgd=False, ema=True, dtype=np.float32, **options):
        self.model = GPT(GPTConfig(13, 5, 1, 2, width, dropout=0.2), 1).astype(dtype)
        self.optimizer = (SGD if sgd else AdamW)(self.model, lr=0.01)
        self.ema = EMA(self.optimizer, 0.9) if ema else None
        self.order = Shuffled(len(TEXTS), 4)
        self.drawn = 0  # batches
        self.at = {}  # what happens when batch number n is drawn
        self.seen = []  # by validation
        settings = {
            "schedule": warmup_cosine(0.02, 2, STEPS),
            "accumulate": 2,
            "ema": self.ema,
            "seed": 3,
            "validate": self.validate,
            "validate_every": 4,
            "checkpoint": folder / "run.safetensors",
            "save_every": 3,
            "log": folder / "logs" / "run.jsonl",
            "data": self.order,
            "metadata": {"note": "tiny"},
            "quiet": True,
        }
        self.trainer = Trainer(self.model, self.optimizer, self.batch, **(settings | options))

    def batch(self, rng):
        self.drawn += 1
        rows = TEXTS[self.order.next(rng)]
        self.at.get(self.drawn, lambda: None)()
        rows = np.where(rng.random(rows.shape) < 0.1, 12, rows)
        return rows[:, :-1], rows[:, 1:]

    def validate(self):
        self.seen.append((self.trainer.step, self.model.training, self.optimizer.data.copy()))
        return self.model.loss(TEXTS[:, :-1], TEXTS[:, 1:]).item()

    def state(self):
        """Everything that decides the future, copied."""
        trainer = self.trainer
        arrays = {name: x.copy() for name, x in trainer._arrays().items()}
        rest = trainer.step, trainer.log.length, self.optimizer.steps, trainer._position()
        return arrays, json.dumps(rest)


def finished(folder):
    """A run that nothing stopped."""
    run = Run(folder)
    assert run.trainer.run(STEPS)
    run.folder = folder
    return run


def assert_same(one, two):
    assert one[1] == two[1]
    assert one[0].keys() == two[0].keys()
    for name, x in one[0].items():
        assert x.dtype == two[0][name].dtype and x.tobytes() == two[0][name].tobytes(), name


def files(folder):
    return (folder / "run.safetensors").read_bytes(), (folder / "logs" / "run.jsonl").read_bytes()


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


class Toy(Module):
    """Made so that each way to a NaN is one line."""

    def __init__(self, trouble):
        self.layer = Linear(2, 2, np.random.default_rng(0), std=1.0)
        self.trouble = trouble

    def loss(self, x, bad):
        y = self.layer(x)
        return (self.trouble(y, bad) if self.trouble else y).sum()
