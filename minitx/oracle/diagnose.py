"""Which of the usual mistakes reproduces a port's numbers: each is made, the best fit is named."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import updates
from .bundle import Node
from .diff import MISSHAPEN, WRONG, Check, Diff
from .measure import Difference
from .mistakes import Guess, NotHere, anywhere, known_guesses
from .replay import Variant

# Ops that only move numbers: when nothing fits, they are the last to be suspected.
MOVING = {
    "add", "astype", "broadcast_to", "concatenate", "getitem", "pad", "reshape", "stack",
    "subtract", "swapaxes", "transpose",
}  # fmt: skip
MOST_GUESSES = 1000  # for one tensor
IMPOSSIBLE = NotHere, ArithmeticError, AttributeError, IndexError, TypeError, ValueError
MOST_REWIRED = 4  # suspects whose inputs are exchanged for other tensors, which takes long


@dataclass(frozen=True)
class Fit:
    """A mistake that gives the port's numbers, or comes near."""

    guess: Guess
    left: Difference  # the port's from what the mistake gives

    @property
    def fits(self) -> bool:
        return self.left.agrees


@dataclass
class Diagnosis:
    """What is wrong with one tensor."""

    check: Check
    node: Node | None  # the op to look at
    fits: list[Fit]  # those that give the port's numbers, the likeliest first
    tried: int
    nearest: Fit | None = None  # if none does
    same: tuple[str, ...] = ()  # nodes with the same mistake, this one included
    left: int = 0  # tensors that are still wrong if it is taken for right

    @property
    def cause(self) -> str:
        """The likeliest mistake in a few words; "" if none is known."""
        return self.fits[0].guess.name if self.fits else self.check.cause


def investigate(diff: Diff, most: int = 4) -> Iterator[Diagnosis]:
    """One mistake after the other: each is taken for right, as far as the next one goes.

    Ends where nothing is left, nothing fits, or after ``most``.
    """
    for _ in range(most):
        check = diff.first
        if check is None or check.status not in (WRONG, MISSHAPEN):
            return
        found = diagnose(diff, check)
        if not found.fits:
            yield found
            return
        if check.kind in updates.KINDS:
            found.same = (found.fits[0].guess.node.name,)
            yield found
            return
        variants, better = _everywhere(diff, found.fits[0].guess)
        found.same, found.left = tuple(variants), better.count(WRONG, MISSHAPEN)
        yield found
        if found.left >= diff.count(WRONG, MISSHAPEN):
            return
        diff = better


def _everywhere(diff: Diff, guess: Guess) -> tuple[dict[str, Variant], Diff]:
    """The mistake made in one node or in all like it, whichever leaves least that is wrong."""
    sets, possible = [list(guess.variants)], dict.fromkeys(guess.variants, True)
    for alike in () if guess.alone else ALIKE:
        names = [x.name for x in diff.graph.nodes if alike(x, guess.node)]
        for name in names:
            if name not in possible:
                made = _with(diff, f"value/{name}", {name: guess.variant})
                possible[name] = made is not None
        names = [name for name in names if possible[name]]
        if len(names) > len(sets[-1]):
            sets.append(names)
    ways = [guess.variant] + [_forward_only(guess)] * diff.has_gradients
    best = None
    for variants in (dict.fromkeys(names, way) for way in ways for names in sets):
        after = diff.assuming(variants)
        if best is None or after.count(WRONG) < best[1].count(WRONG):
            best = variants, after
        if not best[1].count(WRONG):
            break
    assert best is not None
    return best


def _same_op(a: Node, b: Node) -> bool:
    return a.op == b.op


def _same_settings(a: Node, b: Node) -> bool:
    literals = [[x for x in node.arguments if "literal" in x] for node in (a, b)]
    return a.op == b.op and literals[0] == literals[1] and a.options == b.options


def _same_place(a: Node, b: Node) -> bool:
    """In another block."""
    places = [re.sub(r"[.]\d+[.]", ".*.", node.name) for node in (a, b)]
    return a.op == b.op and places[0] == places[1]


ALIKE = _same_place, _same_settings, _same_op


@np.errstate(all="ignore")
def diagnose(diff: Diff, check: Check) -> Diagnosis:
    """Make the usual mistakes in the suspects of a tensor that is wrong."""
    if check.status != WRONG or not check.suspects or check.kind == "unfold":
        node = check.suspects[-1] if check.suspects else None
        if check.kind != "value" and check.suspects:
            node = _likeliest(check)
        return Diagnosis(check, node, [], 0)
    tried: list[Fit] = []
    if check.kind in updates.KINDS:
        return _optimizer(diff, check)
    for stage in (_known, _uses, _wiring, _known_together):
        room = MOST_GUESSES - len(tried)
        tried += itertools.islice(_made(diff, check, stage(diff, check)), room)
        fitting = [fit for fit in tried if fit.fits]
        if fitting:
            best = min(_bucket(fit) for fit in fitting)
            likely = [fit for fit in fitting if _bucket(fit) <= 10 * best]
            likely.sort(key=lambda fit: fit.guess.bent)
            rest = sorted((x for x in fitting if x not in likely), key=_bucket)
            fits = _once(likely + rest)
            return Diagnosis(check, fits[0].guess.node, fits, len(tried))
    local = check.local
    assert local is not None
    near = min(tried, key=lambda fit: fit.left.relative, default=None)
    if near is not None and not near.left.relative < 0.5 * local.relative:
        near = None
    node = near.guess.node if near else _likeliest(check)
    return Diagnosis(check, node, [], len(tried), near)


def _optimizer(diff: Diff, check: Check) -> Diagnosis:
    """Steps by other rules; the best is the one that gives most of what the port has."""
    node = check.suspects[0]
    tried, theirs = [], [x for x in diff.port.arrays if x.startswith(updates.KINDS)]
    for name, sentence, rule in updates.other_rules(diff.bundle):
        made = diff.updates(rule)
        off = sum(not diff.difference(x, made[x]).agrees for x in theirs)
        guess = Guess(node, name, sentence, _no_variant)
        tried.append((off, Fit(guess, diff.difference(check.name, made[check.name]))))
    fits = [fit for _, fit in sorted(tried, key=lambda item: item[0]) if fit.fits]
    return Diagnosis(check, node, fits, len(tried))


def _no_variant(op: Callable, node: Node, arguments: list, options: dict[str, Any]) -> tuple:
    raise NotHere


def _bucket(fit: Fit) -> float:
    """How well it fits, all below a hundredth of what is allowed alike."""
    return max(fit.left.largest / (fit.left.tolerance or 1.0), 1e-2)


def _once(fits: list[Fit]) -> list[Fit]:
    seen: dict[tuple[str, str], Fit] = {}
    for fit in fits:
        seen.setdefault((fit.guess.name, fit.guess.node.name), fit)
    return list(seen.values())


def _likeliest(check: Check) -> Node:
    """Of the ops next to the tensor, one that computes something."""
    near = [part.node for part in check.parts] or check.suspects[-1:]
    computing = [node for node in near if node.op not in MOVING]
    deeper = [node for node in reversed(check.suspects) if node.op not in MOVING]
    return (computing or deeper or near)[0]


def _made(diff: Diff, check: Check, guesses: Iterable[Guess]) -> Iterator[Fit]:
    for guess in guesses:
        name = guess.node.name
        if check.kind != "value" and _forward_is_known(diff, guess.node):
            value = _with(diff, f"value/{name}", guess.variants)
            if value is None or not _near(value, diff.replay.made[f"value/{name}"]):
                guess = _backward_only(guess)
        made = _with(diff, check.name, guess.variants)
        if made is not None:
            yield Fit(guess, diff.difference(check.name, made))


def _forward_is_known(diff: Diff, node: Node) -> bool:
    """The port recorded a value that this op had a part in; and no value was wrong."""
    after = diff.graph.nodes[diff.graph.order[node.name] :]
    return any(f"value/{x.name}" in diff.port.arrays for x in after)


def _near(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True)


def _forward_only(guess: Guess) -> Variant:
    """The mistake's value, and the pullback as it should be."""

    def variant(op: Callable, node: Node, arguments: list, options: dict[str, Any]) -> tuple:
        return guess.variant(op, node, arguments, options)[0], op(*arguments, **options)[1]

    return variant


def _backward_only(guess: Guess) -> Guess:
    """The mistake's pullback, and the value as it should be."""

    def variant(op: Callable, node: Node, arguments: list, options: dict[str, Any]) -> tuple:
        return op(*arguments, **options)[0], guess.variant(op, node, arguments, options)[1]

    return replace(guess, name=f"{guess.name}, in the gradient only", variant=variant, bent=True)


def _with(diff: Diff, name: str, variants: dict[str, Variant]) -> np.ndarray | None:
    """A tensor as our ops make it, some done another way; None if that is not possible."""
    try:
        with np.errstate(all="ignore"):
            made = diff.replay.again(name, diff.replay.variants | variants)
    except IMPOSSIBLE:
        return None
    return made if made is not None and made.shape == diff.bundle.arrays[name].shape else None


def _known(diff: Diff, check: Check) -> Iterator[Guess]:
    for node in _nearest_first(check):
        yield from known_guesses(diff.graph, node)


def _known_together(diff: Diff, check: Check) -> Iterator[Guess]:
    """The same mistake in several ops between the tensor and what the port recorded."""
    done = set()
    for node in _nearest_first(check):
        for alike in ALIKE:
            names = tuple(x.name for x in check.suspects if alike(x, node))
            if len(names) > 1 and names not in done:
                done.add(names)
                for guess in known_guesses(diff.graph, node):
                    yield replace(guess, also=tuple(x for x in names if x != node.name))


def _uses(diff: Diff, check: Check) -> Iterator[Guess]:
    """Left out, skipped, rescaled."""
    theirs, ours = diff.port.arrays[check.name], diff.expected(check.name)
    if check.kind == "value":
        for node in _nearest_first(check):
            yield from anywhere.skipped(node, diff.replay)
            if f"value/{node.name}" == check.name:
                yield from anywhere.rescaled(node, theirs, ours)
                yield from anywhere.branch_rescaled(node, diff.replay, theirs, ours)
        return
    uses = [(x, *use) for x in _nearest_first(check) for use in anywhere.uses(x, diff.replay)]
    uses.sort(key=lambda use: use[2] != check.name)  # of this very tensor first
    for use in uses:
        left_out = anywhere.use_left_out(*use, diff.replay)
        yield left_out
        yield from anywhere.sum_cut_short(*use)
        without = _with(diff, check.name, left_out.variants)
        if without is not None:
            yield from anywhere.use_rescaled(*use, diff.replay, theirs, ours, without)


def _wiring(diff: Diff, check: Check) -> Iterator[Guess]:
    if check.kind == "value":
        for node in _nearest_first(check)[:MOST_REWIRED]:
            yield from anywhere.rewired(node, diff.replay)


def _nearest_first(check: Check) -> list[Node]:
    """A value's maker first; a gradient's nearest user first, and those that compute something."""
    if check.kind == "value":
        return check.suspects[::-1]
    near = [part.node for part in check.parts]
    near.sort(key=lambda node: node.op in MOVING)
    return near + [node for node in check.suspects if node not in near]
