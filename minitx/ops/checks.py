"""Checks that several ops share; each names the op that it speaks for."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels import windows_of


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


def pair(name: str, field: str, value: Any, least: int = 1) -> tuple[int, int]:
    """A number for both axes, or (down, right).  Raises TypeError or ValueError on all else."""
    both = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(both) != 2 or not all(isinstance(x, int | np.integer) for x in both):
        raise TypeError(f"{name}: {field} is {value!r}; expected an integer or a pair of them")
    if min(both) < least:
        raise ValueError(f"{name}: {field} is {value!r}; expected at least {least}")
    return int(both[0]), int(both[1])


def check_image(name: str, x: np.ndarray) -> None:
    if np.ndim(x) != 4:
        raise ValueError(f"{name}: x has shape {np.shape(x)}; expected (B, C, H, W)")
    check_floating(name, x)


def check_windows(name: str, shape, kernel, stride, padding, dilation=1) -> tuple:
    """Kernel, stride, padding, dilation as pairs, of which one window fits (..., H, W) at least."""
    geometry = (
        pair(name, "kernel", kernel),
        pair(name, "stride", stride),
        pair(name, "padding", padding, least=0),
        pair(name, "dilation", dilation),
    )
    if min(windows_of(shape, *geometry)) < 1:
        kernel, _, padding, dilation = geometry
        raise ValueError(
            f"{name}: an image {tuple(shape[-2:])} with padding {padding} is too small for "
            f"a kernel {kernel} with dilation {dilation}"
        )
    return geometry
