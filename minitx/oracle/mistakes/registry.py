"""A mistake: its name, what to tell the user, the ops it happens to, and a function that makes it."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

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
    """One mistake, made in one node."""

    node: Node
    name: str
    sentence: str
    variant: Variant
    alone: bool = False  # it means nothing in another node
    bent: bool = False  # made in the pullback alone, though it belongs to the value as well


MISTAKES: list[Mistake] = []  # in the order in which they are offered


def mistake(name: str, ops: str, sentence: str, **settings: Any) -> Callable:
    """Enter a function ``(op, *arguments)`` as a mistake in ``ops``, names separated by spaces.

    ``op`` is the right one, of arrays.  settings: tuples of values to try; name and sentence may
    tell them in braces.
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
            texts = each.name.format(**settings), each.sentence.format(**settings)
            yield Guess(node, *texts, _variant(each.function, settings))


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
