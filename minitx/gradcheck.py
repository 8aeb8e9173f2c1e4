"""Is a gradient right?  Backward's answer against differences of the function itself.

The gradient of <c, f(x)>, c a random cotangent, is compared along one random direction d for each
input and each parameter: <gradient, d> must be the derivative of <c, f(x + t d)> at t = 0.  A wrong
entry anywhere changes that number, so one direction checks a whole array for four evaluations.

The derivative comes from central differences of fourth order,

    (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h,

at several steps h, of which one must agree: rounding wants a large step, curvature a small one.
The outputs are subtracted element by element before anything is summed, so that what does not
change cancels exactly; a gradient that must be zero (a key bias's, in attention) then is zero.

All is float64.  A function that is only piecewise smooth (relu, max, a matching) is compared on
the piece where it stands: a step is not used if it makes any op fall on another piece, or see
another index, mask or target.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .observer import Observer, no_grad, observing
from .tensor import OPS, Tensor

STEPS = (1e-3, 1e-2, 1e-1, 1e-4, 1e-5, 1e-6)  # the likeliest to agree first
SMALLEST = 1e-6  # gradients below this share of the model's largest are compared with that share


class GradientError(AssertionError):
    """Backward and finite differences disagree."""


class KinkError(AssertionError):
    """No step is small enough to stay on one piece of the function: nothing can be said."""


@dataclass(frozen=True)
class Check:
    """One input or parameter, along one direction: what backward says and what differences say."""

    shape: tuple[int, ...]
    backward: float
    difference: float
    size: float  # the gradient's Euclidean norm
    step: float
    error: float  # relative to the size


@dataclass(frozen=True)
class Report:
    """What ``gradcheck`` found, by the name of each input and parameter."""

    checks: dict[str, Check]

    @property
    def errors(self) -> dict[str, float]:
        return {name: check.error for name, check in self.checks.items()}

    @property
    def worst(self) -> tuple[str, float]:
        return max(self.errors.items(), key=lambda item: item[1])

    def __str__(self) -> str:
        width = max(len(name) for name in self.checks)
        head = f"{'backward':>17} {'differences':>17} {'step':>6} {'error':>8}"
        lines = [f"{'':{width}}  {head}  shape"]
        for name, c in sorted(self.checks.items(), key=lambda item: -item[1].error):
            numbers = f"{c.backward:17.9e} {c.difference:17.9e} {c.step:6.0e} {c.error:8.1e}"
            lines.append(f"{name:{width}}  {numbers}  {c.shape}")
        return "\n".join(lines)


def gradcheck(
    function: Callable,
    *inputs: Any,
    parameters: Any = None,
    seed: int = 0,
    tolerance: float = 1e-6,
) -> Report:
    """Compare the gradients of ``function(*inputs)`` with finite differences.  -> Report

        gradcheck(matmul, a, b)                               # both inputs
        gradcheck(layer, x)                                   # x and the layer's parameters
        gradcheck(model.loss, tokens, targets)                # the model's parameters
        gradcheck(lambda: f(w) + g(w), parameters={"w": w})   # what a closure reads

    inputs: float64 arrays and tensors are checked; integers, masks, all else is passed on.
    parameters: a module or a dict of tensors, unless ``function`` is a module or a method of one.
    The result may be a tensor of any shape, or a tuple, list or dict of them.  A function that
    draws random numbers must draw the same at every call: make its Generator anew inside.
    tolerance: of the error relative to the gradient's norm, but to no less than 1e-6 of the
    largest norm among all, and no less than what differences can tell from the outputs' rounding.

    Raises GradientError with the worst name and both numbers; KinkError where a kink is too close;
    TypeError on float32; ValueError if nothing depends on anything, or if two calls differ.
    """
    arguments, variables = _variables(function, inputs, parameters)
    rng = np.random.default_rng(seed)
    with _borrowed(list(variables.values())):
        probe = _Probe(function, arguments, rng, tolerance)
        gradients = probe.gradients(variables)
        floor = max(SMALLEST * max(map(_norm, gradients.values())), probe.rounding())
        checks = {
            name: probe.check(x, gradients[name], rng.standard_normal(x.shape), floor)
            for name, x in variables.items()
        }
    recorded = any(y.requires_grad for y in probe.outputs)
    if not recorded and not any(check.difference for check in checks.values()):
        raise ValueError("gradcheck: the result depends on no input and on no parameter")
    report = Report(checks)
    name, error = report.worst
    if error > tolerance:
        worst = checks[name]
        raise GradientError(
            f"gradcheck: the gradient of {name} {worst.shape} is wrong: along a random direction, "
            f"backward says {worst.backward:.9e} and finite differences {worst.difference:.9e}; "
            f"relative error {error:.1e}, tolerance {tolerance:.0e}\n{report}"
        )
    return report


def _variables(function: Any, inputs: tuple, parameters: Any) -> tuple[list, dict[str, Tensor]]:
    """The arguments, arrays wrapped; and by name all tensors whose gradients are to be checked."""
    arguments, variables = list(inputs), {}
    for i, (name, x) in enumerate(zip(_names(function, len(inputs)), inputs, strict=True)):
        if isinstance(x, Tensor | np.ndarray) and x.dtype.kind == "f":
            arguments[i] = variables[name] = Tensor(x)
    if parameters is None:
        owners = function, getattr(function, "__self__", None)
        parameters = next((x for x in owners if hasattr(x, "named_parameters")), {})
    is_dict = isinstance(parameters, Mapping)
    for name, x in parameters.items() if is_dict else parameters.named_parameters():
        if all(x is not other for other in variables.values()):
            variables[f"parameter {name}" if name in variables else name] = x
    for name, x in variables.items():
        if x.dtype != np.float64:
            raise TypeError(
                f"gradcheck: {name} has dtype {x.dtype}; finite differences need float64, "
                f"so convert inputs and model with astype"
            )
    if not variables:
        raise ValueError("gradcheck: there is nothing to differentiate; give inputs or parameters")
    return arguments, variables


def _names(function: Callable, count: int) -> list[str]:
    """What the function calls its positional arguments."""
    names: list[str] = []
    with contextlib.suppress(TypeError, ValueError):  # some builtins tell no signature
        for p in inspect.signature(getattr(function, "forward", function)).parameters.values():
            many = p.kind == p.VAR_POSITIONAL
            names += [f"{p.name}[{i}]" for i in range(count)] if many else [p.name]
    return names[:count] + [f"input {i}" for i in range(len(names), count)]


@contextlib.contextmanager
def _borrowed(variables: list[Tensor]) -> Iterator[None]:
    """Within the block these require gradients, and have none yet; all is restored at the end."""
    saved = [(x, x.data, x.grad, x.requires_grad) for x in variables]
    try:
        for x in variables:
            x.grad, x.requires_grad = None, True
        yield
    finally:
        for x, data, grad, requires_grad in saved:
            x.data, x.grad, x.requires_grad = data, grad, requires_grad


class _Pieces(Observer):
    """Notes the piece that each op's arguments fall on, and every index, mask and target."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []

    def forward(self, name: str, args: tuple, result: Tensor) -> None:
        arrays = [x.data if isinstance(x, Tensor) else x for x in args]
        branch = getattr(OPS.get(name), "branch", None)
        piece = None if branch is None else np.asarray(branch(*arrays)).tobytes()
        self.seen.append((name, hash((piece, _discrete(arrays)))))


def _discrete(x: Any) -> Any:
    """What of an argument can only jump."""
    if isinstance(x, tuple | list):
        return tuple(map(_discrete, x))
    if isinstance(x, Tensor | np.ndarray):
        return np.asarray(x).tobytes() if x.dtype.kind in "iub" else None
    return repr(x) if isinstance(x, int | np.integer | slice) else None


class _Probe:
    """A function at a point: its outputs there, a cotangent for each, and how it changes nearby."""

    def __init__(self, function: Callable, arguments: list, rng: np.random.Generator, tolerance):
        self.function = function
        self.arguments = arguments
        self.tolerance = tolerance
        self.outputs, self.pieces = self.call()
        with no_grad():
            outputs, pieces = self.call()
        same = all(map(_equal, self.outputs, outputs)) and len(self.outputs) == len(outputs)
        if not same or self.pieces != pieces:
            raise ValueError(
                "gradcheck: two calls of the function differ; if it draws random numbers, "
                "it must make its Generator anew at every call"
            )
        self.cotangents = [rng.standard_normal(y.shape) for y in outputs]

    def call(self) -> tuple[list[Tensor], list[tuple[str, int]]]:
        pieces = _Pieces()
        with observing(pieces), np.errstate(all="ignore"):
            result = self.function(*self.arguments)
        outputs = [y for y in _flatten(result) if isinstance(y, Tensor) and y.dtype.kind == "f"]
        if not outputs or any(y.dtype != np.float64 for y in outputs):
            kinds = [str(y.dtype) for y in outputs] or type(result).__name__
            raise TypeError(f"gradcheck: expected float64 tensors from the function, not {kinds}")
        return outputs, pieces.seen

    def gradients(self, variables: dict[str, Tensor]) -> dict[str, np.ndarray]:
        """Backward's answer, zeros where it has none."""
        for y, cotangent in zip(self.outputs, self.cotangents, strict=True):
            if y.requires_grad:
                y.backward(cotangent, keep_graph=True)
        return {n: np.zeros(x.shape) if x.grad is None else x.grad for n, x in variables.items()}

    def rounding(self) -> float:
        """The smallest gradient that differences can tell: outputs rounded, the largest step."""
        weighted = [_norm(c * y.data) for c, y in zip(self.cotangents, self.outputs, strict=True)]
        return np.finfo(float).eps * math.hypot(*weighted) / max(STEPS) / self.tolerance

    def check(self, x: Tensor, gradient: np.ndarray, direction: np.ndarray, floor: float) -> Check:
        """One step after another, until one agrees; else the one that agrees best."""
        backward, size = float(np.vdot(gradient, direction)), _norm(gradient)
        checks, kinks = [], []
        for h in STEPS:
            try:
                difference = self.slope(x, direction, h)
            except KinkError as kink:
                kinks.append(kink)
                continue
            gap, scale = abs(difference - backward), max(size, floor)
            error = 0.0 if gap == 0 else gap / scale if scale else math.inf
            error = math.inf if math.isnan(error) else error
            checks.append(Check(x.shape, backward, difference, size, h, error))
            if error <= self.tolerance:
                break
        if not checks:
            raise kinks[-1]
        return min(checks, key=lambda check: check.error)

    def slope(self, x: Tensor, direction: np.ndarray, h: float) -> float:
        """d/dt <c, f(x + t direction)> at t = 0.  Raises KinkError if a piece changes within 2h."""
        total = 0.0
        for t, weight in ((h, 8), (2 * h, -1)):
            ahead, behind = self.values(x, t * direction), self.values(x, -t * direction)
            for c, up, down in zip(self.cotangents, ahead, behind, strict=True):
                total += weight * float(np.vdot(c, up - down))
        return total / (12 * h)

    def values(self, x: Tensor, change: np.ndarray) -> list[np.ndarray]:
        """The outputs with ``change`` added to x."""
        base = x.data
        try:
            x.data = base + change
            with no_grad():
                outputs, pieces = self.call()
        finally:
            x.data = base
        for here, there in itertools.zip_longest(self.pieces, pieces, fillvalue=("", 0)):
            if here != there:
                raise KinkError(
                    f"gradcheck: the inputs lie on a kink of {here[0] or there[0]}: even at the "
                    f"smallest step its piece (index, mask) changes; move the inputs away from it"
                )
        return [y.data for y in outputs]


def _flatten(result: Any) -> Iterator[Any]:
    if isinstance(result, Mapping):
        result = tuple(result.values())
    if not isinstance(result, tuple | list):
        return iter([result])
    return itertools.chain.from_iterable(map(_flatten, result))


def _equal(a: Tensor, b: Tensor) -> bool:
    return np.array_equal(a.data, b.data, equal_nan=True)


def _norm(x: np.ndarray) -> float:
    return float(np.linalg.norm(x))
