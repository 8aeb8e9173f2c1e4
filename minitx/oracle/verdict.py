"""What ``minitx diff`` says: as text for people, as JSON for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from .bundle import Node
from .diagnose import Diagnosis
from .diff import AGREES, FOREIGN, MISSHAPEN, PROPAGATED, WRONG, Check, Diff
from .measure import Difference

GROUPS = {
    "inputs": ("input", "parameter", "constant"),
    "values": ("value", "unfold"),
    "cotangents": ("cotangent",),
    "gradients": ("grad",),
    "optimizer": ("moment1", "moment2", "updated"),
}
TOLD = {
    AGREES: "agree",
    WRONG: "wrong here",
    MISSHAPEN: "of another shape",
    PROPAGATED: "off because of others",
    FOREIGN: "not the golden ones",
}
MOST_NAMES = 6


def text(diff: Diff, findings: list[Diagnosis]) -> str:
    """The whole report."""
    blocks = ["\n".join(_overview(diff))]
    blocks += ["\n".join(_finding(diff, found, i)) for i, found in enumerate(findings, 1)]
    blocks.append("\n".join(_closing(diff, findings)))
    return "\n\n".join(block for block in blocks if block)


def to_json(diff: Diff, findings: list[Diagnosis]) -> dict[str, Any]:
    """The same, and every tensor's numbers."""
    first = diff.first
    return {
        "clean": diff.clean,
        "first": first.name if first else None,
        "findings": [_finding_json(found) for found in findings],
        "counts": {status: diff.count(status) for status in TOLD},
        "unknown": diff.port.unknown,
        "tensors": [_check_json(check) for check in diff.checks],
    }


# ---- the overview --------------------------------------------------------------------------------


def _overview(diff: Diff) -> Iterator[str]:
    model = diff.bundle.manifest.get("model", "")
    yield (
        f"{model}: {len(diff.checks)} tensors compared, the port's in {diff.port.dtype}; "
        f"the bundle has {len(diff.bundle.arrays)}"
    )
    for group, kinds in GROUPS.items():
        checks = [check for check in diff.checks if check.kind in kinds]
        counts = {status: sum(x.status == status for x in checks) for status in TOLD}
        told = [f"{counts[status]} {words}" for status, words in TOLD.items() if counts[status]]
        if told:
            yield f"  {group:<11} {', '.join(told)}"
    if diff.port.unknown:
        yield f"  not in the bundle: {_names(diff.port.unknown)}"
    foreign = [check for check in diff.checks if check.status == FOREIGN]
    if foreign:
        yield f"  the port ran on other inputs: {_names([check.name for check in foreign])}"


def _names(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


# ---- one finding ---------------------------------------------------------------------------------


def _finding(diff: Diff, found: Diagnosis, number: int) -> Iterator[str]:
    check = found.check
    yield f"{number}. {check.name}" + (
        f", the port's {check.theirs}" * (check.theirs != check.name)
    )
    if check.total is not None and check.local is not None:
        yield from _numbers(check, check.total, check.local)
    if found.node is not None:
        yield f"   op      {_place(found.node)}"
        others = [x.name for x in check.suspects if x.name != found.node.name]
        if others and not found.fits and check.kind == "value":
            yield from _wrapped(
                f"not recorded in between, as likely: {_names(others)}", "           "
            )
        inside = [x for x in diff.checks if x.kind == "unfold" and x.suspects[0] == found.node]
        if inside and check.kind != "unfold":
            told = (f"{x.name.rpartition('/')[2]} {_inside(x)}" for x in inside)
            yield from _wrapped(f"inside it: {', '.join(told)}")
    yield from _cause(diff, found)


def _inside(check: Check) -> str:
    return "is off" if check.status != AGREES else "agrees"


def _place(node: Node) -> str:
    return f"{node.name}, {node.op} at {node.source}"


def _numbers(check: Check, total: Difference, local: Difference) -> Iterator[str]:
    what = {
        "value": "our op on the port's inputs",
        "cotangent": "our pullbacks on the port's",
        "grad": "our pullbacks on the port's",
        "unfold": "our op on the port's inputs",
    }.get(check.kind, "our steps on the port's")
    yield f"   {'':<32}{'max abs':>10}{'rel L2':>10}{'cosine':>10}{'ulp':>10}{'allowed':>10}"
    for label, d in (("from the golden tensor", total), (f"from {what}"[:32], local)):
        numbers = f"{d.largest:>10.2g}{d.relative:>10.2g}{d.cosine:>10.6f}{d.ulp:>10.2g}"
        yield f"   {label:<32}{numbers}{d.tolerance:>10.2g}"
    place = ", ".join(map(str, local.index))
    yield f"   worst at [{place}]: the port has {local.theirs:.9g}, expected {local.expected:.9g}"
    if local.where:
        yield f"   wrong only on {local.where}"


def _cause(diff: Diff, found: Diagnosis) -> Iterator[str]:
    if found.fits:
        best = found.fits[0]
        yield f"   cause   {best.guess.name}"
        yield from _wrapped(best.guess.sentence)
        left, tried = best.left, found.tried
        yield (
            f"           leaves {left.largest:.2g} of {left.tolerance:.2g} allowed, "
            f"best of {tried} that were tried"
        )
        others = dict.fromkeys(x.guess.name for x in found.fits if x.guess.name != best.guess.name)
        if others:
            yield from _wrapped(f"it might also be: {'; '.join([*others][:3])}")
        if len(found.same) > 1:
            same = [name for name in found.same if name != best.guess.node.name]
            yield from _wrapped(f"and likewise in {_names(same)}")
    elif found.check.cause:
        yield f"   cause   {found.cause}"
        yield from _wrapped(found.check.note)
    elif found.check.status == WRONG:
        yield f"   cause   none of the {found.tried} usual mistakes that were tried"
        if near := found.nearest:
            yield from _wrapped(
                f"the nearest, {near.guess.name}, leaves {near.left.relative:.2g} (rel L2)"
            )


def _wrapped(sentence: str, indent: str = "           ") -> list[str]:
    return textwrap.wrap(sentence, 96, initial_indent=indent, subsequent_indent=indent)


# ---- the end -------------------------------------------------------------------------------------


def _closing(diff: Diff, findings: list[Diagnosis]) -> Iterator[str]:
    if diff.clean:
        yield "no divergence"
    elif not findings and diff.count(FOREIGN):
        yield "every op agrees with ours on the port's own inputs; give the port the golden ones"
    elif not findings:
        first = diff.first
        assert first is not None and first.total is not None
        yield (
            f"every op agrees with ours on the port's own inputs, yet {first.name} is off by "
            f"{first.total.largest:.2g} of {first.total.tolerance:.2g} allowed: rounding that adds "
            "up, or a tolerance that is too tight (--tolerance)"
        )
    else:
        left = findings[-1].left
        these = "this" if len(findings) == 1 else f"these {len(findings)}"
        if findings[-1].fits and not left:
            yield f"With {these} explained, every other tensor follows."
        elif findings[-1].fits:
            yield f"With {these} explained, {left} tensors are still wrong."
        else:
            yield f"Correct {these} first, then compare again."


# ---- JSON ----------------------------------------------------------------------------------------


def _check_json(check: Check) -> dict[str, Any]:
    return {
        "name": check.name,
        "theirs": check.theirs,
        "status": check.status,
        "from_golden": check.total and check.total.to_json(),
        "from_our_op": check.local and check.local.to_json(),
        "suspects": [node.name for node in check.suspects] if check.status == WRONG else [],
        "note": check.note,
    }


def _finding_json(found: Diagnosis) -> dict[str, Any]:
    fits = [
        {
            "name": fit.guess.name,
            "sentence": fit.guess.sentence,
            "node": fit.guess.node.name,
            "leaves": fit.left.to_json()["largest"],
        }
        for fit in found.fits
    ]
    return {
        "tensor": found.check.name,
        "node": found.node and found.node.name,
        "op": found.node and found.node.op,
        "cause": found.cause,
        "causes": fits,
        "tried": found.tried,
        "same": list(found.same),
        "left": found.left,
    }
