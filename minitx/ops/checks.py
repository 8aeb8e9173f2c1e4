"""Checks that several ops share; each names the op that it speaks for."""

from __future__ import annotations

import numpy as np


def check_floating(name: str, *arrays: np.ndarray | None) -> None:
    """Raises TypeError if one is of integers, for which the kernels would round every result."""
    for x in arrays:
        if x is not None and np.asarray(x).dtype.char not in "fd":  # its name takes microseconds
            expected = "expected float32 or float64"
            raise TypeError(f"{name}: an array has dtype {np.asarray(x).dtype}; {expected}")


def check_probability(name: str, p: float) -> None:
    if not 0 <= p < 1:
        raise ValueError(f"{name}: dropout probability is {p}; expected 0 <= p < 1")


def draw_key(name: str, rng: np.random.Generator) -> np.uint64:
    """The 64 bits from which a whole dropout mask follows."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"{name}: rng is {rng!r}; expected a numpy.random.Generator")
    return rng.integers(0, 2**64, dtype=np.uint64)
