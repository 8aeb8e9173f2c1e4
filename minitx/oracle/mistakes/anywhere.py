"""Mistakes that any op may have: a use left out or counted twice, a short sum, a wrong input."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..bundle import Node
from ..replay import Replay, gradient_of
from .registry import Guess, NotHere, edited, entries

RESIDUAL = "add"


def _wrapped(change: Callable) -> Callable:
    """A variant of what is to be done to the op's value and pullback."""

    def variant(op: Callable, node: Node, arguments: list, options: dict[str, Any]) -> tuple:
        return change(*op(*arguments, **options), arguments)

    return variant


def title(tensor: str) -> str:
    """A tensor's name without its kind."""
    return tensor.partition("/")[2]


# ---- values --------------------------------------------------------------------------------------


def skipped(node: Node, replay: Replay) -> Iterator[Guess]:
    """The op is not done at all: its result is one of its inputs."""
    for position, tensor in node.inputs.items():
        others = [x for i, x in node.inputs.items() if i != position]

        def change(value, vjp, arguments, position=position):
            if not isinstance(arguments[position], np.ndarray):
                raise NotHere
            x = np.broadcast_to(arguments[position], value.shape)  # ValueError: not here
            gradients: list = [None] * len(arguments)

            def back(dy):
                gradients[position] = dy
                return tuple(gradients)

            return x, back

        name, why = f"{node.op} left out", f"the port hands {title(tensor)} on as it is"
        if node.op == RESIDUAL:
            around = len(replay.graph.users[gradient_of(others[0])]) > 1 if others else False
            told = ", ".join(map(title, others))
            name = "residual dropped" if around else f"{told} not added"
            why = f"the port does not add {told}"
        yield Guess(node, name, why, _wrapped(change))


def rewired(node: Node, replay: Replay) -> Iterator[Guess]:
    """The op reads another tensor of the same shape."""
    order = replay.graph.order
    for position, tensor in node.inputs.items():
        here = replay.arrays[tensor]
        for other, x in replay.arrays.items():
            kind = other.partition("/")[0]
            itself = other in (tensor, f"value/{node.name}")
            if itself or x.shape != here.shape or kind not in ("value", "parameter"):
                continue
            maker = replay.graph.maker(other)
            later = maker is not None and order[maker.name] > order[node.name]
            name, why = _wiring(node, tensor, other, later)
            yield Guess(node, name, why, _reading(position, x), alone=True)


def _reading(position: int, x: np.ndarray) -> Callable:
    def variant(op: Callable, node: Node, arguments: list, options: dict[str, Any]) -> tuple:
        given = [*arguments[:position], x, *arguments[position + 1 :]]
        return op(*given, **options)

    return variant


def _wiring(node: Node, tensor: str, other: str, later: bool) -> tuple[str, str]:
    read = f"{node.op} reads {title(other)}; it should read {title(tensor)}"
    if "norm" in node.op and other.startswith("value/"):
        if later:
            why = f"the port normalises after the residual: {read}"
            return "post-norm instead of pre-norm", why
        return "norm of another tensor", read
    if "norm" in tensor and "norm" not in other and other.startswith("value/"):
        return "norm left out", f"the port does not normalise here: {read}"
    if node.op == RESIDUAL and "norm" in other:
        return "residual taken after the norm", f"the residual should be the norm's input: {read}"
    if node.op == RESIDUAL:
        return "residual from another place", read
    if other.startswith("parameter/"):
        return "another parameter", read
    return "another input", read


def rescaled(node: Node, theirs: np.ndarray, ours: np.ndarray) -> Iterator[Guess]:
    """The whole result is a multiple of ours."""
    if told := _told(factor := _factor(theirs, ours), ours.size):

        def change(value, vjp, arguments):
            return value * factor, lambda dy: vjp(dy * factor)

        why = f"the port's result is {told} times ours"
        yield Guess(node, f"result times {told}", why, _wrapped(change))


def branch_rescaled(
    node: Node, replay: Replay, theirs: np.ndarray, ours: np.ndarray
) -> Iterator[Guess]:
    """A sum, one side of which counts another number of times than once."""
    for position, tensor in node.inputs.items() if node.op == RESIDUAL else ():
        x = np.broadcast_to(replay.arrays[tensor], ours.shape)
        if told := _told(factor := _factor(theirs - ours + x, x), ours.size):

            def change(value, vjp, arguments, position=position, factor=factor):
                more = value + (factor - 1) * arguments[position]
                return more, edited(vjp, position, lambda entry, dy: entry * factor)

            why = f"the port adds {title(tensor)} {told} times"
            yield Guess(node, f"one side times {told}", why, _wrapped(change))


# ---- gradients -----------------------------------------------------------------------------------


def uses(node: Node, replay: Replay) -> Iterator[tuple[int, str]]:
    """The positions of arguments that get a gradient, and the gradients' names."""
    for position, tensor in node.inputs.items():
        if gradient_of(tensor) in replay.graph.bundle.arrays:
            yield position, gradient_of(tensor)


def use_left_out(node: Node, position: int, gradient: str, replay: Replay) -> Guess:
    """One use of a tensor adds nothing to its gradient."""
    others = [x.name for x in replay.graph.users[gradient] if x is not node]
    name = "gradient left out"
    why = f"the port's gradient of {title(gradient)} lacks {node.name}'s part"
    if node.op == RESIDUAL and others:
        name = "residual's gradient left out"
        why = f"in the port's backward pass nothing goes around {', '.join(others)}: {why}"
    elif gradient.startswith("grad/") and others:
        name = "tied gradient left out"
        why = f"{title(gradient)} is used by {node.name} too; only {', '.join(others)} adds to it"
    return Guess(node, name, why, _scaled_part(position, 0.0))


def use_rescaled(
    node: Node,
    position: int,
    gradient: str,
    replay: Replay,
    theirs: np.ndarray,
    ours: np.ndarray,
    without: np.ndarray,
) -> Iterator[Guess]:
    """One use of a tensor counts another number of times than once.

    theirs, ours, without: what the port has, what we have, and what we have without this use.
    """
    if not all(np.isfinite(x).all() for x in (theirs, ours, without)):
        return
    told = _told(factor := _factor(theirs - without, ours - without), ours.size)
    if told is None:
        return
    name = "gradient counted twice" if told == "2" else f"gradient times {told}"
    why = f"the port takes {node.name}'s part of the gradient of {title(gradient)} {told} times"
    if told in {f"1/{count}" for count in replay.graph.counts}:
        name, why = "gradient averaged, not summed", f"{why}: a mean where a sum is due"
    yield Guess(node, name, why, _scaled_part(position, factor))


def _scaled_part(position: int, factor: float) -> Callable:
    def change(value, vjp, arguments):
        return value, edited(vjp, position, lambda entry, dy: entry * factor)

    return _wrapped(change)


# The terms that a sum may be cut short to, by their place in the op's result.
TERMS = {"[0]": (0,), "[-1]": (-1,), "[:, 0]": (slice(None), 0), "[:, -1]": (slice(None), -1)}
TERMS |= {"[0, 0]": (0, 0), "[-1, -1]": (-1, -1)}


def sum_cut_short(node: Node, position: int, gradient: str) -> Iterator[Guess]:
    """A sum over the batch or the positions that has only some of its terms."""
    for told, place in TERMS.items():

        def change(value, vjp, arguments, place=place):
            if value.ndim <= len(place) or 1 in value.shape[: len(place)]:
                raise NotHere

            def cut(entry, dy):
                one = np.zeros_like(dy)
                one[place] = dy[place]
                return entries(vjp, one)[position]

            return value, edited(vjp, position, cut)

        name = "gradient of a part only, not summed"
        why = (
            f"the gradient of {title(gradient)} has only what {node.name}{told} adds to it; "
            "it should be summed over all (unbroadcast)"
        )
        yield Guess(node, name, why, _wrapped(change))


# ---- factors -------------------------------------------------------------------------------------


def _factor(theirs: np.ndarray, ours: np.ndarray) -> float:
    """The multiple of ``ours`` that is nearest to ``theirs``."""
    with np.errstate(all="ignore"):
        square = float((ours * ours).sum())
        factor = float((theirs * ours).sum()) / square if square else 0.0
    return factor if math.isfinite(factor) else 0.0


def _told(factor: float, size: int) -> str | None:
    """A factor in words, or in digits where there are too many numbers for it to fit by chance."""
    if abs(factor) < 1e-5 or abs(factor - 1) < 1e-9:
        return None
    many = size >= 8
    return tell_factor(factor, 4096 if many else 64) or (f"{factor:.6g}" if many else None)


def tell_factor(x: float, largest: int) -> str | None:
    """A factor in words that a formula may have: -1, 12, 1/12, sqrt(12), 1/sqrt(12)."""
    sign, size = "-" if x < 0 else "", abs(x)
    for value, form in (
        (size, "{}"),
        (1 / size, "1/{}"),
        (size * size, "sqrt({})"),
        (1 / size**2, "1/sqrt({})"),
    ):
        whole = round(value)
        near = abs(value - whole) <= 1e-6 * value
        if near and (1 < whole <= largest or (whole == 1 and x < 0)):
            return sign + form.format(whole)
    return None
