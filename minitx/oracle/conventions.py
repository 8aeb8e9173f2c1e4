"""What a port has to know beyond shapes, taken from the ops that ran and what they were given."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..trace import Record

_ATTEND = (
    "softmax(scale q k^T + bias) v; a masked key has weight exactly 0, a query that sees no key "
    "gives zeros; causal: query i sees keys up to i + S - T; window: and none at i + S - T - window"
    " or before (0: no such bound)"
)
# What is ambiguous about an op, by the op's name; an op that has nothing to choose is left out.
MEANING = {
    "attend": f"{_ATTEND}; q (B, H, T, D), k and v (B, H, S, D)",
    "self_attend": f"{_ATTEND}; x (B, T, 3 C) holds q, then k, then v, C columns each; head h owns "
    "columns h D to (h + 1) D of each, and of the result (B, T, C)",
    "batch_norm": "activation((x - mean) / sqrt(var + eps) * weight + bias + residual), eps inside "
    "the square root, over all axes but the second, biased variance",
    "conv2d": "images (B, C, H, W), weight (out, in, height, width), correlation (no flip)",
    "cross_entropy": "mean: the sum over targets other than ignore_index by their number",
    "dropout": "kept elements are scaled by 1 / (1 - p)",
    "embedding": "table[id], a row for each id",
    "gelu": "approximate 'none': x Phi(x), Phi by erf; 'tanh': "
    "x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))",
    "layer_norm": "(x - mean) / sqrt(var + eps) * weight + bias, eps inside the square root, over "
    "the last axis, biased variance",
    "linear": "activation(x W^T + b), weight W is (out, in); gelu: x Phi(x), Phi by erf; "
    "gelu_tanh: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))); silu: x sigmoid(x)",
    "linear_attend": "q (k^T v) / (q . sum of k + eps), sums over all keys; features (B, T, 2, m) "
    "holds q, then k; v (B, T, C)",
    "max": "equal maxima share the gradient",
    "maximum": "equal ones share the gradient",
    "minimum": "equal ones share the gradient",
    "relu": "gradient 0 at 0",
    "var": "the sum of squares by count - ddof",
}
ALWAYS = {
    "arrays": "little-endian, C order (last axis fastest)",
    "cotangents": "d loss / d value, all uses of the value summed; the loss's own is 1",
    "precision": "float64, by plain NumPy kernels",
    "tolerance": "ten times what the same model in float32 is off, at least 1e-6 of the tensor's "
    "largest number (of 1e-6 of its kind's largest, where that is more)",
}


def conventions(records: Iterable[Record]) -> dict[str, Any]:
    """Op -> what it means, and every value its settings took in the run."""
    seen: dict[str, dict[str, Any]] = {}
    for record in records:
        entry = seen.setdefault(record.op, {})
        if record.op in MEANING:
            entry["meaning"] = MEANING[record.op]
        for name, x in _settings(record).items():
            values = entry.setdefault(name, [])
            if x not in values:
                values.append(x)
    return {**ALWAYS, **{op: entry for op, entry in seen.items() if entry}}


def _settings(record: Record) -> dict[str, Any]:
    """The numbers, texts and switches that an op was given, by its parameters' names."""
    assert record.function is not None
    bound = inspect.signature(record.function).bind(*record.arguments, **record.options)
    bound.apply_defaults()
    given = {
        name: x.item() if isinstance(x, np.generic) else x
        for name, x in bound.arguments.items()
        if isinstance(x, bool | int | float | str | np.generic)
    }
    if record.op in ("attend", "self_attend"):
        q = bound.arguments["q" if record.op == "attend" else "qkv"]
        D = q.shape[3] if record.op == "attend" else q.shape[2] // (3 * given["heads"])
        given = {"head_width": D, **given}
        given.setdefault("scale", 1 / math.sqrt(D))
    return {name: str(x) if x in (math.inf, -math.inf) else x for name, x in given.items()}
