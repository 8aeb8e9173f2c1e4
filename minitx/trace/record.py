"""What is known of one tensor of a run."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..jit import use_kernels
from .place import Line
from .unfold import Unfolding


@dataclass(eq=False)
class Record:
    """One op that ran; or a leaf, whose ``op`` is "parameter" or "input".

    Arrays are the run's own, not copies; a parameter's value is what it holds now.
    """

    name: str  # dotted: module path, op, and from the second on a number
    op: str
    value: np.ndarray
    path: str = ""  # of the module, "" for the model itself
    stack: tuple[Line, ...] = ()  # lines of source that led to the op, the innermost first
    inputs: dict[int, str] = field(default_factory=dict)  # names by position among the arguments
    function: Callable | None = None  # the op, of arrays: returns its value and its pullback
    arguments: list = field(default_factory=list)  # all of them, tensors as arrays
    options: dict[str, Any] = field(default_factory=dict)
    saved: dict[str, Any] = field(default_factory=dict)  # what the pullback keeps, by its names
    differentiable: bool = True
    seconds: float = 0.0  # forward
    seconds_backward: float = 0.0
    grad: np.ndarray | None = None  # d(result) / d(value), all uses summed; None: none arrived
    calls: dict[str, int] = field(default_factory=dict)  # of each module around, which call of it

    @property
    def is_leaf(self) -> bool:
        return self.function is None

    @property
    def source(self) -> Line | None:
        """The line that called the op."""
        return self.stack[0] if self.stack else None

    @property
    def bytes(self) -> int:
        """What the node itself keeps in memory: its value, and saved arrays that no input holds."""
        inputs = [x for x in self.arguments if isinstance(x, np.ndarray)]
        kept: list[np.ndarray] = []
        for x in (self.value, *self.saved.values()):
            if isinstance(x, np.ndarray) and not any(
                np.may_share_memory(x, y) for y in (*inputs, *kept)
            ):
                kept.append(x)
        return sum(x.nbytes for x in kept)

    def run(self) -> tuple[np.ndarray, Callable]:
        """The op once more, on the same arguments and the same random draws: value, pullback."""
        if self.function is None:
            raise ValueError(f"{self.name}: a leaf is made by no op")
        arguments, options = fresh(self.arguments), fresh(self.options)
        return self.function(*arguments, **options)

    def unfold(self, cotangent: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """What the op's plain NumPy form computes on the way, by ``function.variable``.

        A fused kernel never stores these: of attention ``attend.scores``, ``attend.prob`` and, if a
        gradient arrived or a cotangent is given, ``dscores.dscores``.  {} where nothing is fused.
        """
        cotangent = self.grad if cotangent is None else cotangent
        with use_kernels("ref"), Unfolding() as seen:
            _, vjp = self.run()
            if cotangent is not None:
                for entry in vjp(cotangent):
                    if callable(entry):
                        entry()
        return seen.arrays

    def __repr__(self) -> str:
        grad = "no gradient" if self.grad is None else f"grad norm {np.linalg.norm(self.grad):.4g}"
        where = f", {self.source}" if self.source else ""
        return f"<{self.name}: {self.value.dtype}{self.value.shape}, {grad}{where}>"


def fresh(x: Any) -> Any:
    """Arguments whose Generators may be drawn from without a trace."""
    if isinstance(x, np.random.Generator):
        return copy.deepcopy(x)
    if isinstance(x, list):
        return [fresh(item) for item in x]
    return {name: fresh(item) for name, item in x.items()} if isinstance(x, dict) else x
