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
from ..ops.checks import pair
from .bert import BERT, BERTConfig, BERTPretraining
from .gpt import GPT, GPTConfig
from .mae import MAE, MAEConfig
from .resnet import ResNet, ResNetConfig
from .t2t_vit import T2TViT, T2TViTConfig
from .transformer import Transformer, TransformerConfig
from .vit import ViT, ViTConfig


@dataclass(frozen=True)
class Family:
    """A paper's models."""

    model: Callable[[Any, np.random.Generator], Module]
    presets: Mapping[str, Callable[[], Any]]  # name -> a function that makes a config
    small: Callable[[Any], Any]  # a preset's config -> the same in a size for tests
    inputs: Callable[[Any, np.random.Generator, int], dict[str, Any]]  # config, rng, batch -> loss


def _classmethods(config: type, family: str) -> dict[str, Callable[[], Any]]:
    """A config's presets, with the family's name in front where their own do not tell it."""
    own = [name for name, x in vars(config).items() if isinstance(x, classmethod)]
    return {
        name if name.startswith(family) else f"{family}_{name}": getattr(config, name)
        for name in own
        if name[0] != "_"
    }


# ---- text ----


def _small_gpt(c: GPTConfig) -> GPTConfig:
    sizes: dict[str, Any] = {"vocab_size": 17, "context": 8, "layers": 2, "heads": 2, "width": 16}
    return dataclasses.replace(c, **sizes, window=min(c.window, 3))


def _texts(c: GPTConfig, rng: np.random.Generator, batch: int) -> dict[str, Any]:
    """Token ids, each scored on the next; the last of the first text on nothing."""
    ids = rng.integers(0, c.vocab_size, (batch, min(c.context, 64) + 1))
    targets = ids[:, 1:].copy()
    targets[0, -1] = -100
    return {"inputs": ids[:, :-1].copy(), "targets": targets}


def _small_bert(c: BERTConfig) -> BERTConfig:
    return dataclasses.replace(c, vocab_size=17, context=8, layers=2, heads=2, width=16)


def _pairs(c: BERTConfig, rng: np.random.Generator, batch: int) -> dict[str, Any]:
    """Two passages each, the first pair's shorter; every third token is to be told."""
    T = min(c.context, 64)
    ids = rng.integers(1, c.vocab_size, (batch, T))
    mask = np.ones((batch, T), bool)
    mask[0, -2:], ids[0, -2:] = False, c.pad
    told = (np.arange(T) % 3 == 1) & mask
    return {
        "ids": ids,
        "targets": np.where(told, rng.integers(1, c.vocab_size, (batch, T)), -100),
        "follows": rng.integers(0, 2, batch),
        "types": np.broadcast_to(np.arange(T) >= T // 2, (batch, T)).astype(np.int64),
        "mask": mask,
    }


def _small_transformer(c: TransformerConfig) -> TransformerConfig:
    return dataclasses.replace(c, vocab_size=13, layers=2, heads=2, width=8, hidden=16)


def _translations(c: TransformerConfig, rng: np.random.Generator, batch: int) -> dict[str, Any]:
    """Sentences and their translations; the first of each is shorter."""
    first = 1 + max(c.pad, c.start, c.end)
    source = rng.integers(first, c.vocab_size, (batch, 7))
    text = rng.integers(first, c.vocab_size, (batch, 5))
    source[0, -2:], text[0, -1:] = c.pad, c.pad
    targets = np.concatenate([text, np.full((batch, 1), c.end)], axis=1)
    targets[0, -2:] = c.end, c.pad
    return {"source": source, "inputs": np.insert(text, 0, c.start, axis=1), "targets": targets}


# ---- images ----


def _pictures(
    c: Any, size: Any, rng: np.random.Generator, batch: int, targets: str
) -> dict[str, Any]:
    images = rng.normal(size=(batch, c.channels, *pair("example", "image_size", size)))
    return {"images": images.astype(np.float32), targets: rng.integers(0, c.classes, batch)}


def _small_vit(c: ViTConfig) -> ViTConfig:
    sizes: dict[str, Any] = {"image_size": 8, "patch": 4, "layers": 2, "heads": 2, "width": 16}
    return dataclasses.replace(c, **sizes, hidden=32, classes=min(c.classes, 5))


def _small_mae(c: MAEConfig) -> MAEConfig:
    return dataclasses.replace(c, encoder=_small_vit(c.encoder), layers=1, heads=2, width=16)


def _noisy(c: MAEConfig, rng: np.random.Generator, batch: int) -> dict[str, Any]:
    """Images, and the noise that decides which patches are removed."""
    shape = batch, c.encoder.channels, *pair("example", "image_size", c.encoder.image_size)
    images = rng.normal(size=shape).astype(np.float32)
    return {"images": images, "noise": rng.random((batch, c.patches))}


def _small_t2t_vit(c: T2TViTConfig) -> T2TViTConfig:
    backbone = dataclasses.replace(_small_vit(c.backbone), width=8, hidden=16)
    splits = T2TViTConfig.for_small_images().splits
    return dataclasses.replace(c, backbone=backbone, splits=splits, token_width=4)


def _small_resnet(c: ResNetConfig) -> ResNetConfig:
    return dataclasses.replace(c, depths=(1, 1), widths=(4, 8), stem=4, classes=5)


FAMILIES = {
    "transformer": Family(
        Transformer,
        _classmethods(TransformerConfig, "transformer"),
        _small_transformer,
        _translations,
    ),
    "gpt": Family(
        GPT,
        _classmethods(GPTConfig, "gpt")
        | {
            "gpt2": GPTConfig.gpt2_small,
            "gpt3": GPTConfig.gpt3_small,
            "gpt_neo": GPTConfig.gpt_neo_125m,
        },
        _small_gpt,
        _texts,
    ),
    "bert": Family(
        lambda c, rng: BERTPretraining(BERT(c, rng)),
        _classmethods(BERTConfig, "bert"),
        _small_bert,
        _pairs,
    ),
    "resnet": Family(
        ResNet,
        _classmethods(ResNetConfig, "resnet"),
        _small_resnet,
        lambda c, rng, batch: _pictures(c, 2 * c.reduction, rng, batch, "labels"),
    ),
    "vit": Family(
        ViT,
        _classmethods(ViTConfig, "vit"),
        _small_vit,
        lambda c, rng, batch: _pictures(c, c.image_size, rng, batch, "targets"),
    ),
    "t2t_vit": Family(
        T2TViT,
        _classmethods(T2TViTConfig, "t2t_vit"),
        _small_t2t_vit,
        lambda c, rng, batch: _pictures(c.backbone, c.backbone.image_size, rng, batch, "targets"),
    ),
    "mae": Family(MAE, _classmethods(MAEConfig, "mae"), _small_mae, _noisy),
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
