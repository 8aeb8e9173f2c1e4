"""Choosing the next token from its logits."""

from __future__ import annotations

import numpy as np


def check_sampling(temperature: float, top_k: int, top_p: float) -> None:
    """Raises ValueError outside temperature >= 0, top_k >= 0, 0 < top_p <= 1."""
    if not (temperature >= 0 and top_k >= 0 and 0 < top_p <= 1):
        raise ValueError(
            f"sample: temperature {temperature}, top_k {top_k}, top_p {top_p}; "
            "expected temperature >= 0, top_k >= 0 and 0 < top_p <= 1"
        )


def sample(
    logits: np.ndarray,
    rng: np.random.Generator,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> np.ndarray:
    """One token id per row, from one number drawn per row.  logits: (B, V) -> (B,) int64

    temperature: divides the logits; 0 takes the most likely token and draws nothing.  top_k: choose
    among the k most likely (Fan et al. 2018), 0 for all.  top_p: then among the fewest of these
    whose probabilities reach p (Holtzman et al. 2020).  Of equally likely tokens the lower ids come
    first.  Raises ValueError outside temperature >= 0, top_k >= 0, 0 < top_p <= 1, on logits that
    have other axes, and on logits that are not finite.
    """
    check_sampling(temperature, top_k, top_p)
    if logits.ndim != 2 or logits.shape[1] == 0:
        raise ValueError(f"sample: logits have shape {logits.shape}; expected (B, V), V >= 1")
    if not np.isfinite(logits).all():
        raise ValueError("sample: the logits are not finite; has the model diverged?")
    if temperature == 0:
        return logits.argmax(axis=-1)
    order = np.argsort(-logits, axis=-1, kind="stable")  # most likely first
    scores = np.take_along_axis(logits.astype(np.float64), order, axis=-1)
    with np.errstate(over="ignore"):  # at low temperatures: to -inf, with probability 0
        prob = np.exp((scores - scores[:, :1]) / temperature)
    if top_k:
        prob[:, top_k:] = 0
    reached = prob.cumsum(axis=-1)
    if top_p < 1:
        prob[:, 1:][reached[:, :-1] >= top_p * reached[:, -1:]] = 0
        reached = prob.cumsum(axis=-1)
    draws = rng.random((len(logits), 1)) * reached[:, -1:]
    ranks = (reached <= draws).sum(axis=-1, keepdims=True)
    last = (prob > 0).sum(axis=-1, keepdims=True) - 1  # rounding must not lead beyond it
    return np.take_along_axis(order, np.minimum(ranks, last), axis=-1)[:, 0]
