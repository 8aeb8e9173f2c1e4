"""A mistake: its name, a sentence for the user, the ops it happens to, a function that makes it."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...tensor import OPS
from ..bundle import Node
from ..replay import Graph, Variant

HEADS = object()  # a setting to be tried: each number of heads that the model's attention has


class NotHere(Exception):
    """A mistake that cannot be made with these arguments."""


@dataclass(frozen=True)
class Mistake:
    name: str
    sentence: str
    ops: tuple[str, ...]
    function: Callable  # (op, *arguments, **options) -> value, pullback; None where it cannot be
    settings: dict[str, Any]  # values to try, by the names of further arguments


@dataclass(frozen=True)
class Guess:
    """One mistake, made in one node, or in more at once."""

    node: Node
    name: str
    sentence: str
    variant: Variant
    also: tuple[str, ...] = ()  # other nodes that make it too
    alone: bool = False  # it means nothing in another node
    bent: bool = False  # made in the pullback alone, though it belongs to the value as well

    @property
    def variants(self) -> dict[str, Variant]:
        return dict.fromkeys((self.node.name, *self.also), self.variant)


MISTAKES: list[Mistake] = []  # in the order in which they are offered


def mistake(name: str, ops: str, sentence: str, **settings: Any) -> Callable:
    """Enter a function ``(op, *arguments)`` as a mistake in ``ops``, names separated by spaces.

    ``op`` is the right one, of arrays.  settings: tuples of values to try; name and sentence may
    tell them in braces, and the op's own arguments that are no arrays.
    """

    def enter(function: Callable) -> Callable:
        MISTAKES.append(Mistake(name, sentence, tuple(ops.split()), function, settings))
        return function

    return enter


def known_guesses(graph: Graph, node: Node) -> Iterator[Guess]:
    """Every mistake of the table that this op may have."""
    for each in MISTAKES:
        if node.op not in each.ops:
            continue
        values = (heads_of(graph) if x is HEADS else x for x in each.settings.values())
        for chosen in itertools.product(*values):
            settings = dict(zip(each.settings, chosen, strict=True))
            words = _literals(node) | settings
            texts = each.name.format(**words), each.sentence.format(**words)
            yield Guess(node, *texts, _variant(each.function, settings))


def _literals(node: Node) -> dict[str, Any]:
    """What the op was given besides arrays, by its parameters' names."""
    parameters = inspect.signature(OPS[node.op]).parameters
    given = dict(zip(parameters, node.arguments, strict=False))
    return {name: x["literal"] for name, x in given.items() if "literal" in x} | node.options


def _variant(function: Callable, settings: dict[str, Any]) -> Variant:
    def variant(op: Callable, node: Node, arguments: list, options: dict[str, Any]) -> tuple:
        bound = inspect.signature(op).bind(*arguments, **options)
        bound.apply_defaults()
        made = function(op, *bound.args, **bound.kwargs, **settings)
        if made is None:
            raise NotHere
        return made

    return variant


def heads_of(graph: Graph) -> list[int]:
    """The numbers of heads of the model's attentions."""
    heads = set()
    for node in graph.nodes:
        if node.op == "self_attend":
            heads.add(int(node.arguments[1]["literal"]))
        elif node.op == "attend":
            heads.add(graph.bundle.arrays[node.inputs[0]].shape[1])
    return sorted(heads)


# ---- to change a pullback ------------------------------------------------------------------------


def entries(vjp: Callable, dy: np.ndarray) -> list:
    """A pullback's gradients as arrays."""
    return [x() if callable(x) else x for x in vjp(dy)]


def edited(vjp: Callable, position: int, edit: Callable) -> Callable:
    """The pullback with one of its gradients replaced by ``edit(gradient, dy)``."""

    def other(dy):
        found = entries(vjp, dy)
        if found[position] is not None:
            found[position] = edit(found[position], dy)
        return tuple(found)

    return other
