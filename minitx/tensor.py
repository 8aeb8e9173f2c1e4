"""The autograd engine: an immutable array that remembers how it was made, and the walk back.

An op is a function of arrays that returns its value and its pullback.  ``@op`` lets it take Tensors
and records one ``Node``; ``Tensor.backward`` visits nodes from the newest to the oldest, hands each
its cotangent and adds up what the pullback returns.  Nothing here knows any particular op: these
are bound to Tensor in ``ops/__init__.py``.  First derivatives only.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import reprlib
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from . import kernels
from .observer import STATE, freeing
from .operators import Operators

OPS: dict[str, Callable] = {}  # every op by name, for the tests
_serial = itertools.count()


class Tensor(Operators):
    """An array of NumPy's, plus a gradient.  float32 unless the data given has a dtype of its own.

    ``grad`` is an ndarray or None; ``backward`` adds to it on leaves that require a gradient, and
    on results after ``retain_grad()``.  An array given is not copied.  Mixing float32 and float64
    arrays raises TypeError; Python and NumPy scalars adapt.
    """

    __slots__ = ("data", "_grad", "_is_zero", "requires_grad", "node", "version", "__weakref__")

    data: np.ndarray
    _grad: Any
    _is_zero: bool  # the gradient, whatever its array holds
    node: Node | None  # what made it; None for a leaf
    version: int  # counts updates in place, which only optimizers and loading make

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None):
        array = np.asarray(_value(data), dtype)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"Tensor: {array.dtype} data; expected numbers or booleans, one dtype")
        if requires_grad and array.dtype.name not in ("float32", "float64"):
            raise TypeError(f"Tensor: {array.dtype} has no gradient; use float32 or float64")
        chosen = dtype is not None or isinstance(data, Tensor | np.ndarray | np.generic)
        if array.dtype.kind == "f" and not chosen:
            array = array.astype(np.float32)
        self.data = array.astype(array.dtype.newbyteorder("="), copy=False)
        self.grad = self.node = None
        self.requires_grad = requires_grad
        self.version = 0

    @property
    def grad(self) -> np.ndarray | None:
        if self._is_zero:
            self._grad.fill(0)
            self._is_zero = False
        return self._grad

    @grad.setter
    def grad(self, gradient: np.ndarray | None) -> None:
        self._grad = gradient
        self._is_zero = False

    def zero_grad(self) -> None:
        """Zeros in the gradient's place, written if somebody looks before the next one comes."""
        self._is_zero = self._grad is not None

    def detach(self) -> Tensor:
        """The same value, cut off from its past."""
        return _wrap(self.data)

    def retain_grad(self) -> Tensor:
        """Keep this result's gradient when backward passes through.  Returns itself."""
        if self.node is not None:
            self.node.retained = weakref.ref(self)
        return self

    def backward(self, cotangent: Any = None, keep_graph: bool = False) -> None:
        """Add d(self)/d(leaf), weighted by ``cotangent``, to ``leaf.grad`` where it is required.

        cotangent: same shape as self; may be left out for one element.  The graph is freed on the
        way, unless ``keep_graph``.  Raises ValueError on a wrong cotangent, RuntimeError on a graph
        that does not exist, is freed, or is out of date; then no gradient has changed.
        """
        if not self.requires_grad:
            raise RuntimeError("backward: this tensor depends on none that has requires_grad=True")
        if cotangent is None and self.size == 1:
            cotangent = np.ones(self.shape)
        given = None if cotangent is None else np.shape(cotangent)
        if given != self.shape:
            raise ValueError(f"backward: expected a cotangent of shape {self.shape}, not {given}")
        with freeing(not keep_graph):
            _walk_back(self, np.array(_value(cotangent), self.dtype), keep_graph)


def _wrap(value: Any) -> Tensor:
    """A new leaf around what an op computed, without the constructor's checks."""
    tensor = object.__new__(Tensor)
    tensor.data = np.asarray(value)
    tensor._grad = tensor.node = None
    tensor._is_zero = tensor.requires_grad = False
    tensor.version = 0
    return tensor


_ARRAYS = Tensor, np.ndarray


def _value(x: Any) -> Any:
    return x.data if isinstance(x, Tensor) else x


class Node:
    """One op that ran: its name, and the pullback whose closure holds what it saved.

    ``inputs``: the position of each argument that needed a gradient, and the Node that made it or,
    of a leaf, itself.  ``leaves``: what may be updated in place, and its version.  Results are not
    kept: what a pullback needs of them it has saved.
    """

    __slots__ = ("name", "inputs", "leaves", "shape", "dtype", "vjp", "serial", "retained")

    def __init__(self, name: str, args: tuple, value: np.ndarray, vjp: Callable):
        self.name, self.shape, self.dtype = name, value.shape, value.dtype
        self.inputs: list[tuple[int, Node | Tensor]] = []
        self.leaves: list[tuple[Tensor, int]] = []
        for i, x in enumerate(args):
            if isinstance(x, Tensor):
                if x.requires_grad:
                    self.inputs.append((i, x.node or x))
                if x.node is None:
                    self.leaves.append((x, x.version))
        self.vjp: Any = vjp  # None when it has been freed
        self.retained: Any = None  # a reference to who wants its gradient
        self.serial = next(_serial)


def op(function: Callable | None = None, *, branch: Callable | None = None) -> Any:
    """Make a differentiable function of one that takes arrays and returns ``(value, vjp)``.

    ``vjp(dy)`` returns a tuple with an entry for each leading argument: the gradient, None, or a
    function without arguments that computes it, called only if somebody needs it.  A ``partial``,
    given an array and whether to add, puts it there: no detour.  Gradients may still have the shape
    the inputs were broadcast to.  ``branch`` tells the piece of a piecewise function that its
    arguments fall on (relu: x > 0): finite differences must keep to one piece.
    """
    if function is None:
        return lambda f: op(f, branch=branch)
    name = function.__name__.strip("_")
    signature = inspect.signature(function)
    converts = "dtype" in signature.parameters

    @functools.wraps(function)
    def apply(*args: Any, **options: Any) -> Tensor:
        observer = STATE.observer
        if observer or options and any(isinstance(x, _ARRAYS) for x in options.values()):
            bound = signature.bind(*args, **options)  # arrays given by name take their place
            bound.apply_defaults()
            args, options = bound.args, bound.kwargs
            if any(isinstance(x, Tensor) and x.requires_grad for x in options.values()):
                raise TypeError(f"{name}: a keyword-only argument has no gradient")
        arrays, dtype, needed = [], None, False
        for x in args:
            if isinstance(x, Tensor):
                needed |= x.requires_grad
                x = x.data
            elif isinstance(x, np.generic):
                x = x.item()  # weak, like a Python number
            if isinstance(x, np.ndarray) and x.dtype is not dtype and x.dtype.kind == "f":
                if dtype is not None and x.dtype != dtype:
                    raise TypeError(f"{name}: mixes {dtype} and {x.dtype}; convert one with astype")
                dtype = x.dtype
            arrays.append(x)
        try:
            if observer is None:
                value, vjp = function(*arrays, **options)
            else:
                value, vjp = observer.run(function, arrays, options)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise _named(error, name, arrays) from None
        result = _wrap(value)
        if result.data.dtype.kind == "f":
            if dtype is not None and result.data.dtype != dtype and not converts:
                raise _named(TypeError(f"{dtype} would become {result.dtype}"), name, arrays)
            if needed and STATE.recording:
                result.requires_grad = True
                result.node = Node(name, args, result.data, vjp)
        if observer is not None:
            observer.forward(name, args, result)
        return result

    apply.branch = branch  # type: ignore[attr-defined]
    if name in OPS:
        raise ValueError(f"op: there is already an op named {name!r}")
    OPS[name] = apply
    return apply


def _named(error: Exception, name: str, arguments: list) -> Exception:
    """The same error, telling the op and what it was given; an op's own message says it already."""
    if str(error).startswith(f"{name}:"):
        return error
    kinds = (k for k in (IndexError, TypeError, ValueError) if isinstance(error, k))
    arrays = (f"{x.dtype}{x.shape}" if hasattr(x, "dtype") else reprlib.repr(x) for x in arguments)
    told = next(kinds, TypeError)(f"{name}: {error} (given {', '.join(arrays)})")
    return told.with_traceback(error.__traceback__)


def unbroadcast(gradient: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum over the axes along which an input of ``shape`` was broadcast, in float64."""
    if gradient.shape == shape:
        return gradient
    extra = gradient.ndim - len(shape)
    axes = [i for i in range(gradient.ndim) if i < extra or shape[i - extra] == 1]
    total = gradient.sum(axis=tuple(axes), dtype=np.float64, keepdims=True)
    return total.reshape(total.shape[extra:]).astype(gradient.dtype)


def _walk_back(root: Tensor, cotangent: np.ndarray, keep_graph: bool) -> None:
    """Newest node first: what used a value is younger than what made it, so its sum is complete."""
    if root.node is None:
        return _keep(root, cotangent)
    pending = {root.node: cotangent}
    for node in _past(root.node):
        if node not in pending:
            continue
        gradient = np.asarray(pending.pop(node))
        if STATE.observer is not None:
            gradient = STATE.observer.backward(node, gradient)
        if node.retained and (result := node.retained()) is not None:
            _keep(result, gradient)
        vjp, node.vjp = node.vjp, node.vjp if keep_graph else None  # it may overwrite what it saved
        for x, g in _pull(node, vjp(gradient)):
            if isinstance(x, Tensor):
                _keep(x, g)
            else:
                pending[x] = kernels.add(pending[x], g) if x in pending else g
        if not keep_graph:
            node.inputs, node.leaves = [], []


def _past(node: Node) -> list[Node]:
    """This one and all that it depends on, the youngest first; RuntimeError if one cannot run."""
    found, queue = {node}, [node]
    for node in queue:  # which grows on the way
        old = [x.shape for x, version in node.leaves if x.version != version]
        if node.vjp is None or old:
            gone = "was freed by an earlier one; use keep_graph=True"
            why = f"has an input {old[0]} updated in place since the forward pass" if old else gone
            raise RuntimeError(f"backward: {node.name} {why}")
        new = [x for _, x in node.inputs if isinstance(x, Node) and x not in found]
        found.update(new)
        queue += new
    return sorted(found, key=lambda node: -node.serial)


def _keep(tensor: Tensor, gradient: np.ndarray) -> None:
    if tensor._grad is None:
        tensor.grad = gradient.copy()
    elif tensor._is_zero:
        np.copyto(tensor._grad, gradient)
        tensor._is_zero = False
    else:
        kernels.add(tensor._grad, gradient, tensor._grad)


def _pull(node: Node, entries: Any) -> list[tuple[Node | Tensor, np.ndarray]]:
    """What the inputs get from this node's pullback, in their shapes and dtypes."""
    observer = STATE.observer
    if not isinstance(entries, tuple):
        raise TypeError(f"{node.name}: its pullback must return a tuple, an entry per argument")
    gradients = []
    for position, x in node.inputs:
        if position >= len(entries):
            raise TypeError(f"{node.name}: its pullback has no entry for argument {position}")
        entry = entries[position]
        direct = observer is None and isinstance(entry, functools.partial)
        if direct and isinstance(x, Tensor) and x._grad is not None:
            entry(x._grad, not x._is_zero)
            x._is_zero = False
            continue
        entry = entry() if callable(entry) else entry
        if entry is not None:
            entry = np.asarray(entry, x.dtype)
            if entry.shape != x.shape:
                entry = unbroadcast(entry, x.shape)
                if entry.shape != x.shape:
                    raise ValueError(f"{node.name}: its pullback gave {entry.shape} for {x.shape}")
            gradients.append((x, entry))
    if observer is not None:
        observer.pulled(node, gradients)
    return gradients
