"""How far another program may be off: as far as ours in float32, ten times over; or as rounding."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

MARGIN, FLOOR, STRICT = 10, 1e-6, 1e-9


def tolerance(name: str, x: np.ndarray, y: np.ndarray | None, largest: float) -> float:
    """Ten times the largest error of ``y``, the float32 form of ``x``; 0 for what is no float.

    At least 1e-6 of x's largest number, or of 1e-6 of ``largest`` where that is more.  Raises
    ValueError if the two do not compare.
    """
    if y is None or y.shape != x.shape:
        raise ValueError(f"oracle: {name} comes out in float64 but not in float32")
    if x.dtype.kind != "f":
        if not np.array_equal(x, y):
            raise ValueError(f"oracle: {name}, {x.dtype}, is not the same in float32")
        return 0.0
    finite = np.isfinite(x)
    alike = np.array_equal(x[~finite], y[~finite], equal_nan=True)
    if not alike or not np.isfinite(y[finite]).all():
        raise ValueError(f"oracle: {name} is finite in one of float64 and float32 alone")
    error = np.abs(x[finite] - y[finite]).max(initial=0.0)
    return float(max(MARGIN * error, FLOOR * _size(x, largest)))


def strict(x: np.ndarray, largest: float) -> float:
    """What a program in float64 can be held to: 1e-9 of the same size, which is some rounding."""
    return (STRICT if x.dtype == np.float64 else FLOOR) * _size(x, largest)


def largest(arrays: Mapping[str, np.ndarray]) -> float:
    """The largest finite number among arrays of floats."""
    floats = [x[np.isfinite(x)] for x in arrays.values() if x.dtype.kind == "f"]
    return float(max((np.abs(x).max(initial=0.0) for x in floats), default=0.0))


def _size(x: np.ndarray, largest: float) -> float:
    return float(max(np.abs(x[np.isfinite(x)]).max(initial=0.0), FLOOR * largest))
