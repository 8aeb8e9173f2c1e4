"""Arrays in few numbers: statistics, a histogram, and names for shapes."""

from __future__ import annotations

import math
import reprlib
from typing import Any

import numpy as np

BINS = 32
CHUNK = 1 << 20  # elements looked at together, so that a large table is never copied whole


def rounded(x: Any, digits: int = 4) -> Any:
    """A number as JSON can hold it: not finite ones become "nan", "inf" and "-inf"."""
    x = float(x)
    return float(f"{x:.{digits}g}") if math.isfinite(x) else str(x)


def describe(x: Any) -> str:
    """ "float32 2 × 128 × 64" of an array; a short repr of anything else."""
    if isinstance(x, np.ndarray) and x.ndim:
        return f"{x.dtype} {shape(x)}"
    if isinstance(x, tuple):
        return f"({', '.join(map(describe, x))})"
    return reprlib.repr(x.item() if isinstance(x, np.ndarray | np.generic) else x)


def shape(x: np.ndarray) -> str:
    return " × ".join(map(str, x.shape)) or "scalar"


@np.errstate(over="ignore", invalid="ignore")
def statistics(x: np.ndarray) -> dict[str, Any]:
    """Norm, mean, standard deviation, extremes, zeros, what is not finite, and a histogram.

    All but the counts of NaN and infinities are of the finite elements; in float64.
    """
    chunks = [np.ravel(x)[i : i + CHUNK] for i in range(0, x.size, CHUNK)]
    nan = infinite = zeros = count = 0
    total = squares = 0.0
    low, high = math.inf, -math.inf
    for i, chunk in enumerate(chunks):
        chunk = chunk.astype(np.float64)
        if not np.isfinite(chunk).all():
            nan += int(np.isnan(chunk).sum())
            infinite += int(np.isinf(chunk).sum())
            chunks[i] = chunk = chunk[np.isfinite(chunk)]
        if chunk.size:
            count, zeros = count + chunk.size, zeros + chunk.size - np.count_nonzero(chunk)
            total, squares = total + chunk.sum(), squares + chunk @ chunk
            low, high = min(low, chunk.min()), max(high, chunk.max())
    told: dict[str, Any] = {"size": x.size}
    if nan:
        told["nan"] = nan
    if infinite:
        told["inf"] = infinite
    if not count:
        return told
    mean = total / count
    spread = sum(float(np.square(chunk - mean).sum(dtype=np.float64)) for chunk in chunks)
    told |= {"norm": rounded(math.sqrt(squares)), "mean": rounded(mean)}
    told |= {"std": rounded(math.sqrt(spread / count)), "min": rounded(low), "max": rounded(high)}
    told["zeros"] = rounded(zeros / count)
    if high > low and math.isfinite(high - low):
        told["bins"] = histogram(chunks, float(low), float(high))
    return told


def histogram(chunks: list[np.ndarray], low: float, high: float) -> list[int]:
    """How many elements fall into each of BINS equal parts of low..high."""
    counts = np.zeros(BINS, np.int64)
    for chunk in chunks:
        place = (chunk.astype(np.float64) - low) * (BINS / (high - low))
        counts += np.bincount(np.minimum(place.astype(np.int64), BINS - 1), minlength=BINS)
    return counts.tolist()
