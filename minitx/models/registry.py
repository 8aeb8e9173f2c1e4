"""Every model by the names of its presets, with inputs to try it on.

    model, inputs = example("gpt2", small=True)
    model.loss(**inputs)

A new model is a new entry of ``FAMILIES``.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..nn import Module
from .gpt import GPT, GPTConfig


@dataclass(frozen=True)
class Family:
    """A paper's models.  The presets are the config's classmethods."""

    config: Any  # a dataclass
    model: Callable[[Any, np.random.Generator], Module]
    small: Callable[[Any], Any]  # a preset's config -> the same in a size for tests
    inputs: Callable[[Any, np.random.Generator, int], dict[str, Any]]  # config, rng, batch -> loss
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)  # of presets

    def presets(self) -> dict[str, str]:
        """Name -> classmethod of the config."""
        own = [name for name, x in vars(self.config).items() if isinstance(x, classmethod)]
        return {name: name for name in own} | dict(self.aliases)


def _small_gpt(c: GPTConfig) -> GPTConfig:
    sizes: dict[str, Any] = {"vocab_size": 17, "context": 8, "layers": 2, "heads": 2, "width": 16}
    return dataclasses.replace(c, **sizes, window=min(c.window, 3))


def _texts(c: GPTConfig, rng: np.random.Generator, batch: int) -> dict[str, Any]:
    """Token ids, each scored on the next; the last of the first text on nothing."""
    ids = rng.integers(0, c.vocab_size, (batch, min(c.context, 64) + 1))
    targets = ids[:, 1:].copy()
    targets[0, -1] = -100
    return {"inputs": ids[:, :-1].copy(), "targets": targets}


FAMILIES = {
    "gpt": Family(
        GPTConfig,
        GPT,
        _small_gpt,
        _texts,
        {"gpt2": "gpt2_small", "gpt3": "gpt3_small", "gpt_neo": "gpt_neo_125m"},
    ),
}


def presets() -> dict[str, tuple[Family, str]]:
    """All names -> the family, and the classmethod of its config."""
    every = FAMILIES.values()
    return {name: (family, own) for family in every for name, own in family.presets().items()}


def example(
    name: str,
    *,
    small: bool = False,
    seed: int = 0,
    batch: int = 2,
    changes: Mapping[str, Any] | None = None,
) -> tuple[Module, dict[str, Any]]:
    """A preset's model with random weights, and random inputs of its loss by name.

    No weight is left at a 0 or 1 that would hide a mistake: all get noise of a size that keeps
    activations near 1.  small: in a size for tests.  changes: fields of the config to set, numbers
    and switches also as text.  Raises ValueError on an unknown preset or field, or a bad value.
    """
    known = presets()
    if name not in known:
        close = difflib.get_close_matches(name, known, 3) or sorted(known)
        raise ValueError(f"no preset is named {name!r}; there are {', '.join(close)}")
    if batch < 1:
        raise ValueError(f"a batch of {batch}; expected at least 1")
    family, own = known[name]
    config = getattr(family.config, own)()
    config = family.small(config) if small else config
    config = _changed(config, changes or {})
    rng = np.random.default_rng(seed)
    model = family.model(config, rng)
    for _, x in model.named_parameters():
        std = 0.5 / math.sqrt(math.prod(x.shape[1:])) if x.ndim > 1 else 0.1
        x.data += rng.normal(0, std, x.shape).astype(x.dtype)
    return model, family.inputs(config, rng, batch)


def _changed(config: Any, changes: Mapping[str, Any]) -> Any:
    """The config with other values, which may be text, of the types of those it has."""
    fields = {field.name for field in dataclasses.fields(config)}
    values = {}
    for name, x in changes.items():
        kind = type(config).__name__
        if name not in fields:
            raise ValueError(f"{kind} has no field {name!r}; it has {', '.join(sorted(fields))}")
        values[name] = _parsed(f"{kind}.{name}", x, getattr(config, name))
    return dataclasses.replace(config, **values)


def _parsed(name: str, x: Any, before: Any) -> Any:
    if not isinstance(x, str) or isinstance(before, str):
        return x
    if isinstance(before, bool):
        if x.lower() not in ("true", "false"):
            raise ValueError(f"{name} is {x!r}; expected true or false")
        return x.lower() == "true"
    parse = type(before) if isinstance(before, int | float) else _guessed
    try:
        return parse(x)
    except ValueError:
        raise ValueError(f"{name} is {x!r}; expected {parse.__name__}, as {before!r}") from None


def _guessed(x: str) -> Any:
    """For a field that is None or a tuple: numbers, separated by commas."""
    if x.lower() == "none":
        return None
    numbers = [float(part) if "." in part else int(part) for part in x.split(",") if part]
    return tuple(numbers) if "," in x else numbers[0]
