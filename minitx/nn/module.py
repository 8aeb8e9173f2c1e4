"""Modules: plain classes whose tensors are found by walking their attributes, in the order in which
they were set.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..tensor import Tensor


class _Building(threading.local):
    shapes_only = False


_building = _Building()


@contextlib.contextmanager
def shapes_only() -> Iterator[None]:
    """Models built within the block have shapes and names but no memory: for counting, whatever
    their size.
    """
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


def normal(rng: np.random.Generator, std: float, *shape: int) -> Tensor:
    """A parameter that starts as independent draws from N(0, std^2).  float32."""
    if _building.shapes_only:
        return constant(0, *shape)
    return Tensor(rng.standard_normal(shape, np.float32) * np.float32(std), requires_grad=True)


class Module:
    """Base of layers and models.  Assign tensors, modules, or lists and dicts of them to
    attributes; define ``forward``.

    A tensor that requires a gradient is a trainable parameter; one that does not is frozen, or a
    buffer, and belongs to the state all the same.  A tensor reachable under several names is one
    parameter, under the first of them.
    """

    training = True

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.forward(*args, **options)  # type: ignore[attr-defined]

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (x for _, x in _walk("", self, set()) if isinstance(x, Module))

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, tensor) for all of the state."""
        return ((name, x) for name, x in _walk("", self, set()) if isinstance(x, Tensor))

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, tensor) for what is trained."""
        return ((name, x) for name, x in self.named_tensors() if x.requires_grad)

    def parameters(self) -> list[Tensor]:
        return [x for _, x in self.named_parameters()]

    def count(self, trainable: bool = False) -> int:
        """How many numbers the state holds, tied ones once; or only the trainable ones."""
        return sum(x.size for _, x in self.named_tensors() if x.requires_grad or not trainable)

    def train(self, mode: bool = True) -> Module:
        """Switch dropout and its like on.  Returns itself."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Switch dropout and its like off.  Returns itself."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget all gradients; those that an optimizer has packed are zeroed where they are."""
        for _, x in self.named_tensors():
            if x.grad is not None and x.grad.base is not None:
                x.grad[...] = 0
            else:
                x.grad = None

    def astype(self, dtype: Any) -> Module:
        """Convert the state, in place, before an optimizer packs it.  Returns itself."""
        for _, x in self.named_tensors():
            if x.dtype.kind == "f":
                x.data, x.grad = x.data.astype(dtype), None
        return self

    def state_dict(self) -> dict[str, np.ndarray]:
        """Name -> value.  The arrays are the parameters' own memory: copy what must not change."""
        return {name: x.data for name, x in self.named_tensors()}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Copy values in by name, converting between float dtypes.

        Strict and all or nothing: raises one ValueError with every missing, unexpected and
        misshapen name.
        """
        own = dict(self.named_tensors())
        problems = [f"missing {name} {own[name].shape}" for name in own.keys() - state.keys()]
        problems += [
            f"unexpected {name} {np.shape(state[name])}" for name in state.keys() - own.keys()
        ]
        for name in own.keys() & state.keys():
            expected, given = own[name], np.asarray(state[name])
            if given.shape != expected.shape:
                problems.append(f"{name} has shape {given.shape}, expected {expected.shape}")
            elif given.dtype.kind != expected.dtype.kind:
                problems.append(f"{name} has dtype {given.dtype}, expected {expected.dtype}")
        if problems:
            lines = "\n  ".join(sorted(problems))
            raise ValueError(
                f"{type(self).__name__}: the state does not fit, and nothing was loaded:\n  {lines}"
            )
        for name, x in own.items():
            if x.data.flags.writeable:
                x.data[...] = state[name]
            else:  # built by shapes_only
                x.data = np.array(state[name], x.dtype)
            x.version += 1

    def __repr__(self) -> str:
        lines = [
            f"  {name:<48} {str(x.shape):<18} {x.size:>14,}" for name, x in self.named_tensors()
        ]
        return "\n".join([type(self).__name__, *lines, f"  {'total':<67} {self.count():>14,}"])


def _walk(name: str, x: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Every module and tensor at or below ``x``, once, with its dotted name."""
    if isinstance(x, Module | Tensor):
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
