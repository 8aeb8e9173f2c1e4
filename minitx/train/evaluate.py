"""Measures of a classifier on held-out examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import ops
from ..observer import no_grad
from ..tensor import Tensor


def evaluate(
    logits: Callable[[Any], Tensor], batches: Iterable[tuple[Any, np.ndarray]]
) -> dict[str, float]:
    """Mean cross-entropy, in nats, and the share that is right: {"loss": ..., "accuracy": ...}.

    logits: of inputs, a model say, to (B, V).  batches: (inputs, (B,) integer labels), such as
    ``Batches.cover()``.  What a Trainer may validate with; elsewhere put it in a block of
    ``model.evaluating()``, for dropout is not touched here.  Raises ValueError without examples.
    """
    count, loss, right = 0, 0.0, 0
    for inputs, labels in batches:
        with no_grad():
            scores = logits(inputs)
            loss += ops.cross_entropy(scores, labels, reduction="sum").item()
        right += int((scores.data.argmax(axis=-1) == labels).sum())
        count += len(labels)
    if not count:
        raise ValueError("evaluate: no examples; expected at least one batch")
    return {"loss": loss / count, "accuracy": right / count}
