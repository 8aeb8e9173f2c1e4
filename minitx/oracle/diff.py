"""Where a port first departs from a golden bundle, and whether that op or its input is to blame.

Each tensor that the port recorded is compared twice: with the golden one, and with what our op
makes of the port's own inputs.  If only the first comparison fails, the error came from before; if
both do, the op itself is wrong.  Values go in order of execution, cotangents in reverse order, each
against the sum of our pullbacks over the tensor's uses; then the gradients of parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from . import updates
from .bundle import Bundle, Node
from .measure import Difference, difference
from .port import Port, PortError, adopt
from .replay import Graph, Part, Replay, Variant, unfolded
from .shapes import misfit
from .tolerance import largest, strict

AGREES, PROPAGATED, WRONG = "agrees", "propagated", "wrong here"
FOREIGN = "differs"  # an input or a parameter: the port ran on something else
MISSHAPEN = "misshapen"
GRADIENTS = "cotangent/", "grad/", *updates.KINDS


@dataclass
class Check:
    """One tensor of the port's."""

    name: str  # ours
    theirs: str
    status: str
    total: Difference | None = None  # from the golden tensor
    local: Difference | None = None  # from our op, applied to the port's inputs
    suspects: list[Node] = field(default_factory=list)  # the ops in between, in order of execution
    parts: list[Part] = field(default_factory=list)  # what each use adds to a gradient, by our ops
    cause: str = ""  # of a wrong shape, and a sentence about it
    note: str = ""

    @property
    def kind(self) -> str:
        return self.name.partition("/")[0]


class Diff:
    """``checks`` in the order in which things go wrong; ``first`` of those that are wrong.

        diff = Diff(bundle, adopt(bundle, arrays, table))
        diff.first.name, diff.first.local.largest, diff.first.suspects

    tolerance: of every tensor, relative to its largest element, instead of the bundle's own.
    variants: other ways to do some nodes, by name, that are to be taken for right.
    """

    def __init__(
        self,
        bundle: Bundle,
        port: Port,
        tolerance: float | None = None,
        variants: Mapping[str, Variant] | None = None,
    ):
        self.bundle, self.port, self.relative = bundle, port, tolerance
        self.graph = Graph(bundle)
        try:
            backward = self.has_gradients or any("unfold/" in name for name in port.theirs)
            self.replay = Replay(self.graph, port.arrays, variants, backward=backward)
        except (IndexError, TypeError, ValueError) as error:
            raise PortError(f"our ops cannot run on the port's inputs: {error}") from None
        self._sizes: dict[str, float] = {}
        self._updates: dict[updates.Rule, dict[str, np.ndarray]] = {}
        self.checks: list[Check] = []
        for name in self._order():
            self.checks.append(self._check(name))

    @property
    def first(self) -> Check | None:
        """The first tensor that is wrong by itself; failing that, the first that is off at all.

        What an op computes inside is told with the op.
        """
        for wanted in ((WRONG, MISSHAPEN), (FOREIGN,), (PROPAGATED,)):
            found = [check for check in self.checks if check.status in wanted]
            if found:
                return next((check for check in found if check.kind != "unfold"), found[0])
        return None

    def assuming(self, variants: Mapping[str, Variant]) -> Diff:
        """The same comparison with some nodes done another way."""
        return Diff(self.bundle, self.port, self.relative, self.replay.variants | dict(variants))

    @property
    def has_gradients(self) -> bool:
        """The port tells more than values."""
        return any(name.startswith(GRADIENTS) for name in self.port.theirs)

    @property
    def clean(self) -> bool:
        return all(check.status == AGREES for check in self.checks)

    def count(self, *statuses: str) -> int:
        return sum(check.status in statuses for check in self.checks)

    def tolerance(self, name: str, expected: np.ndarray) -> float:
        """What a tensor of the port's may be off by; more where its numbers are larger."""
        golden, kind = self.bundle.arrays[name], name.partition("/")[0]
        size = max(_size(golden), 1e-6 * self._largest(kind))
        if self.relative is not None:
            allowed = self.relative * size
        else:
            eps = np.finfo(self.port.dtype).eps / np.finfo(np.float32).eps
            allowed = self.bundle.tolerance(name) * eps
            if self.port.dtype == np.float64:
                allowed = strict(golden, self._largest(kind))
        return allowed * max(1.0, _size(expected) / size if size else 1.0)

    def difference(self, name: str, expected: np.ndarray) -> Difference:
        """Of the port's tensor from another of its shape."""
        expected = expected.astype(np.float64)
        theirs = self.port.arrays[name].astype(np.float64, copy=False)
        allowed = self.tolerance(name, expected)
        if name.startswith("unfold/"):  # a masked score may be any large negative number
            theirs = np.where(np.isneginf(expected) & (theirs < -1e3), expected, theirs)
        return difference(theirs, expected, allowed, self.port.dtype)

    def _largest(self, kind: str) -> float:
        if kind not in self._sizes:
            self._sizes[kind] = largest(self.bundle.kind(kind))
        return self._sizes[kind]

    def _order(self) -> list[str]:
        nodes = [node.name for node in self.graph.nodes]
        order = [x for kind in ("input", "parameter", "constant") for x in self._of(kind)]
        order += [f"value/{name}" for name in nodes]
        order += [f"cotangent/{name}" for name in reversed(nodes)]
        order += [x for kind in ("grad", *updates.KINDS) for x in self._of(kind)]
        rest = [x for x in self.bundle.arrays if x not in set(order)]
        return [name for name in order + rest if name in self.port.theirs]

    def _of(self, kind: str) -> list[str]:
        return [name for name in self.bundle.arrays if name.startswith(f"{kind}/")]

    def _check(self, name: str) -> Check:
        check = Check(name, self.port.theirs[name], AGREES)
        updated = name in self.updates()
        computed = updated or check.kind in ("value", "cotangent", "grad", "unfold")
        if updated:
            check.suspects = [updates.optimizer_node(self.bundle)]
        elif check.kind == "unfold":
            check.suspects = [self.graph.bundle.nodes[name[7:].rpartition("/")[0]]]
        elif computed:
            check.suspects = self.graph.span(name, self.port.arrays)
            check.parts = self.replay.parts.get(name, [])
        ours = self.expected(name) if computed else None
        if name in self.port.misshapen:
            check.status = MISSHAPEN
            golden = self.bundle.arrays[name].astype(np.float64)
            ours = golden if ours is None else ours
            check.cause, check.note = misfit(self.port.misshapen[name], golden, ours)
            return check
        check.total = self.difference(name, self.bundle.arrays[name])
        if not computed:
            given = check.kind in ("input", "parameter", "constant")
            check.status = AGREES if check.total.agrees else FOREIGN if given else WRONG
            check.local = check.total  # nothing else is known
            return check
        assert ours is not None
        check.local = self.difference(name, ours)
        if not check.total.agrees:
            known = check.kind == "unfold" and check.suspects[0].name in self.replay.variants
            blameless = check.local.agrees or known or self._spoilt(name)
            check.status = PROPAGATED if blameless else WRONG
        return check

    def expected(self, name: str) -> np.ndarray:
        """A value or a gradient as our ops make it from the port's tensors."""
        if name.startswith(updates.KINDS):
            return self.updates()[name]
        if name.startswith("unfold/"):
            node, _, variable = name[7:].rpartition("/")
            return unfolded(self.graph.bundle.nodes[node], self.replay)[variable]
        found = self.replay.expected(name)
        if found is not None:
            return found
        if name.startswith("cotangent/") and name not in self.graph.users:
            return self.bundle.arrays[name]  # the loss's own, nobody's sum
        return np.zeros(self.bundle.arrays[name].shape)

    def updates(self, rule: updates.Rule | None = None) -> dict[str, np.ndarray]:
        """What the optimizer makes of the port's gradients; {} if the port tells nothing of it."""
        own = updates.rule_of(self.bundle)
        if own is None or not any(name.startswith(updates.KINDS) for name in self.port.theirs):
            return {}
        rule = rule or own
        if rule not in self._updates:
            given = self.graph, rule, self.port.arrays, self.replay
            self._updates[rule] = updates.simulate(*given)
        return self._updates[rule]

    def _spoilt(self, name: str) -> bool:
        """Not finite, after another tensor that was not: where NaN spreads to tells nothing."""
        if np.isfinite(self.port.arrays[name]).all():
            return False
        earlier = (self.port.arrays[x.name] for x in self.checks if x.name in self.port.arrays)
        return any(not np.isfinite(x).all() for x in earlier)


def _size(x: np.ndarray) -> float:
    """The largest finite number."""
    return float(np.abs(x[np.isfinite(x)].astype(np.float64)).max(initial=0.0))


def compare(
    bundle: Bundle,
    given: Mapping[str, np.ndarray],
    table: Mapping[str, str | None] | None = None,
    tolerance: float | None = None,
) -> Diff:
    """The port's arrays, under its own names, against a bundle.  -> Diff

    table: the bundle's names by the port's; see ``port.adopt``.  tolerance: see ``Diff``.
    Raises PortError on what cannot be compared.
    """
    return Diff(bundle, adopt(bundle, given, table), tolerance)
