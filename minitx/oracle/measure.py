"""How far two arrays are apart, and where."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Difference:
    """Of an array of the port's from the one expected; numbers at the worst place are both told."""

    largest: float  # of |theirs - expected|; inf where only one of them is a number
    relative: float  # norm of the difference over the norm of what was expected
    cosine: float  # of the angle between the two
    ulp: float  # the largest, in units of the last place of the port's dtype
    tolerance: float  # what the largest may be
    index: tuple[int, ...]  # of the worst place
    theirs: float
    expected: float
    where: str  # the part that is off, "" for no particular one

    @property
    def agrees(self) -> bool:
        return self.largest <= self.tolerance

    def to_json(self) -> dict[str, Any]:
        told = {k: x if isinstance(x, str | tuple) else _finite(x) for k, x in asdict(self).items()}
        return told | {"agrees": self.agrees}


def difference(
    theirs: np.ndarray, expected: np.ndarray, tolerance: float, dtype: Any = np.float64
) -> Difference:
    """Of two arrays of one shape.  dtype: the one the port computed in, for the ulps.

    Equal infinities and two NaNs agree.
    """
    if not theirs.size:
        return Difference(0.0, 0.0, 1.0, 0.0, tolerance, (), 0.0, 0.0, "")
    with np.errstate(all="ignore"):
        apart = np.abs(theirs - expected)
        same = (theirs == expected) | (np.isnan(theirs) & np.isnan(expected))
        apart = np.where(same, 0.0, np.where(np.isfinite(apart), apart, np.inf))
        index = np.unravel_index(int(apart.argmax()), apart.shape)
        size = np.linalg.norm(expected)
        gone = np.linalg.norm(apart)
        product = size * np.linalg.norm(theirs)
        cosine = float((theirs * expected).sum() / product) if product else float(gone == 0)
        worst = float(apart[index])
        ulp = worst / float(np.spacing(np.abs(expected[index]).astype(dtype))) if worst else 0.0
    return Difference(
        largest=worst,
        relative=float(gone / size) if size else float(np.inf if gone else 0.0),
        cosine=cosine,
        ulp=ulp,
        tolerance=tolerance,
        index=tuple(int(i) for i in index),
        theirs=float(theirs[index]),
        expected=float(expected[index]),
        where=_where(apart > tolerance),
    )


def _where(wrong: np.ndarray) -> str:
    """The axes along which only some indices are wrong: "axis 1 at 0, axis 2 at 8..15"."""
    if not wrong.any():
        return ""
    told = []
    for axis, length in enumerate(wrong.shape):
        others = tuple(i for i in range(wrong.ndim) if i != axis)
        hit = np.flatnonzero(wrong.any(axis=others))
        if len(hit) < length:
            told.append(f"axis {axis} at {_ranges(hit)}")
    return ", ".join(told)


def _ranges(hit: np.ndarray) -> str:
    """Rising indices, runs joined, at most four."""
    runs = np.split(hit, np.flatnonzero(np.diff(hit) > 1) + 1)
    told = [f"{run[0]}" if len(run) == 1 else f"{run[0]}..{run[-1]}" for run in runs]
    return " ".join(told[:4]) + (f" and {len(told) - 4} more" if len(told) > 4 else "")


def _finite(x: float) -> float | str:
    return x if np.isfinite(x) else str(x)
