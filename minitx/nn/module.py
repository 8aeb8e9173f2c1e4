"""Modules: plain classes whose tensors are found by walking their attributes, in the order set."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from ..observer import no_grad
from ..tensor import Tensor

M = TypeVar("M", bound="Module")


class _Building(threading.local):
    shapes_only = False


_building = _Building()


@contextlib.contextmanager
def shapes_only() -> Iterator[None]:
    """Models built within the block have shapes and names but no memory: to count any size."""
    saved, _building.shapes_only = _building.shapes_only, True
    try:
        yield
    finally:
        _building.shapes_only = saved


def constant(value: float, *shape: int) -> Tensor:
    """A parameter that starts with one value everywhere.  float32."""
    if _building.shapes_only:
        return Tensor(np.broadcast_to(np.float32(value), shape), requires_grad=True)
    return Tensor(np.full(shape, value, np.float32), requires_grad=True)


def buffer(value: float, *shape: int) -> Tensor:
    """Part of the state that is not trained; starts with one value everywhere.  float32."""
    x = constant(value, *shape)
    x.requires_grad = False
    return x


def normal(rng: np.random.Generator, std: float, *shape: int) -> Tensor:
    """A parameter that starts as independent draws from N(0, std^2).  float32."""
    if _building.shapes_only:
        return constant(0, *shape)
    return Tensor(rng.standard_normal(shape, np.float32) * np.float32(std), requires_grad=True)


class Module:
    """Base of layers and models.

    Assign tensors, modules, or lists and dicts of them to attributes, and define ``forward``.
    A tensor that requires a gradient is a trainable parameter; one that does not is frozen, or a
    buffer, and belongs to the state all the same.  A tensor reachable under several names is one
    parameter, under the first of them.
    """

    training = True

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.forward(*args, **options)  # type: ignore[attr-defined]

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (x for _, x in self.named_modules())

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """(dotted name, module), itself first, under the name ""."""
        return ((name, x) for name, x in _walk("", self, set()) if isinstance(x, Module))

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, tensor) for all of the state."""
        return ((name, x) for name, x in _walk("", self, set()) if isinstance(x, Tensor))

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, tensor) for what is trained."""
        return ((name, x) for name, x in self.named_tensors() if x.requires_grad)

    def named_generators(self) -> Iterator[tuple[str, np.random.Generator]]:
        """(dotted name, generator) for what draws random numbers, each once."""
        generator = np.random.Generator
        return ((name, x) for name, x in _walk("", self, set()) if isinstance(x, generator))

    def parameters(self) -> list[Tensor]:
        return [x for _, x in self.named_parameters()]

    def count(self, trainable: bool = False) -> int:
        """How many numbers the state holds, tied ones once; or only the trainable ones."""
        return sum(x.size for _, x in self.named_tensors() if x.requires_grad or not trainable)

    def train(self: M, mode: bool = True) -> M:
        """Switch dropout and its like on.  Returns itself."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """Switch dropout and its like off.  Returns itself."""
        return self.train(False)

    def evaluating(self) -> contextlib.AbstractContextManager[None]:
        """Within the block dropout and its like are off, and no op is recorded."""
        return evaluating(list(self.modules()))

    def zero_grad(self) -> None:
        """Forget all gradients; those that an optimizer has packed are zeroed where they are."""
        for _, x in self.named_tensors():
            if x.grad is not None and x.grad.base is not None:
                x.zero_grad()
            else:
                x.grad = None

    def astype(self: M, dtype: Any) -> M:
        """Convert the state's floats, in place, before an optimizer packs it.  Returns itself."""
        dtype = np.dtype(dtype)
        if dtype not in (np.float32, np.float64):
            raise TypeError(f"{type(self).__name__}.astype: {dtype}; expected float32 or float64")
        for _, x in self.named_tensors():
            if x.dtype.kind == "f" and x.dtype != dtype:
                x.data, x.grad = _converted(x.data, dtype), None
        return self

    def state_dict(self) -> dict[str, np.ndarray]:
        """Name -> value.  The arrays are the parameters' own memory: copy what must not change."""
        return {name: x.data for name, x in self.named_tensors()}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Copy values in by name, converting between float dtypes.

        Strict, and all or nothing: raises one ValueError that lists every name that is missing,
        unexpected or does not fit.
        """
        own = dict(self.named_tensors())
        arrays = check_state(type(self).__name__, own, state)
        for name, x in own.items():
            if x.data.flags.writeable:
                x.data[...] = arrays[name]
            else:  # built by shapes_only
                x.data = np.array(arrays[name], x.dtype)
            x.version += 1

    def __repr__(self) -> str:
        rows = [f"  {n:<48} {x.shape!s:<18} {x.size:>14,}" for n, x in self.named_tensors()]
        return "\n".join([type(self).__name__, *rows, f"  {'total':<67} {self.count():>14,}"])


@contextlib.contextmanager
def evaluating(modules: list[Module]) -> Iterator[None]:
    """``Module.evaluating`` for who enters it often, and lists the model's modules once."""
    modes = [(module, module.training) for module in modules]
    for module in modules:
        module.training = False
    try:
        with no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def side_by_side(tensors: list[Tensor]) -> None:
    """Move parameters into one buffer, in order, so that joining them copies nothing."""
    if all(x.data.flags.writeable for x in tensors):  # not so those built by shapes_only
        buffer, end = np.concatenate([x.data.ravel() for x in tensors]), 0
        for x in tensors:
            start, end = end, end + x.size
            x.data = buffer[start:end].reshape(x.shape)


def check_state(
    owner: str, own: Mapping[str, Any], state: Mapping[str, Any], same_dtypes: bool = False
) -> dict[str, np.ndarray]:
    """The arrays of ``state``, sure to fit what ``owner`` has: its names, shapes, kinds of number.

    Raises one ValueError with every name that is missing, unexpected or does not fit.
    """
    given = {name: np.asarray(x) for name, x in state.items()}
    problems = [f"missing {name} {own[name].shape}" for name in own.keys() - given.keys()]
    problems += [f"unexpected {name} {given[name].shape}" for name in given.keys() - own.keys()]
    for name in own.keys() & given.keys():
        a, b = given[name], own[name]
        if a.shape != b.shape:
            problems.append(f"{name} has shape {a.shape}, expected {b.shape}")
        elif a.dtype != b.dtype and (same_dtypes or a.dtype.kind != b.dtype.kind):
            problems.append(f"{name} has dtype {a.dtype}, expected {b.dtype}")
    if problems:
        lines = "\n  ".join(sorted(problems))
        raise ValueError(f"{owner}: the state does not fit, and nothing was loaded:\n  {lines}")
    return given


def _converted(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A copy in another dtype; of an array without memory of its own, another such array."""
    if array.flags.writeable or any(array.strides) or not array.size:
        return array.astype(dtype)
    return np.broadcast_to(array.flat[0].astype(dtype), array.shape)


def _walk(name: str, x: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Every module, tensor and generator at or below ``x``, once, with its dotted name."""
    if isinstance(x, Module | Tensor | np.random.Generator):
        if id(x) in seen:
            return
        seen.add(id(x))
        yield name, x
    if isinstance(x, Module):
        children: Any = vars(x).items()
    elif isinstance(x, dict):
        children = x.items()
    elif isinstance(x, list | tuple):
        children = enumerate(x)
    else:
        return
    for key, child in children:
        yield from _walk(f"{name}.{key}" if name else str(key), child, seen)
