"""``trace``: record every op of a run, under a name that stays the same from run to run."""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
import time
from collections import Counter
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import numpy as np

from ..observer import Observer, observing
from ..tensor import Node, Tensor
from .place import Line, here, modules_of
from .record import Record, fresh
from .table import table


class Placing(Observer):
    """Gives each op that runs its name: the module's path, the op, a number from the second on."""

    def __init__(self, model: Any = None):
        self.modules = modules_of(model)
        self.counts: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()  # of each module
        self._entered: dict[str, FrameType] = {}  # kept, so that a later frame is another one

    def place(self, op: str) -> tuple[str, str, tuple[Line, ...]]:
        """(name, module path, lines of source) of the op that has just run."""
        path, stack, entered = here(self.modules)
        self.calls.update(x for x in entered if entered[x] is not self._entered.get(x))
        self._entered = entered
        name = f"{path}.{op}" if path else op
        self.counts[name] += 1
        return name if self.counts[name] == 1 else f"{name}_{self.counts[name]}", path, stack


class Trace(Placing):
    """The record of a run: ``with trace(model) as t: model.loss(x, y).backward()``.

        t["blocks.2.attention.self_attend"].grad     one op's result
        t["blocks.2.attention"].grad                 a module's: the last op that ran in it
        t["tokens.weight"].grad                      a parameter's, from this run alone
        t["blocks.*.attention.self_attend"]          a pattern: a list, in order of execution
        print(t.table())

    ``nodes`` and ``leaves`` are dicts of Records by name, in order of execution.  Recording changes
    no bit of the results.  It keeps every value and every gradient in memory, and holds what
    ``no_grad`` computes too.
    """

    def __init__(self, model: Any = None):
        super().__init__(model)
        self.model = model
        self.nodes: dict[str, Record] = {}
        self.leaves: dict[str, Record] = {}
        named = [] if model is None else model.named_tensors()
        self._names = {id(x): name for name, x in named}
        self._records: dict[int, tuple[Any, Record]] = {}  # by a tensor's or node's identity
        self._running: tuple = ()
        self._began = 0.0
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Trace:
        self._open.enter_context(observing(self))
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.close()
        self._entered = {}
        self._records.clear()  # the names of a later run must not depend on identities of this one

    # ---- what the engine tells ----

    def run(self, function: Callable, arrays: list, options: dict[str, Any]) -> tuple:
        arguments, kept = fresh(arrays), fresh(options)
        began = time.perf_counter()
        value, vjp = function(*arrays, **options)
        self._running = function, arguments, kept, vjp, time.perf_counter() - began
        return value, vjp

    def forward(self, name: str, args: tuple, result: Tensor) -> None:
        function, arguments, options, vjp, seconds = self._running
        inputs = {i: self._name(x) for i, x in enumerate(args) if isinstance(x, Tensor)}
        known, path, stack = self.place(name)
        record = Record(known, name, result.data, path, stack, inputs, function, arguments, options)
        record.calls = {module: self.calls[module] for module in self._entered}
        record.differentiable = result.node is not None
        record.saved = _closure(vjp) if record.differentiable else {}
        record.seconds = seconds
        self.nodes[known] = record
        self._records[id(result)] = result, record
        if result.node is not None:
            self._records[id(result.node)] = result.node, record

    def backward(self, node: Node, cotangent: np.ndarray) -> np.ndarray:
        if known := self._records.get(id(node)):
            _add(known[1], cotangent)
        self._began = time.perf_counter()
        return cotangent

    def pulled(self, node: Node, gradients: list[tuple[Node | Tensor, np.ndarray]]) -> None:
        if known := self._records.get(id(node)):
            known[1].seconds_backward += time.perf_counter() - self._began
        for x, gradient in gradients:
            if isinstance(x, Tensor):
                self._name(x)
                _add(self._records[id(x)][1], gradient)

    def _name(self, x: Tensor) -> str:
        """What a tensor is called; one that no op of this run made becomes a leaf."""
        if id(x) not in self._records:
            name, op = self._names.get(id(x)), "parameter"
            if name is None:
                self.counts["input"] += 1
                count, op = self.counts["input"], "input"
                name = op if count == 1 else f"{op}_{count}"
            self.leaves[name] = Record(name, op, x.data, differentiable=x.requires_grad)
            self._records[id(x)] = x, self.leaves[name]
        return self._records[id(x)][1].name

    # ---- what the reader asks ----

    def __getitem__(self, name: str) -> Any:
        """A Record by the name of an op, a leaf or a module; a list of them by a pattern."""
        if any(c in name for c in "*?["):
            if found := self.match(name):
                return found
        elif record := self.nodes.get(name) or self.leaves.get(name) or self._last_in(name):
            return record
        paths = {record.path for record in self.nodes.values()} - {""}
        close = difflib.get_close_matches(name, [*self.nodes, *self.leaves, *paths], 3, 0.5)
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        raise KeyError(f"trace: nothing is named {name!r}{hint}")

    def match(self, pattern: str) -> list[Record]:
        """All ops, then all leaves, whose names fit a pattern of the shell's."""
        everything = [*self.nodes.values(), *self.leaves.values()]
        return [x for x in everything if fnmatch.fnmatchcase(x.name, pattern)]

    def _last_in(self, path: str) -> Record | None:
        inside = [x for x in self.nodes.values() if f"{x.path}.".startswith(f"{path}.")]
        return inside[-1] if inside else None

    def __iter__(self) -> Iterator[Record]:
        return iter(self.nodes.values())

    def __len__(self) -> int:
        return len(self.nodes)

    def table(self, pattern: str = "*") -> str:
        """Shapes, norms, smallest and largest, gradients' norms and shares of time, as text."""
        return table(self.match(pattern), list(self.nodes.values()))

    def __str__(self) -> str:
        return self.table()


def trace(model: Any = None) -> Trace:
    """Record every op within the block: ``with trace(model) as t``.  -> Trace

    model: the Module whose dotted names the ops get; without it they have their own only.
    """
    return Trace(model)


def _add(record: Record, gradient: np.ndarray) -> None:
    record.grad = gradient if record.grad is None else record.grad + gradient


def _closure(function: Callable) -> dict[str, Any]:
    """A function's free variables by name, but for functions among them."""
    names, cells = function.__code__.co_freevars, function.__closure__ or ()
    values = ((name, cell.cell_contents) for name, cell in zip(names, cells, strict=True))
    return {name: x for name, x in values if not callable(x)}
