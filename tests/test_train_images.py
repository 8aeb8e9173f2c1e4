"""Training on pictures: augmented batches, measures, rates by layer; and exact resume of it all."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

from minitx import ops
from minitx.data import Batches, compose, mixup, random_crop, random_flip
from minitx.nn import Linear, Module
from minitx.optim import EMA, AdamW, layerwise
from minitx.train import Trainer, evaluate, terminal

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 1, 4, 4), np.uint8)
LABELS = (IMAGES.reshape(30, -1).mean(axis=1) > 127).astype(np.int64)
STEPS = 11


class Classifier(Module):
    def __init__(self):
        rng = np.random.default_rng(1)
        self.blocks = [Linear(16, 8, rng, std=0.3, activation="gelu")]
        self.head = Linear(8, 2, rng, std=0.3)

    def forward(self, images):
        return self.head(self.blocks[0](images.reshape(len(images), -1)))

    def loss(self, images, targets):
        """targets: (B, 2) shares"""
        return -(targets * ops.log_softmax(self(images))).sum(axis=-1).mean()


class Run:
    def __init__(self, folder, **options):
        self.model = Classifier()
        optimizer = AdamW(self.model, 0.01, lr_scale=layerwise(self.model, 0.5))
        augment = compose(partial(random_crop, padding=1), random_flip)
        mix = partial(mixup, classes=2, alpha=0.4)
        self.batches = Batches(IMAGES, LABELS, 8, augment=augment, mix=mix)
        self.ema = EMA(optimizer, 0.9, warmup=True)
        settings = {
            "ema": self.ema,
            "validate": lambda: evaluate(self.model, self.batches.cover()),
            "validate_every": 4,
            "checkpoint": folder / "run.safetensors",
            "save_every": 3,
            "log": folder / "log.jsonl",
            "data": self.batches,
            "quiet": True,
        }
        self.trainer = Trainer(self.model, optimizer, self.batches.batch, **(settings | options))


def files(folder):
    return (folder / "run.safetensors").read_bytes(), (folder / "log.jsonl").read_bytes()


@pytest.mark.parametrize("stop", [1, 3, 4, 8])
def test_a_run_in_two_parts_ends_with_the_same_bytes(tmp_path, stop):
    options = {"validate": None, "validate_every": 0}  # which the end of a part would add to
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    Run(tmp_path / "whole", **options).trainer.run(STEPS)
    Run(tmp_path / "parts", **options).trainer.run(stop)
    second = Run(tmp_path / "parts", **options)
    second.trainer.resume()
    second.trainer.run(STEPS)
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_measures_are_logged_and_shown(tmp_path, capsys):
    told = []
    run = Run(tmp_path, quiet=False, on_validate=lambda step, loss: told.append((step, loss)))
    run.trainer.run(8)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    checks = [line for line in lines if "validation" in line]
    assert [line["step"] for line in checks] == [4, 8]
    assert told == [(line["step"], line["validation"]) for line in checks]
    with run.model.evaluating(), run.ema.applied():
        measures = evaluate(run.model, run.batches.cover())
    assert checks[-1]["validation"] == measures["loss"]
    assert checks[-1]["accuracy"] == measures["accuracy"]
    shown = f"validation loss {measures['loss']:.4f}   accuracy {measures['accuracy']:.4f}"
    assert shown in capsys.readouterr().err


def test_pictures_are_counted_and_not_their_pixels(tmp_path, capsys, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(terminal.time, "perf_counter", lambda: float(next(clock)))
    Run(tmp_path, quiet=False, validate=None, validate_every=0).trainer.run(8)  # two passes of 30
    assert f"{60 / 8:>9,.0f} images/s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({"accuracy": 1.0}, r"validate returned \['accuracy'\]; expected 'loss' as well"),
        ({"loss": 1.0, "lr": 2.0}, r"validate returned \['lr'\], which the log has of its own"),
    ],
)
def test_measures_that_do_not_fit(tmp_path, made, says):
    with pytest.raises(ValueError, match=f"Trainer: {says}"):
        Run(tmp_path, validate=lambda: made).trainer.run(1)


def test_evaluate_weighs_batches_by_their_size():
    model, batches = Classifier(), Batches(IMAGES, LABELS, 8)
    images, labels = next(Batches(IMAGES, LABELS, 30).cover())
    scores = model(images)
    measures = evaluate(model, batches.cover())
    expected = ops.cross_entropy(scores, labels).item()
    assert abs(measures["loss"] - expected) < 1e-6
    assert measures["accuracy"] == (scores.data.argmax(axis=1) == labels).mean()
    with pytest.raises(ValueError, match="evaluate: no examples"):
        evaluate(model, [])
