"""Losses."""

from __future__ import annotations

import numpy as np

from .. import kernels
from ..tensor import Tensor, op
from .arithmetic import multiply, negative
from .checks import check_floating
from .reduce import mean, sum
from .softmax import log_softmax


@op
def cross_entropy(logits, targets, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    """-log p(target), p = softmax(logits), over targets that are not ``ignore_index``.

    logits: (..., V), targets: (...) integers.  label_smoothing: the share of probability spread
    evenly over all classes (Szegedy et al. 2016, section 7).  reduction: "mean" over the targets
    that count (0 if none does), "sum", or "none", (...).
    Raises ValueError on shapes that do not fit, TypeError on targets that are not integers,
    IndexError on a target outside [0, V).
    """
    targets = np.asarray(targets)
    V = logits.shape[-1] if logits.ndim else 0
    if logits.shape[:-1] != targets.shape or V == 0:
        shapes = f"logits {logits.shape}, targets {targets.shape}"
        raise ValueError(f"cross_entropy: {shapes}; expected (..., V), (...)")
    if targets.dtype.kind not in "iu":
        raise TypeError(f"cross_entropy: targets have dtype {targets.dtype}; expected integers")
    if reduction not in ("mean", "sum", "none"):
        known = "expected 'mean', 'sum' or 'none'"
        raise ValueError(f"cross_entropy: reduction is {reduction!r}; {known}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing is {label_smoothing}; expected 0 to 1")
    check_floating("cross_entropy", logits)
    kept = targets != ignore_index
    outside = kept & ((targets < 0) | (targets >= V))
    if outside.any():
        wrong = targets[outside][0]
        raise IndexError(f"cross_entropy: target {wrong} is outside [0, {V}), the logits' classes")
    rows, ids = logits.reshape(-1, V), targets.reshape(-1).astype(np.int64)
    smoothing = float(label_smoothing)
    losses, lse = kernels.cross_entropy(rows, ids, ignore_index, smoothing)
    count = rows.dtype.type(max(1, int(kept.sum())) if reduction == "mean" else 1)

    def vjp(dy):
        dlosses = np.broadcast_to(dy / count, targets.shape).reshape(-1)
        dlogits = kernels.cross_entropy_vjp(dlosses, rows, ids, lse, ignore_index, smoothing)
        return (dlogits.reshape(logits.shape),)

    return losses.reshape(targets.shape) if reduction == "none" else losses.sum() / count, vjp


def soft_cross_entropy(logits, targets, label_smoothing=0.0) -> Tensor:
    """Mean of -sum(targets * log p), p = softmax(logits), for targets that are probabilities.

    logits, targets: (..., V); mixup's targets, for instance (Zhang et al. 2018).  label_smoothing:
    the share of probability spread evenly over all classes.  Raises ValueError on other shapes.
    """
    if np.shape(logits) != np.shape(targets) or not np.ndim(logits):
        shapes = f"logits {np.shape(logits)}, targets {np.shape(targets)}"
        raise ValueError(f"soft_cross_entropy: {shapes}; expected (..., V) twice")
    if not 0 <= label_smoothing <= 1:
        told = f"label_smoothing is {label_smoothing}; expected 0 to 1"
        raise ValueError(f"soft_cross_entropy: {told}")
    wanted = targets * (1 - label_smoothing) + label_smoothing / logits.shape[-1]
    return negative(mean(sum(multiply(wanted, log_softmax(logits)), axis=-1)))
