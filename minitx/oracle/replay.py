"""The bundle's ops once more, on what the port had: is it the op that is wrong, or its input?

Where the port recorded a tensor, what follows is computed from the port's; where it did not, from
ours, so that a port that tells only some tensors is judged over the ops between them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..jit import use_kernels
from ..tensor import OPS, unbroadcast
from ..trace.unfold import Unfolding
from .bundle import Bundle, BundleError, Node
from .literal import decode

# Does an op another way: (the op, node, arguments, options) -> value, pullback.
Variant = Callable[[Callable, Node, list, dict[str, Any]], tuple]


class Part(NamedTuple):
    """What one use of a tensor adds to its gradient."""

    node: Node
    position: int  # of the tensor among the arguments
    gradient: np.ndarray


def gradient_of(tensor: str) -> str:
    """The name of a tensor's gradient: value/x -> cotangent/x, parameter/x -> grad/x."""
    kind, _, rest = tensor.partition("/")
    return f"{'cotangent' if kind == 'value' else 'grad'}/{rest}"


class Graph:
    """Who makes and who uses each tensor of a bundle."""

    def __init__(self, bundle: Bundle):
        self.bundle = bundle
        self.nodes = list(bundle.nodes.values())  # in order of execution
        self.order = {node.name: i for i, node in enumerate(self.nodes)}
        self.users: dict[str, list[Node]] = {}  # by a gradient's name
        for node in self.nodes:
            for tensor in node.inputs.values():
                users = self.users.setdefault(gradient_of(tensor), [])
                if node not in users:
                    users.append(node)

    @functools.cached_property
    def counts(self) -> set[int]:
        """How many items there are along leading axes of values: what sums and means go over."""
        shapes = {x.shape[:-1] for x in self.bundle.kind("value").values()}
        pairs = ((s, i, j) for s in shapes for i in range(len(s)) for j in range(i + 1, len(s) + 1))
        return {math.prod(shape[i:j]) for shape, i, j in pairs} - {1}

    def maker(self, tensor: str) -> Node | None:
        kind, _, rest = tensor.partition("/")
        return self.bundle.nodes.get(rest) if kind in ("value", "cotangent") else None

    def span(self, name: str, recorded: Mapping[str, np.ndarray]) -> list[Node]:
        """The ops between a value or gradient and what the port recorded, in order of execution."""
        backward = not name.startswith("value/")
        found: dict[str, Node] = {}
        ahead = self.users.get(name, []) if backward else [self.bundle.nodes[name[6:]]]
        stack = list(ahead)
        while stack:
            node = stack.pop()
            if node.name in found:
                continue
            found[node.name] = node
            if backward:
                if f"cotangent/{node.name}" not in recorded:
                    stack += self.users.get(f"cotangent/{node.name}", [])
            else:
                made = (self.maker(x) for x in node.inputs.values() if x not in recorded)
                stack += [maker for maker in made if maker is not None]
        return sorted(found.values(), key=lambda node: self.order[node.name])


class Replay:
    """``made``: every value by our op from the port's inputs.  ``parts``: of every gradient.

    variants: other ways to do some nodes, by name.  nodes, base: do only these again, and take the
    rest from an earlier replay.  backward: False for values alone.
    """

    def __init__(
        self,
        graph: Graph,
        recorded: Mapping[str, np.ndarray],
        variants: Mapping[str, Variant] | None = None,
        nodes: list[Node] | None = None,
        base: Replay | None = None,
        backward: bool = True,
    ):
        self.graph, self.recorded = graph, recorded
        self.variants = dict(variants or {})
        self.nodes = graph.nodes if nodes is None else nodes
        self.arrays: dict[str, np.ndarray] = {}
        if base:
            self.arrays.update(base.arrays)
        else:
            for name, x in (graph.bundle.arrays | dict(recorded)).items():
                if not name.startswith(("value/", "cotangent/")):
                    self.arrays[name] = (
                        x.astype(np.float64, copy=False) if x.dtype.kind == "f" else x
                    )
        self.made: dict[str, np.ndarray] = {}
        self.vjps: dict[str, Callable] = {}
        self.parts: dict[str, list[Part]] = {}
        with use_kernels("ref"), np.errstate(all="ignore"):
            for node in self.nodes:
                self._forward(node)
            for node in reversed(self.nodes) if backward else ():
                self._backward(node)

    def _forward(self, node: Node) -> None:
        name = f"value/{node.name}"
        self.made[name], self.vjps[node.name] = self._run(node)
        self.arrays[name] = self.recorded.get(name, self.made[name])

    def _run(self, node: Node) -> tuple:
        if node.op not in OPS:
            raise BundleError(f"{node.name}: this version of minitx has no op {node.op!r}")
        arguments, options = given(node, self.arrays)
        op = OPS[node.op].__wrapped__  # type: ignore[attr-defined]
        variant = self.variants.get(node.name)
        return variant(op, node, arguments, options) if variant else op(*arguments, **options)

    def _backward(self, node: Node) -> None:
        name, golden = f"cotangent/{node.name}", self.graph.bundle.arrays
        if name not in golden:
            return
        cotangent = self.recorded.get(name)
        if cotangent is None:
            sums, users = self.total(name), self.graph.users.get(name)
            if not users:
                cotangent = golden[name]  # the loss's own
            else:
                cotangent = np.zeros(golden[name].shape) if sums is None else sums
        self.arrays[name] = cotangent
        entries = self.vjps[node.name](cotangent)
        for position, tensor in node.inputs.items():
            target = gradient_of(tensor)
            entry = entries[position] if position < len(entries) and target in golden else None
            entry = entry() if callable(entry) else entry
            if entry is not None:
                entry = unbroadcast(np.asarray(entry, np.float64), golden[target].shape)
                self.parts.setdefault(target, []).append(Part(node, position, entry))

    def total(self, gradient: str) -> np.ndarray | None:
        """The sum over all uses; None if nothing arrived."""
        parts = self.parts.get(gradient, [])
        return sum((x.gradient for x in parts[1:]), parts[0].gradient) if parts else None

    def expected(self, name: str) -> np.ndarray | None:
        """A value or a gradient as our ops make it from the port's."""
        return self.made.get(name) if name.startswith("value/") else self.total(name)

    def again(self, name: str, variants: Mapping[str, Variant]) -> np.ndarray | None:
        """``expected`` with some ops of its span done another way."""
        span = self.graph.span(name, self.recorded)
        backward = not name.startswith("value/")
        replay = Replay(self.graph, self.recorded, variants, span, self, backward)
        return replay.expected(name)


def given(node: Node, arrays: Mapping[str, np.ndarray]) -> tuple[list, dict[str, Any]]:
    """A node's arguments and options, tensors as arrays."""
    arguments = [decode(x.get("literal", x), arrays) for x in node.arguments]
    return arguments, {name: decode(x, arrays) for name, x in node.options.items()}


def unfolded(node: Node, replay: Replay) -> dict[str, np.ndarray]:
    """What the op computes inside, from the port's inputs and its cotangent of the result."""
    arguments, options = given(node, replay.arrays)
    with use_kernels("ref"), np.errstate(all="ignore"), Unfolding() as seen:
        _, vjp = OPS[node.op].__wrapped__(*arguments, **options)  # type: ignore[attr-defined]
        vjp(replay.arrays[f"cotangent/{node.name}"])
    return seen.arrays
