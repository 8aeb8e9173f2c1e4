"""What the demos of MAE share: pre-training, then fine-tuning and a linear probe on few labels.

``task`` is a Task of classifiers.py.  The optimizer's settings are those of MAE's appendix A except
for the learning rates; encoders, whether pre-trained or not, are treated alike.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from minitx.data import Batches
from minitx.models.mae import MAE, LinearProbe, MAEConfig
from minitx.models.vit import ViT, ViTConfig
from minitx.nn import Module
from minitx.optim import AdamW, warmup_cosine
from minitx.train import Trainer


def autoencoder(vit: ViTConfig, seed: int, ratio: float = 0.75, in_encoder: bool = False) -> MAE:
    """A small MAE whose encoder is a ViT of ``vit``, with fixed positions and without a head.

    in_encoder: the encoder runs on mask tokens as well, as it should not.
    """
    encoder = dataclasses.replace(vit, classes=0, positions="plane")
    return MAE(MAEConfig(encoder, 2, 2, 24, mask_ratio=ratio, mask_in_encoder=in_encoder), seed)


def fit(
    model: Module,
    batches: Batches,
    lr: float,
    steps: int,
    seed: int,
    resume: bool = False,
    **options: Any,
) -> bool:
    """Train with a warm-up and half a cosine.  False if Ctrl-C came first."""
    trainer = Trainer(
        model,
        AdamW(model, lr, betas=(0.9, 0.95), weight_decay=0.05),
        batches.batch,
        schedule=warmup_cosine(lr, min(50, steps // 4), steps, lr / 100),
        seed=seed,
        data=batches,
        **options,
    )
    if resume:
        trainer.resume()
        print(f"resumed at step {trainer.step}")
    return trainer.run(steps)


def pretrain(mae: MAE, task: Any, steps: int, seed: int, batch: int = 64, **options: Any) -> bool:
    """Train on images alone.  False if Ctrl-C came first."""
    batches = task.batches(batch)
    return fit(mae, batches, 2e-3, steps, seed, loss=lambda images, _: mae.loss(images), **options)


def finetuned(encoder: ViT, task: Any, rows: np.ndarray, steps: int, seed: int) -> float:
    """Test accuracy after training all of a copy on the labels at ``rows``."""
    model = encoder.adapted(seed, classes=task.classes)
    images, labels = (x[rows] for x in task.train)
    batches = Batches(images, labels, 32, augment=task.augment, prepare=task.prepare)
    if not fit(model, batches, 1e-3, steps, seed, quiet=True):
        raise KeyboardInterrupt
    return task.accuracy(model)


def probed(encoder: ViT, task: Any, rows: np.ndarray, steps: int, seed: int) -> float:
    """Test accuracy of a linear classifier of the encoder's features, on the labels at ``rows``."""
    with encoder.evaluating():
        train, test = (
            np.concatenate([encoder.features(x).data for x, _ in Batches(*part).cover()])
            for part in (
                (task.prepare(task.train[0][rows]), task.train[1][rows], 200),
                (task.prepare(task.test[0]), task.test[1], 200),
            )
        )
    probe = LinearProbe(train.shape[1], task.classes, seed)
    batches = Batches(train, task.train[1][rows], 64, prepare=np.asarray)
    if not fit(probe, batches, 1e-2, steps, seed, quiet=True):
        raise KeyboardInterrupt
    return float((probe.predict(test) == task.test[1]).mean())
