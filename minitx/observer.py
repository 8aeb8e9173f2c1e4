"""Whether ops are recorded, and what may look at them: one hook for every op and every pullback.

Tracing, finite differences, the hunt for the first NaN and replays all stand on it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .tensor import Node, Tensor


class Observer:
    """Sees, and may replace, every value and every cotangent; install one with ``observing``."""

    def run(self, function: Callable, arrays: list, options: dict[str, Any]) -> tuple:
        """An op is to run.  Returns its value and its pullback."""
        return function(*arrays, **options)

    def forward(self, name: str, args: tuple, result: Tensor) -> None:
        """An op ran, on ``args`` with the defaults filled in.  ``result.data`` may be replaced.

        ``result.node`` is None where no gradient is needed.
        """

    def backward(self, node: Node, cotangent: np.ndarray) -> np.ndarray:
        """A node's pullback is about to run.  Returns the cotangent to go on with."""
        return cotangent

    def pulled(self, node: Node, gradients: list[tuple[Node | Tensor, np.ndarray]]) -> None:
        """A node's pullback ran, and gave these to leaves and to the nodes that made its inputs."""


class _State(threading.local):
    recording = True
    freeing = False  # a backward runs, and no pullback will run again
    observer: Observer | None = None


STATE = _State()


@contextlib.contextmanager
def observing(observer: Observer) -> Iterator[Observer]:
    """Within the block, in this thread, let ``observer`` see every op and every pullback."""
    saved, STATE.observer = STATE.observer, observer
    try:
        yield observer
    finally:
        STATE.observer = saved


def observed() -> bool:
    """Whether an observer sees what this thread does."""
    return STATE.observer is not None


@contextlib.contextmanager
def freeing(whether: bool) -> Iterator[None]:
    """Within the block, in this thread, a backward runs; whether it frees what has run."""
    saved, STATE.freeing = STATE.freeing, whether
    try:
        yield
    finally:
        STATE.freeing = saved


def disposable(saved: np.ndarray) -> np.ndarray:
    """What a pullback has saved, and nobody else knows of, to be overwritten.

    A copy where the pullback may run again, or somebody looks on.
    """
    saved = np.asarray(saved)  # of a single number NumPy makes something that cannot be written to
    return saved if STATE.freeing and STATE.observer is None else saved.copy()


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Within the block, in this thread, ops record nothing."""
    saved, STATE.recording = STATE.recording, False
    try:
        yield
    finally:
        STATE.recording = saved
