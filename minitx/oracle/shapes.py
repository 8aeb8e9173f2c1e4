"""What an array of the wrong shape may have been meant to be."""

from __future__ import annotations

import itertools

import numpy as np

from .replay import Part


def misfit(
    theirs: np.ndarray, golden: np.ndarray, ours: np.ndarray | None, parts: list[Part]
) -> str:
    """One sentence: the two shapes, and what would make one of the other."""
    told = f"has shape {theirs.shape}, expected {golden.shape}"
    targets = [golden] if ours is None else [golden, ours]
    for axes in itertools.permutations(range(theirs.ndim)) if theirs.ndim <= 5 else ():
        moved = theirs.transpose(axes)
        for flat in (moved, moved.reshape(golden.shape) if moved.size == golden.size else moved):
            if any(_close(flat, x) for x in targets):
                how = "transposed" if theirs.ndim == 2 else f"with its axes in the order {axes}"
                return f"{told}: it agrees {how}; the layout is another"
    extra = theirs.ndim - golden.ndim
    if extra > 0 and theirs.shape[extra:] == golden.shape:
        summed = theirs.sum(axis=tuple(range(extra)))
        if any(_close(summed, x) for x in targets):
            return (
                f"{told}: summed over its first {_axes(extra)} it agrees; "
                f"the gradient of what was broadcast is yet to be summed (unbroadcast)"
            )
    if theirs.size == golden.size and theirs.ndim == golden.ndim:
        return f"{told}: the axes are in another order, and the numbers do not agree in any"
    return told


def _axes(count: int) -> str:
    return "axis" if count == 1 else f"{count} axes"


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    if a.shape != b.shape:
        return False
    size = float(np.abs(b).max(initial=0.0))
    return bool(np.abs(a - b).max(initial=0.0) <= 1e-4 * size)
