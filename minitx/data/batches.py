"""Batches of labelled pictures: shuffled and varied to train on, in order to measure on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from .augment import Augmentation, scaled
from .shuffled import Shuffled
from .text import whole


class Batches:
    """`batch` draws from shuffled passes and varies, `cover` walks through once as it is.

    images: (N, ...), as they are stored, bytes or floats.  labels: (N,) integers.
    augment(images, rng): varies a batch as stored; see `minitx.data.augment`.
    prepare(images): what the model is to see, always, such as `normalize` with mean and std filled
        in; bytes become floats from 0 to 1 unless given.
    mix(images, labels, rng): comes last in training, as `mixup` does with `classes` filled in.

    A Trainer takes `batch` as its batches and the object itself as its data, and then resumes
    exactly in the middle of a pass.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        *,
        augment: Augmentation | None = None,
        prepare: Callable[[np.ndarray], np.ndarray] = scaled,
        mix: Callable[..., tuple[np.ndarray, np.ndarray]] | None = None,
    ):
        """Raises TypeError or ValueError unless there is a label for each image."""
        if len(images) != len(labels):
            raise ValueError(
                f"Batches: {len(images)} images came with {len(labels)} labels; give each one"
            )
        self.images, self.labels = images, labels
        self.augment, self.prepare, self.mix = augment, prepare, mix
        self.order = Shuffled(len(images), whole("Batches: batch_size", batch_size))

    def batch(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The next images and labels, or soft targets, of a pass; the last may be fewer."""
        rows = self.order.next(rng)
        images, labels = self.images[rows], self.labels[rows]
        if self.augment:
            images = self.augment(images, rng)
        images = self.prepare(images)
        return self.mix(images, labels, rng) if self.mix else (images, labels)

    def cover(self, limit: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All images and labels in order, not varied, or those of the first `limit` batches."""
        size, stop = self.order.batch_size, self.order.count
        if limit is not None:
            stop = min(stop, size * whole("Batches.cover: limit", limit))
        parts = (slice(i, min(i + size, stop)) for i in range(0, stop, size))
        return ((self.prepare(self.images[part]), self.labels[part]) for part in parts)

    def state(self) -> dict[str, Any]:
        """The position in the pass; plain integers, fit for JSON."""
        return self.order.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken.  Raises ValueError, and changes nothing, if it is none."""
        self.order.load_state(state)
