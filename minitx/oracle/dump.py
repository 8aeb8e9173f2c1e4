"""Write down one run of a model, and some steps of training, as a golden bundle.

Everything runs twice on copies of the model: in float64 for the numbers, and in float32, on the
same weights and inputs, to measure how far such a port may be off.  Random numbers (dropout, a
random mask) are drawn anew from the same state at every step, so that what is written down of the
first step holds for all.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ..jit import use_kernels
from ..nn import Module
from ..optim import AdamW, Optimizer
from ..tensor import Tensor
from ..trace import Record, Trace, trace
from .bundle import Bundle, Path, write
from .conventions import conventions
from .literal import encode
from .tolerance import FLOOR, MARGIN, largest, tolerance

# What a port of attention computes on the way, and our fused kernel never stores.
UNFOLDED = "attend.scores", "attend.prob", "dscores.dprob", "dscores.dscores"


def dump(
    path: Path,
    model: Module,
    inputs: Mapping[str, Any],
    steps: int = 2,
    optimizer: Callable[[Module], Optimizer] = AdamW,
    loss: str | Callable[..., Tensor] = "loss",
    unfold: bool = False,
) -> Bundle:
    """Write ``path``.safetensors, .json and .txt, and read them back.  -> Bundle

        dump("golden/gpt2", model, {"inputs": ids, "targets": targets}, steps=3)

    The model stays as it is.  inputs: what the loss takes, by name; arrays, Tensors (these get a
    gradient), or lists, dicts and dataclasses of them.  steps: of ``optimizer``, a function of the
    model; 0 for none.  loss: the name of a method, or a function of the model and the inputs.
    unfold: also write the scores and probabilities of attention, and their gradients.

    Raises ValueError if the loss is no single finite number, nothing is to be trained, or float32
    goes another way than float64; TypeError on inputs of other kinds.
    """
    if steps < 0:
        raise ValueError(f"dump: steps is {steps}; expected 0 or more")
    if isinstance(loss, str) and not callable(getattr(model, loss, None)):
        raise ValueError(f"dump: {type(model).__name__} has no method {loss!r}; give a loss")
    settings = inputs, steps, optimizer, loss, unfold
    with use_kernels("ref"):
        wide, narrow = _Run(model, np.float64, *settings), _Run(model, np.float32, *settings)
    kinds = {name: name.partition("/")[0] for name in wide.arrays}
    sizes = {kind: largest(wide.of_kind(kind)) for kind in set(kinds.values())}
    tolerances = {
        name: tolerance(name, x, narrow.arrays.get(name), sizes[kinds[name]])
        for name, x in wide.arrays.items()
    }
    pairs = zip(wide.losses, narrow.losses, strict=True)
    manifest = {
        "minitx": sys.modules["minitx"].__version__,
        "model": type(model).__name__,
        "config": _config(model),
        "conventions": wide.conventions,
        "literals": wide.literals,
        "training": model.training,
        "optimizer": wide.optimizer,
        "loss": wide.losses[0],
        "losses": wide.losses,
        "loss_tolerances": [max(MARGIN * abs(a - b), FLOOR * abs(a)) for a, b in pairs],
        "nodes": wide.nodes,
    }
    return write(path, wide.arrays, tolerances, manifest)


class _Run:
    """A copy of the model in one dtype, run and trained: ``arrays`` by their names in the file."""

    def __init__(
        self,
        model: Module,
        dtype: Any,
        inputs: Mapping[str, Any],
        steps: int,
        optimizer: Callable[[Module], Optimizer],
        loss: str | Callable[..., Tensor],
        unfold: bool,
    ):
        model = copy.deepcopy(model).astype(dtype)
        inputs = {name: _convert(x, dtype) for name, x in inputs.items()}
        f = getattr(model, loss) if isinstance(loss, str) else lambda **x: loss(model, **x)
        self.arrays: dict[str, np.ndarray] = {}
        self.losses: list[float] = []
        self.nodes: list[dict] = []
        self.literals: dict[str, Any] = {}
        self.optimizer: dict[str, Any] = {}
        self._names: dict[int, str] = {}  # in the file, by the array's identity
        self._inputs = dict(_leaves(inputs, "input"))
        start = [generator.bit_generator.state for generator in _generators(model)]
        updates = optimizer(model) if steps else None
        for name, x in model.named_tensors():
            self._add(f"parameter/{name}", x.data)
            self._names[id(x.data)] = f"parameter/{name}"
        for step in range(max(steps, 1)):
            for generator, state in zip(_generators(model), start, strict=True):
                generator.bit_generator.state = state
            model.zero_grad()
            with trace(model) if step == 0 else contextlib.nullcontext() as seen:
                y = f(**inputs)
                _check_loss(y)
                y.backward()
            self.losses.append(y.item())
            if seen is not None:
                self._record(seen, unfold)  # before the parameters change
            if updates:
                updates.step()
        if updates:
            self._finish(model, updates)

    def _add(self, name: str, x: np.ndarray) -> None:
        self.arrays[name] = np.array(x)  # what an optimizer packed is overwritten by its step

    def of_kind(self, kind: str) -> dict[str, np.ndarray]:
        """The arrays whose names begin with ``kind``/."""
        return {name: x for name, x in self.arrays.items() if name.startswith(f"{kind}/")}

    def _record(self, seen: Trace, unfold: bool) -> None:
        """Everything about the first step but its update."""
        for name, x in self._inputs.items():
            if isinstance(x, np.ndarray):
                self._add(name, x)
                self._names[id(x)] = name
            else:
                self.literals[name] = x
        for name, leaf in seen.leaves.items():
            if leaf.op == "input":
                full = self._name(leaf.value, name)
                self._names[id(leaf.value)] = full
                name = full.partition("/")[2]
            if leaf.grad is not None:
                self._add(f"grad/{name}", leaf.grad)
        for record in seen:
            self.nodes.append(self._node(record, seen))
            self._names[id(record.value)] = f"value/{record.name}"
            self._add(f"value/{record.name}", record.value)
            if record.grad is not None:
                self._add(f"cotangent/{record.name}", record.grad)
            if unfold and record.op in ("attend", "self_attend"):
                arrays = record.unfold()
                for name in UNFOLDED:
                    if name in arrays:
                        self._add(f"unfold/{record.name}/{name}", arrays[name])
        self.conventions = conventions(seen)

    def _node(self, record: Record, seen: Trace) -> dict[str, Any]:
        """The manifest's line about one op."""
        arguments = []
        for i, x in enumerate(record.arguments):
            name = record.inputs.get(i)
            if name in seen.nodes:
                arguments.append({"tensor": f"value/{name}"})
            elif name is not None:
                arguments.append({"tensor": self._names[id(seen.leaves[name].value)]})
            else:
                encoded = encode(x, self._name, f"{record.name}/{i}")
                arguments.append(encoded if isinstance(x, np.ndarray) else {"literal": encoded})
        options = record.options
        if options.get("dropout") == 0:
            options = options | {"rng": None}  # nothing is drawn
        return {
            "name": record.name,
            "op": record.op,
            "module": record.path,
            "source": str(record.source),
            "arguments": arguments,
            "options": {
                key: encode(x, self._name, f"{record.name}/{key}") for key, x in options.items()
            },
        }

    def _name(self, x: np.ndarray, place: str) -> str:
        """What an array that no op made is called: an input's name, or that of a new constant."""
        if id(x) not in self._names:
            same = (n for n, y in self._inputs.items() if isinstance(y, np.ndarray) and _same(x, y))
            name = next(same, f"constant/{place}")
            self._add(name, x)
            self._inputs[name] = x  # an equal one, in the next layer, is this one
            self._names[id(x)] = name
        return self._names[id(x)]

    def _finish(self, model: Module, updates: Optimizer) -> None:
        """The optimizer's settings, its moments, and the parameters after the last step."""
        for i, slot in enumerate(updates.slots, 1):
            for name, x in updates.views(updates.buffers[slot]).items():
                self._add(f"moment{i}/{name}", x)
        for name, tensor in model.named_tensors():
            self._add(f"updated/{name}", tensor.data)
        sizes = np.cumsum([x.size for x in updates.parameters.values()])
        ends = zip(updates.parameters, sizes, strict=True)
        kept = {k: x for k, x in vars(updates).items() if isinstance(x, int | float | tuple)}
        decayed = [name for name, end in ends if end <= updates.decayed]
        self.optimizer = {"name": type(updates).__name__, **kept, "decayed": decayed}


def _check_loss(y: Any) -> None:
    if not isinstance(y, Tensor) or y.size != 1:
        came = f"shape {y.shape}" if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(f"dump: the loss is a {came}; expected a tensor of one number")
    if not y.requires_grad:
        raise ValueError("dump: the loss depends on nothing that is trained")
    if not np.isfinite(y.item()):
        raise ValueError(f"dump: the loss is {y.item()}; minitx.explain_nan tells where from")


def _generators(model: Module) -> list[np.random.Generator]:
    return [generator for _, generator in model.named_generators()]


def _leaves(x: Any, name: str) -> Iterator[tuple[str, Any]]:
    """(dotted name, array or literal) of everything in the inputs."""
    if isinstance(x, Tensor | np.ndarray):
        yield name, x.data if isinstance(x, Tensor) else x
        return
    for key, item in _items(x):
        yield from _leaves(item, f"{name}{'/' if name == 'input' else '.'}{key}")
    if x is None or isinstance(x, bool | int | float | str):
        yield name, x
    elif not isinstance(x, dict | list | tuple) and not dataclasses.is_dataclass(x):
        raise TypeError(f"dump: {name} is a {type(x).__name__}; expected arrays, or numbers")


def _items(x: Any) -> Iterator[tuple[Any, Any]]:
    if dataclasses.is_dataclass(x):
        yield from ((field.name, getattr(x, field.name)) for field in dataclasses.fields(x))
    elif isinstance(x, dict):
        yield from x.items()
    elif isinstance(x, list | tuple):
        yield from enumerate(x)


def _convert(x: Any, dtype: Any) -> Any:
    """The inputs with their floats in ``dtype``; Tensors of floats get a gradient."""
    if isinstance(x, Tensor):
        return Tensor(_convert(x.data, dtype), requires_grad=x.dtype.kind == "f")
    if isinstance(x, np.ndarray):
        return x.astype(dtype if x.dtype.kind == "f" else x.dtype)
    parts = {key: _convert(item, dtype) for key, item in _items(x)}
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        return dataclasses.replace(x, **parts)
    return type(x)(parts.values()) if isinstance(x, list | tuple) else parts or x


def _same(x: np.ndarray, y: np.ndarray) -> bool:
    return x.dtype == y.dtype and x.shape == y.shape and np.array_equal(x, y)


def _config(model: Module) -> dict[str, Any]:
    """The fields of the model's config, or of that of the model inside."""
    configs = (getattr(module, "config", None) for module in model.modules())
    found = (x for x in configs if dataclasses.is_dataclass(x) and not isinstance(x, type))
    return next((dataclasses.asdict(x) for x in found), {})
