"""Which examples train, validate and test: parted by where they come from, and checked."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

Parts = tuple[np.ndarray, np.ndarray, np.ndarray]  # indices: train, validation, test


def split_by_origin(origins: Sequence[Hashable], rng: np.random.Generator) -> Parts:
    """Part examples so that no origin is on two sides: sorted int64 indices.

    origins: one for each example, such as the module a text was found in.  Whole origins, in random
    order, test until they are a fifth of the examples, then validate until they are a tenth, and
    the others train.  Raises ValueError if none are left to train.
    """
    parts: list[list[int]] = [[]]
    wanted = [0.2, 0.1, 1.0]  # test, validate, train
    groups = list(_members(origins).values())
    for n in rng.permutation(len(groups)):
        if len(parts[-1]) >= wanted[len(parts) - 1] * len(origins):
            parts.append([])
        parts[-1] += groups[n]
    if len(parts) < 3:
        raise ValueError(
            f"split_by_origin: {len(origins)} examples from {len(groups)} origins leave one of "
            "train, validation and test empty; use more texts"
        )
    test, validation, train = (np.sort(np.array(part, np.int64)) for part in parts)
    return train, validation, test


def others_of_origin(
    origins: Sequence[Hashable], count: int, rng: np.random.Generator
) -> np.ndarray:
    """For each example ``count`` others of its origin, so that each is taken equally often.

    -> (N, count) indices.  The examples of an origin stand in a random circle, and each takes the
    next ones.  Raises ValueError if an origin has too few.
    """
    others = np.empty((len(origins), count), np.int64)
    for origin, group in _members(origins).items():
        if len(group) <= count:
            raise ValueError(
                f"others_of_origin: {origin!r} has {len(group)} examples, {count} others were "
                "asked for; leave it out"
            )
        circle = rng.permutation(group)
        for k in range(count):
            others[circle, k] = np.roll(circle, -k - 1)
    return others


def check_parts(who: str, count: int, parts: Sequence[np.ndarray], what: str = "text") -> None:
    """ValueError unless train, validation and test index ``count`` examples, none of them twice."""
    for name, part in zip(("train", "validation", "test"), parts, strict=True):
        check_range(who, name, part, count)
    index, times = np.unique(np.concatenate(parts), return_counts=True)
    if times.max() > 1:
        raise ValueError(
            f"{who}: {what} {index[times.argmax()]} is listed twice in train, validation "
            f"and test; list each {what} once"
        )


def check_range(who: str, name: str, values: Any, stop: int) -> None:
    """ValueError unless values are integers along one axis, not empty, in [0, stop)."""
    array = np.asarray(values)
    if array is not values or array.ndim != 1 or not array.size or array.dtype.kind not in "iu":
        raise ValueError(
            f"{who}: {name} must be a NumPy array of integers along one axis, not empty; "
            f"got {type(values).__name__} of shape {array.shape}, dtype {array.dtype}"
        )
    if values.min() < 0 or values.max() >= stop:
        raise ValueError(
            f"{who}: {name} must lie in [0, {stop}), got {values.min()} to {values.max()}"
        )


def _members(origins: Sequence[Hashable]) -> dict[Hashable, list[int]]:
    members: dict[Hashable, list[int]] = {}
    for i, origin in enumerate(origins):
        members.setdefault(origin, []).append(i)
    return members
