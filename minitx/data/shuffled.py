"""Passes over examples in random order, resumable in the middle of a pass."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .text import check_generator, whole


class Shuffled:
    """Passes over `count` examples in a fresh random order each, `batch_size` at a time.

    A pass gives every index once; its last batch may be smaller.  The order of a pass follows
    from one number drawn at its start, so the state is a handful of integers, and a run resumes
    exactly in the middle of a pass.
    """

    def __init__(self, count: int, batch_size: int):
        """Raises TypeError or ValueError unless both are whole numbers of at least 1."""
        self.count = whole("Shuffled: count", count)
        self.batch_size = whole("Shuffled: batch_size", batch_size)
        self.epoch = 0  # finished passes
        self.position = 0  # indices given out in this pass; at 0 the next one begins
        self.seed = 0  # of this pass
        self._order = np.empty(0, np.int64)  # (count,) once a pass has begun

    def next(self, rng: np.random.Generator) -> np.ndarray:
        """The next indices, (B,) int64; draws from `rng` only where a pass begins."""
        check_generator("Shuffled.next", rng)
        if self.position == 0:
            self.seed = int(rng.integers(2**32))
            self._order = self._shuffle()
        batch = self._order[self.position : self.position + self.batch_size]
        self.position += len(batch)
        if self.position == self.count:
            self.position = 0
            self.epoch += 1
        return batch

    def state(self) -> dict[str, int]:
        """What `load_state` needs to go on from here; plain integers, fit for JSON."""
        return {
            "count": self.count,
            "batch_size": self.batch_size,
            "epoch": self.epoch,
            "position": self.position,
            "seed": self.seed,
        }

    def load_state(self, state: Mapping[str, int]) -> None:
        """Go on where `state` was taken; the caller restores `rng`, which draws later passes.

        Raises ValueError, and changes nothing, if it is not a state of such an object.
        """
        ranges = {
            "count": (self.count, self.count),
            "batch_size": (self.batch_size, self.batch_size),
            "epoch": (0, 2**63 - 1),
            "position": (0, self.count - 1),
            "seed": (0, 2**32 - 1),
        }
        if not isinstance(state, Mapping) or set(state) != set(ranges):
            came = list(state) if isinstance(state, Mapping) else type(state).__name__
            raise ValueError(
                f"Shuffled.load_state: expected a dict with the fields {list(ranges)}, got "
                f"{came}; pass what state() returned"
            )
        for field, (low, high) in ranges.items():
            value = state[field]
            if type(value) is not int or not low <= value <= high:
                expected = f"from {low} to {high}" if low < high else str(low)
                raise ValueError(
                    f"Shuffled.load_state: {field} must be {expected} here, got {value!r}; "
                    "resume with the data and the batch size of the run that saved it"
                )
        if state["position"] % self.batch_size:
            raise ValueError(
                f"Shuffled.load_state: position must be a multiple of batch_size "
                f"{self.batch_size}, got {state['position']}; the state is damaged"
            )
        self.epoch = state["epoch"]
        self.position = state["position"]
        self.seed = state["seed"]
        self._order = self._shuffle()

    def _shuffle(self) -> np.ndarray:
        return np.random.default_rng(self.seed).permutation(self.count)
