"""Choosing the next token from its logits."""

from __future__ import annotations

import numpy as np


def sample(
    logits: np.ndarray,
    rng: np.random.Generator,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> np.ndarray:
    """One token id per row.  logits: (B, V) -> (B,) int64

    temperature: divides the logits; 0 takes the most likely token.  top_k: choose among the k most
    likely (Fan et al. 2018), 0 for all.  top_p: among the fewest whose probabilities reach p
    (Holtzman et al. 2020). Raises ValueError outside temperature >= 0, top_k >= 0, 0 < top_p <= 1,
    and on logits that are not finite.
    """
    if not (temperature >= 0 and top_k >= 0 and 0 < top_p <= 1):
        raise ValueError(
            f"sample: temperature {temperature}, top_k {top_k}, top_p {top_p}; "
            "expected temperature >= 0, top_k >= 0 and 0 < top_p <= 1"
        )
    if not np.isfinite(logits).all():
        raise ValueError("sample: the logits are not finite; has the model diverged?")
    if temperature == 0:
        return logits.argmax(axis=-1)
    B, V = logits.shape
    order = np.argsort(-logits, axis=-1, kind="stable")  # most likely first
    scores = np.take_along_axis(logits.astype(np.float64), order, axis=-1) / temperature
    prob = np.exp(scores - scores[:, :1])
    if top_k:
        prob[:, top_k:] = 0
    prob /= prob.sum(axis=-1, keepdims=True)
    before = prob.cumsum(axis=-1) - prob
    prob[before >= top_p] = 0
    draws = rng.random((B, 1)) * prob.sum(axis=-1, keepdims=True)
    ranks = (prob.cumsum(axis=-1) <= draws).sum(axis=-1)
    return order[np.arange(B), np.minimum(ranks, (prob > 0).sum(axis=-1) - 1)]
