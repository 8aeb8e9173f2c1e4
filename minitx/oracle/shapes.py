"""What an array of the wrong shape may have been meant to be."""

from __future__ import annotations

import itertools

import numpy as np

MOST_AXES = 5  # whose orders are all tried


@np.errstate(all="ignore")
def misfit(theirs: np.ndarray, golden: np.ndarray, ours: np.ndarray) -> tuple[str, str]:
    """What is wrong, in words and in a sentence.  ours: from the port's inputs."""
    told = f"it has shape {theirs.shape}, expected {golden.shape}"
    if _layout(theirs, golden) or _layout(theirs, ours):
        return "transposed", f"{told}; with its axes in another order the numbers agree"
    extra = theirs.ndim - golden.ndim
    if extra > 0 and theirs.shape[extra:] == golden.shape:
        total = theirs.sum(axis=tuple(range(extra)))
        if _close(total, golden) or _close(total, ours):
            axes = "axis" if extra == 1 else f"{extra} axes"
            why = "the gradient of what was broadcast is yet to be summed (unbroadcast)"
            return "not summed", f"{told}; summed over its first {axes} it agrees: {why}"
    return "of another shape", told


def _layout(theirs: np.ndarray, expected: np.ndarray) -> bool:
    """The same numbers with the axes in another order."""
    if theirs.size != expected.size or theirs.ndim > MOST_AXES:
        return False
    orders = itertools.permutations(range(theirs.ndim))
    return any(_close(theirs.transpose(x).reshape(expected.shape), expected) for x in orders)


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    if a.shape != b.shape:
        return False
    size = float(np.abs(b).max(initial=0.0))
    return bool(np.abs(a - b).max(initial=0.0) <= 1e-4 * size)
