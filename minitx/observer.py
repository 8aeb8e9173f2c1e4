"""What may look at a run, and change it: one hook for every op and every pullback.

Tracing, finite differences, the hunt for the first NaN and replays all stand on it.
"""

from __future__ import annotations

from collections.abc import Callable
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
