"""Cross-entropy: what is averaged, and over how many."""

from __future__ import annotations

import numpy as np

from .registry import entries, mistake


def _scaled(op, arguments, factor):
    value, vjp = op(*arguments)
    return value * factor, lambda dy: tuple(entries(vjp, dy * factor))


def _counted(targets, ignore_index):
    return max(1, int((targets != ignore_index).sum()))


def _mean_over(op, logits, targets, ignore_index, smoothing, reduction, count):
    if reduction != "mean":
        return None
    factor = _counted(targets, ignore_index) / count
    return _scaled(op, (logits, targets, ignore_index, smoothing, reduction), factor)


@mistake(
    "sum instead of mean",
    "cross_entropy",
    "the port adds up the losses of all tokens; it should be their mean",
)
def summed(op, logits, targets, *settings):
    return _mean_over(op, logits, targets, *settings, count=1)


@mistake(
    "mean over all tokens, not over those that count",
    "cross_entropy",
    "the port divides by the number of all targets; those with the ignored index do not count",
)
def over_all(op, logits, targets, *settings):
    if _counted(targets, settings[0]) == targets.size:
        return None
    return _mean_over(op, logits, targets, *settings, count=targets.size)


@mistake(
    "mean over the sequences only",
    "cross_entropy",
    "the port divides by the number of sequences; it should be the number of tokens that count",
)
def over_batch(op, logits, targets, *settings):
    return _mean_over(op, logits, targets, *settings, count=targets.shape[0])


@mistake(
    "mean of the sequences' means",
    "cross_entropy",
    "the port averages each sequence, then the sequences; it should average over all tokens",
)
def mean_of_means(op, logits, targets, ignore_index, smoothing, reduction):
    kept = targets != ignore_index
    if reduction != "mean" or targets.ndim < 2 or len(set(kept.sum(axis=-1).ravel())) == 1:
        return None
    value, vjp = op(logits, targets, ignore_index, smoothing, "none")
    weight = kept / np.maximum(1, kept.sum(axis=-1, keepdims=True)) / len(targets)
    return (value * weight).sum(), lambda dy: vjp(dy * weight)


@mistake(
    "ignored targets are scored",
    "cross_entropy",
    "the port scores targets with the ignored index, as class {other}",
    other=(0, -1),
)
def none_ignored(op, logits, targets, ignore_index, smoothing, reduction, other):
    if not (targets == ignore_index).any():
        return None
    scored = np.where(targets == ignore_index, other % logits.shape[-1], targets)
    return op(logits, scored, ignore_index, smoothing, reduction)


@mistake(
    "targets shifted by {by}",
    "cross_entropy",
    "the port scores each position against the target of another, {by} further on",
    by=(-1, 1),
)
def shifted(op, logits, targets, ignore_index, smoothing, reduction, by):
    return op(logits, np.roll(targets, -by, axis=-1), ignore_index, smoothing, reduction)


@mistake(
    "label smoothing left out",
    "cross_entropy",
    "the port does not smooth the labels",
)
def not_smoothed(op, logits, targets, ignore_index, smoothing, reduction):
    return op(logits, targets, ignore_index, 0.0, reduction) if smoothing else None


@mistake(
    "logarithm to base {base}",
    "cross_entropy",
    "the port's loss is in logarithms to base {base}; it should be nats",
    base=(2, 10),
)
def other_base(op, *arguments, base):
    return _scaled(op, arguments, 1 / np.log(base))


@mistake(
    "loss's gradient without the targets",
    "cross_entropy",
    "the port's gradient of the logits is softmax / N; the 1 at each target is not subtracted",
)
def without_targets(op, logits, targets, ignore_index, smoothing, reduction):
    value, _ = op(logits, targets, ignore_index, smoothing, reduction)
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    prob = e / e.sum(axis=-1, keepdims=True) * (targets != ignore_index)[..., None]
    count = _counted(targets, ignore_index) if reduction == "mean" else 1
    return value, lambda dy: (np.asarray(dy)[..., None] * prob / count,)
