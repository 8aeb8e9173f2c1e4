"""Attention probabilities as small pictures, a byte for each pair of a query and a key."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..trace import Record

SIDE = 128  # of a picture, at most
BUDGET = 4_000_000  # bytes of all pictures together


def probabilities(record: Record, examples: int) -> np.ndarray | None:
    """What heads attend to, (B, H, T, S) of the first ``examples``; None where there are none.

    Of attention, fused or not: the kernels' ``prob``, or the result of a softmax with four axes.
    """
    if record.op == "softmax" and record.value.ndim == 4:
        return record.value[:examples]
    if record.op not in ("attend", "self_attend") or record.value.size == 0:
        return None
    whole = record.value.shape[0]

    def first(x: Any) -> Any:
        batched = isinstance(x, np.ndarray) and x.ndim > 2 and x.shape[0] == whole
        return x[:examples] if batched else x

    arguments = [first(x) for x in record.arguments]
    options = {name: first(x) for name, x in record.options.items()}
    few = dataclasses.replace(record, arguments=arguments, options=options, grad=None)
    return few.unfold().get("attend.prob")


def reduced(prob: np.ndarray, side: int) -> np.ndarray:
    """At most ``side`` queries and keys; each is the largest of the neighbours it stands for."""
    for axis in (-2, -1):
        step = -(-prob.shape[axis] // side)
        if step > 1:
            starts = range(0, prob.shape[axis], step)
            prob = np.maximum.reduceat(prob, starts, axis=axis)
    return prob


def pictures(records: Iterable[Record], examples: int) -> dict[str, dict[str, Any]]:
    """Of each record that attends, its probabilities as the page draws them.

    A byte b stands for peak * (b / 255)^2, so that faint weights keep their digits.
    """
    small: dict[str, np.ndarray] = {}
    told: dict[str, dict[str, Any]] = {}
    for x in records:
        prob = probabilities(x, examples)
        if prob is not None and prob.size:
            small[x.name] = np.nan_to_num(reduced(prob, SIDE), nan=0.0, posinf=0.0, neginf=0.0)
            told[x.name] = {"queries": prob.shape[2], "keys": prob.shape[3]}
    side = SIDE
    while side > 16 and sum(x.size for x in small.values()) > BUDGET:
        side //= 2
        small = {name: reduced(prob, side) for name, prob in small.items()}
    for name, prob in small.items():
        told[name] |= _picture(prob)
    return told


def _picture(prob: np.ndarray) -> dict[str, Any]:
    peak = float(prob.max()) or 1.0
    data = np.rint(255 * np.sqrt(np.clip(prob / peak, 0, 1))).astype(np.uint8)
    examples, heads, rows, columns = data.shape
    shape = {"examples": examples, "heads": heads, "rows": rows, "columns": columns}
    return shape | {"peak": peak, "data": base64.b64encode(data.tobytes()).decode()}
