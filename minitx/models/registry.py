"""Every model by the names of its presets, with inputs to try it on.

    model, inputs = example("gpt2", small=True)
    model.loss(**inputs)

A new model is a new entry of ``FAMILIES``.
"""

from __future__ import annotations

import ast
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
    """A paper's models."""

    model: Callable[[Any, np.random.Generator], Module]
    presets: Mapping[str, Callable[[], Any]]  # name -> a function that makes a config
    small: Callable[[Any], Any]  # a preset's config -> the same in a size for tests
    inputs: Callable[[Any, np.random.Generator, int], dict[str, Any]]  # config, rng, batch -> loss


def _classmethods(config: type, prefix: str = "") -> dict[str, Callable[[], Any]]:
    """A config's presets, with a prefix where their own names do not tell the model."""
    own = [name for name, x in vars(config).items() if isinstance(x, classmethod)]
    return {prefix + name: getattr(config, name) for name in own if name[0] != "_"}


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
        GPT,
        _classmethods(GPTConfig)
        | {
            "gpt2": GPTConfig.gpt2_small,
            "gpt3": GPTConfig.gpt3_small,
            "gpt_neo": GPTConfig.gpt_neo_125m,
        },
        _small_gpt,
        _texts,
    ),
}


def presets() -> dict[str, Family]:
    """The names of all presets, each with its family."""
    return {name: family for family in FAMILIES.values() for name in family.presets}


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
    activations near 1.  Dropout is off unless it is set.  small: in a size for tests.  changes:
    fields of the config, "encoder.layers" being a field of a field; their values may be text.
    Raises ValueError on an unknown preset or field, or a bad value.
    """
    known = presets()
    if name not in known:
        close = difflib.get_close_matches(name, known, 3) or sorted(known)
        raise ValueError(f"no preset is named {name!r}; there are {', '.join(close)}")
    if batch < 1:
        raise ValueError(f"a batch of {batch}; expected at least 1")
    family = known[name]
    config = family.presets[name]()
    config = family.small(config) if small else config
    quiet = {key: 0.0 for key in ("dropout", "drop_path") if hasattr(config, key)}
    config = _changed(config, quiet | dict(changes or {}))
    rng = np.random.default_rng(seed)
    model = family.model(config, rng)
    for _, x in model.named_parameters():
        std = 0.5 / math.sqrt(math.prod(x.shape[1:])) if x.ndim > 1 else 0.1
        x.data += rng.normal(0, std, x.shape).astype(x.dtype)
    return model, family.inputs(config, rng, batch)


def _changed(config: Any, changes: Mapping[str, Any]) -> Any:
    """The config with other values, of the types that its fields have."""
    kind = type(config).__name__
    types = {field.name: field.type for field in dataclasses.fields(config)}
    values: dict[str, Any] = {}
    for name, x in changes.items():
        field, dot, rest = name.partition(".")
        if field not in types:
            raise ValueError(f"{kind} has no field {field!r}; it has {', '.join(sorted(types))}")
        before = values.get(field, getattr(config, field))
        if dot and not dataclasses.is_dataclass(before):
            raise ValueError(f"{kind}.{field} has no fields, {rest!r} neither")
        if dot:
            values[field] = _changed(before, {rest: x})
        else:
            values[field] = _parsed(f"{kind}.{field}", x, str(types[field]))
    return dataclasses.replace(config, **values)


def _parsed(name: str, x: Any, kind: str) -> Any:
    """Text as a value of a type that is written like ``kind``; all else as it is."""
    if not isinstance(x, str) or kind == "str":
        return x
    words = {"true": True, "false": False, "none": None}
    try:
        value = words[x.lower()] if x.lower() in words else ast.literal_eval(x)
    except (ValueError, SyntaxError):
        value = x
    if kind.startswith("float") and type(value) is int:
        value = float(value)
    if kind in ("bool", "int", "float") and type(value).__name__ != kind:
        raise ValueError(f"{name} is {x!r}; expected {kind}")
    return value
