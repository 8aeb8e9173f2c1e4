"""Where the first NaN or infinity of a run comes from: watch every op of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..observer import observing
from ..tensor import Node, Tensor
from .place import Line
from .recorder import Placing


class FirstNonFinite(Placing):
    """``found`` tells where, among all values and then gradients, the first is not finite."""

    def __init__(self, model: Any = None):
        super().__init__(model)
        self.found = ""
        self.count = 0
        named = [] if model is None else model.named_tensors()
        self._names = {id(x): name for name, x in named}
        self._seen: dict[int, tuple[Node, str, list]] = {}  # where it stands, and its arguments

    def forward(self, name: str, args: tuple, result: Tensor) -> None:
        self.count += 1
        if self.found:
            return
        known, _, stack = self.place(name)
        where = _where(known, stack)
        kinds = Tensor | np.ndarray
        arrays = [(f"argument {i}", x) for i, x in enumerate(args) if isinstance(x, kinds)]
        if result.node is not None:
            self._seen[id(result.node)] = result.node, where, arrays
        if _finite(result):
            return
        self.found = f"forward of op {name!r}, number {self.count} of the step, on {_shapes(args)}"
        for argument, x in arrays:
            if not _finite(x):
                parameter = self._names.get(id(x))
                what = f"parameter {parameter}" if parameter else f"{argument}, which no op made,"
                self.found += f"; {what} is not finite"
        self.found += where + _told(arrays)

    def backward(self, node: Node, cotangent: np.ndarray) -> np.ndarray:
        if not self.found and not _finite(cotangent):
            made = f"the gradients, summed up, of what op {node.name!r} made"
            self.found = made + self._about(node)[0] + _told([("their sum", cotangent)])
        self._cotangent = cotangent
        return cotangent

    def pulled(self, node: Node, gradients: list[tuple[Node | Tensor, np.ndarray]]) -> None:
        if not self.found and not all(_finite(gradient) for _, gradient in gradients):
            where, arrays = self._about(node)
            on = f", on {_shapes(x for _, x in arrays)}" if arrays else ""
            self.found = f"backward of op {node.name!r}{on}"
            self.found += where + _told([*arrays, ("cotangent", self._cotangent)])
        self._seen.pop(id(node), None)  # a step needs no more memory than without us

    def _about(self, node: Node) -> tuple[str, list]:
        """Where it stands, and its arguments, if it ran before our eyes."""
        return self._seen.get(id(node), (node, "", []))[1:]


def explain_nan(function: Callable, *inputs: Any, model: Any = None) -> str:
    """Run ``function(*inputs)`` and its backward; tell where the first non-finite number arises.

        print(explain_nan(model.loss, ids, targets))

    Says whether forward or backward, which op, its module, the line of source, and what its inputs
    were like; "" if all is finite.  Gradients are left as they were.  model: whose names to use,
    unless ``function`` is a Module or a method of one.
    """
    owners = model, function, getattr(function, "__self__", None)
    model = next((x for x in owners if hasattr(x, "named_modules")), None)
    hunter = FirstNonFinite(model)
    leaves = [] if model is None else [(x, x.grad) for _, x in model.named_tensors()]
    try:
        for x, _ in leaves:
            x.grad = None
        with observing(hunter), np.errstate(all="ignore"):
            result = function(*inputs)
            if isinstance(result, Tensor) and result.requires_grad and not hunter.found:
                result.backward(np.ones(result.shape))
    finally:
        for x, grad in leaves:
            x.grad = grad
    return hunter.found


def _where(name: str, stack: tuple[Line, ...]) -> str:
    lines = [f"\n    {line}: {line.text}" for line in stack]
    return f"\n  at {name}" + "".join(lines)


def _told(arrays: list[tuple[str, Any]]) -> str:
    return "".join(f"\n  {name}: {_statistics(np.asarray(x))}" for name, x in arrays)


def _statistics(x: np.ndarray) -> str:
    if not x.size or x.dtype.kind not in "fiu":
        return f"{x.dtype}{x.shape}"
    text = f"{x.dtype}{x.shape}"
    finite = x[np.isfinite(x)]
    if finite.size:
        text += (
            f", {finite.min():.4g} to {finite.max():.4g}, smallest size {np.abs(finite).min():.4g}"
        )
    for count, what in ((int(np.isnan(x).sum()), "NaN"), (int(np.isinf(x).sum()), "infinite")):
        if count:
            text += f", {count} of {x.size} {what}"
    return text


def _finite(x: Tensor | np.ndarray) -> bool:
    return x.dtype.kind != "f" or bool(np.isfinite(np.asarray(x)).all())


def _shapes(values: Any) -> str:
    return ", ".join(str(x.shape) for x in values if isinstance(x, Tensor | np.ndarray))
