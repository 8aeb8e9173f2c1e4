"""MAE: masking much makes pre-training pay, and an encoder of visible patches makes it cheap.

He et al. 2021, figure 5 (mask ratio) and table 1c (mask tokens in the encoder).  After pre-training
without labels, the encoder is fine-tuned on a tenth of them.  Time is that of the processor.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from minitx.data import few_labels
from minitx.models.mae import MAE, MAEConfig
from minitx.models.vit import ViTConfig
from minitx.optim import AdamW
from minitx.threads import get_threads, set_threads

from ..autoencoder import autoencoder, finetuned, pretrain
from ..classifiers import build
from .lab import Lab, spread


def accuracy(lab: Lab, seed: int, ratio: int, in_encoder: bool = False) -> float:
    """Fine-tuned on a tenth of the labels.  ratio: per cent that was masked; 0: no pre-training."""

    def run() -> float:
        task = lab.task(max(lab.scale.sizes), seed)
        vit = build("vit", task, seed).config
        mae = autoencoder(vit, seed, ratio / 100 or 0.75, in_encoder)
        if ratio and not pretrain(mae, task, lab.scale.pretraining, seed, quiet=True):
            raise KeyboardInterrupt
        rows = few_labels(task.train[1], 0.1, seed)
        return finetuned(mae.encoder, task, rows, lab.scale.finetuning, seed)

    name = f"mae-{ratio}{'-tokens' if in_encoder else ''}-{seed}"
    return lab.measured(name, run, lab.scale.pretraining, lab.scale.finetuning)


def step_times(lab: Lab) -> list[list[float]]:
    """Seconds of CPU for a step, visible patches only and with mask tokens, in turns: (2, timed)

    The encoder has 6 layers, 192 wide, the decoder 2, 96 wide; 32 x 32 pixels, patches of 4, 75 %.
    On one thread: threads that wait for others would count as well.
    """
    threads = get_threads()
    set_threads(1)
    images = np.random.default_rng(0).standard_normal((32, 3, 32, 32), np.float32)
    encoder = ViTConfig(32, 4, 6, 3, 192, classes=0, positions="plane")
    pairs = []
    for in_encoder in (False, True):
        mae = MAE(MAEConfig(encoder, 2, 3, 96, mask_in_encoder=in_encoder))
        pairs.append((mae, AdamW(mae)))
    seconds: list[list[float]] = [[], []]
    for turn in range(1 + lab.scale.timed):
        for (mae, optimizer), taken in zip(pairs, seconds, strict=True):
            start = time.process_time()
            optimizer.zero_grad()
            mae.loss(images).backward()
            optimizer.step()
            if turn:  # the first one may compile
                taken.append(time.process_time() - start)
    set_threads(threads)
    return seconds


def measure(lab: Lab) -> dict[str, Any]:
    """accuracy: (ratios, seeds), after no pre-training first; tokens: (seeds,), at 75 %"""
    ratios = (0, *lab.scale.ratios)
    return {
        "ratios": ratios,
        "accuracy": [[accuracy(lab, seed, ratio) for seed in lab.seeds] for ratio in ratios],
        "tokens": [accuracy(lab, seed, 75, True) for seed in lab.seeds],
        "seconds": lab.measured("mae-seconds", lambda: step_times(lab), lab.scale.timed),
    }


def faster(found: dict[str, Any]) -> float:
    """How many times as long a step takes with mask tokens in the encoder."""
    visible, tokens = (np.median(x) for x in found["seconds"])
    return float(tokens / visible)


def holds(found: dict[str, Any]) -> bool:
    """At 75 % pre-training lifts every seed, mask tokens do not do better by more than they vary,
    and steps without them are at least twice as fast."""
    at = dict(zip(found["ratios"], map(np.array, found["accuracy"]), strict=True))
    tokens = np.array(found["tokens"])
    no_worse = tokens.mean() - at[75].mean() < tokens.std(ddof=1)
    return bool((at[75] > at[0]).all() and no_worse and faster(found) >= 2)


def table(found: dict[str, Any]) -> list[tuple[str, ...]]:
    visible, tokens = (f"{np.median(x) * 1e3:.0f} ms" for x in found["seconds"])
    rows = [("masked", *(f"{r} %" if r else "no pre-training" for r in found["ratios"]))]
    rows.append(("accuracy, a tenth of the labels", *map(spread, found["accuracy"])))
    rows.append(("at 75 %, mask tokens in the encoder", spread(found["tokens"])))
    rows.append(("a step, visible only / mask tokens", visible, tokens, f"x {faster(found):.2f}"))
    return rows


def draw(axes: Any, found: dict[str, Any]) -> None:
    values = np.array(found["accuracy"])
    mean, std = values.mean(axis=1), values.std(axis=1, ddof=1)
    ratios = found["ratios"]
    axes.errorbar(ratios[1:], mean[1:], std[1:], fmt="o-", color="#2f5aa8", label="pre-trained")
    axes.axhline(mean[0], color="#444444", label="no pre-training")
    axes.axhspan(mean[0] - std[0], mean[0] + std[0], color="#444444", alpha=0.15)
    tokens = found["tokens"]
    axes.errorbar(
        [75 + 3],
        np.mean(tokens),
        np.std(tokens, ddof=1),
        fmt="s",
        color="#c2571a",
        label=f"mask tokens in the encoder\n(a step takes {faster(found):.1f} times as long)",
    )
    axes.set(xlabel="masked, per cent", ylabel="test accuracy", ylim=(0, 1))
    axes.legend(frameon=False, fontsize=8)
