"""Where the first NaN or infinity of a step comes from: watch every op of the step run again."""

from __future__ import annotations

import numpy as np

from ..nn import Module
from ..tensor import Node, Observer, Tensor


class NonFiniteError(FloatingPointError):
    """A NaN or an infinity; the message names the step and the first op that made one."""


class FirstNonFinite(Observer):
    """``found`` tells where, among all values and then gradients, the first is not finite."""

    def __init__(self, model: Module):
        self.found = ""
        self.count = 0
        self.names = {id(x): name for name, x in model.named_tensors()}

    def forward(self, name: str, args: tuple, result: Tensor) -> None:
        self.count += 1
        if self.found or _finite(result):
            return
        inputs = [(i, x) for i, x in enumerate(args) if isinstance(x, Tensor | np.ndarray)]
        self.found = f"forward of op {name!r}, number {self.count} of the step, on {_shapes(args)}"
        for i, x in inputs:
            if not _finite(x):
                known = self.names.get(id(x))
                what = f"parameter {known}" if known else f"argument {i}, which no op made,"
                self.found += f"; {what} is not finite"

    def backward(self, node: Node, cotangent: np.ndarray) -> np.ndarray:
        if not self.found and not _finite(cotangent):
            self.found = f"the gradients, summed up, of what op {node.name!r} made"
        return cotangent

    def pulled(self, node: Node, gradients: list[np.ndarray | None]) -> None:
        if not self.found and not all(g is None or _finite(g) for g in gradients):
            self.found = f"backward of op {node.name!r}, on {_shapes(node.inputs)}"


def _finite(x: Tensor | np.ndarray) -> bool:
    return x.dtype.kind != "f" or bool(np.isfinite(np.asarray(x)).all())


def _shapes(values) -> str:
    return ", ".join(str(x.shape) for x in values if isinstance(x, Tensor | np.ndarray))
