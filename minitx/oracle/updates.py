"""Steps of AdamW once more, on the bundle's graph: moments and parameters, by several rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .bundle import Bundle, Node
from .replay import Graph, Replay

KINDS = "moment1", "moment2", "updated"


@dataclass(frozen=True)
class Rule:
    """Loshchilov and Hutter 2019, algorithm 2, and the choices that ports make differently."""

    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    decayed: frozenset[str] = field(default_factory=frozenset)
    inside: bool = False  # eps within the root
    corrected: bool = True  # moments divided by 1 - beta ** step
    coupled: bool = False  # the decay is added to the gradient (L2)
    times_lr: bool = True  # the decay is scaled by the learning rate
    first: int = 1  # the number of the first step
    decay_last: bool = False  # after the update, not before

    def step(self, name, x, g, m, v, number):
        """-> the new x, m and v"""
        (b1, b2), t = self.betas, number - 1 + self.first
        decay = self.weight_decay if name in self.decayed else 0.0
        if self.coupled:
            g = g + decay * x
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        m_hat, v_hat = (m / (1 - b1**t), v / (1 - b2**t)) if self.corrected else (m, v)
        root = np.sqrt(v_hat + self.eps) if self.inside else np.sqrt(v_hat) + self.eps
        update = self.lr * m_hat / root
        share = 0.0 if self.coupled else decay * (self.lr if self.times_lr else 1.0)
        x = (x - update) * (1 - share) if self.decay_last else x * (1 - share) - update
        return x, m, v


# What each mistake changes in the rule; and what to tell.
RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "eps inside the root": (
        "the port divides by sqrt(v + eps); it should be sqrt(v) + eps",
        {"inside": True},
    ),
    "no bias correction": (
        "the port does not divide the moments by 1 - beta ** step",
        {"corrected": False},
    ),
    "bias correction counts from 0": (
        "the port's first step has number 0 in beta ** step; it should be 1",
        {"first": 0},
    ),
    "bias correction one step ahead": (
        "the port's first step has number 2 in beta ** step; it should be 1",
        {"first": 2},
    ),
    "L2 instead of decoupled decay": (
        "the port adds the weight decay to the gradient, so that it enters the moments (Adam)",
        {"coupled": True},
    ),
    "no weight decay": ("the port does not decay weights", {"weight_decay": 0.0}),
    "decay not times lr": (
        "the port shrinks weights by the decay itself; it should be lr * decay",
        {"times_lr": False},
    ),
    "decay after the update": (
        "the port shrinks weights after the update; it should be before",
        {"decay_last": True},
    ),
    "decay of biases and norms": (
        "the port decays every parameter; the golden run only matrices and tables",
        {"decayed": None},
    ),
    "beta2 is 0.95": ("the port's second beta is 0.95", {"beta2": 0.95}),
    "beta2 is 0.98": ("the port's second beta is 0.98", {"beta2": 0.98}),
    "beta2 is 0.999": ("the port's second beta is 0.999", {"beta2": 0.999}),
    "eps is 1e-6": ("the optimizer's eps is 1e-6 in the port", {"eps": 1e-6}),
    "eps is 1e-8": ("the optimizer's eps is 1e-8 in the port", {"eps": 1e-8}),
}


def rule_of(bundle: Bundle) -> Rule | None:
    """The bundle's own; None if it was not trained, or not by AdamW."""
    given = bundle.manifest.get("optimizer") or {}
    if given.get("name") != "AdamW":
        return None
    betas = given["betas"]["tuple"] if isinstance(given["betas"], dict) else given["betas"]
    decayed = frozenset(given["decayed"])
    return Rule(given["lr"], tuple(betas), given["eps"], given["weight_decay"], decayed)


def other_rules(bundle: Bundle) -> Iterator[tuple[str, str, Rule]]:
    """(name, sentence, rule) of each mistake that makes a difference."""
    right = rule_of(bundle)
    assert right is not None
    for name, (sentence, changes) in RULES.items():
        changes = dict(changes)
        if "decayed" in changes:
            changes["decayed"] = frozenset(bundle.kind("parameter"))
        if "beta2" in changes:
            changes["betas"] = right.betas[0], changes.pop("beta2")
        if (wrong := replace(right, **changes)) != right:
            yield name, sentence, wrong


def optimizer_node(bundle: Bundle) -> Node:
    """What is to blame for moments and parameters."""
    return Node("optimizer", bundle.manifest["optimizer"]["name"], "", "minitx/optim.py", [], {})


def simulate(
    graph: Graph,
    rule: Rule,
    recorded: Mapping[str, np.ndarray],
    replay: Replay | None = None,
) -> dict[str, np.ndarray]:
    """The moments and parameters after the bundle's steps, by their full names.

    recorded: the port's arrays, of which the first step takes parameters and gradients.  replay: of
    the first step, where the port recorded no gradient; the later ones make its variants too.
    """
    replay = replay or Replay(graph, {})
    bundle = graph.bundle
    steps = len(bundle.manifest["losses"])
    start = {
        name: recorded.get(f"parameter/{name}", y).astype(np.float64)
        for name, y in bundle.kind("parameter").items()
    }
    x = {name: start[name] for name in bundle.kind("moment1")}  # the others are not trained
    m, v = ({name: np.zeros(y.shape) for name, y in x.items()} for _ in "mv")
    for number in range(1, steps + 1):
        if number > 1:
            now = {f"parameter/{name}": y for name, y in x.items()}
            replay = Replay(graph, now, replay.variants)
        with np.errstate(all="ignore"):
            for name in x:
                g = replay.total(f"grad/{name}")
                if number == 1:
                    g = recorded.get(f"grad/{name}", g)
                g = np.zeros(x[name].shape) if g is None else g
                state = x[name], g, m[name], v[name]
                x[name], m[name], v[name] = rule.step(name, *state, number)
    found = zip(KINDS, (m, v, start | x), strict=True)
    return {f"{kind}/{name}": y for kind, state in found for name, y in state.items()}
