"""Whole model folders, as transformers writes and reads them.

    config.json                        what the model is
    model.safetensors                  its weights, or else
    model.safetensors.index.json       which of several files holds which weight, with
    model-00001-of-00002.safetensors   these files

Nothing is loaded unless all of it fits, and nothing that could be executed is read.
"""

from __future__ import annotations

import dataclasses
import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..nn import Module, shapes_only
from .atomic import atomic_write
from .configs import ConfigTable
from .errors import CheckpointError
from .names import NameTable
from .safetensors import load_safetensors, read_dtypes, save_safetensors

M = TypeVar("M", bound="Pretrained")
Arrays = Mapping[str, np.ndarray]

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
FOREIGN = ("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack")


class PretrainedWarning(UserWarning):
    """A folder was loaded, and has settings that nobody here knows."""


@dataclasses.dataclass(frozen=True)
class Loaded:
    """What ``from_pretrained`` found; print it."""

    folder: str
    official: str  # the class whose names the weights have
    config: dict[str, Any]  # config.json as it is
    unknown: list[str]  # its fields that nobody here knows
    notes: list[str]  # its fields that we honour only in part
    mapping: dict[str, list[str]]  # name in the files -> our names; none if it is not used
    dtypes: dict[str, int]  # in the files: how many tensors of which type

    @property
    def unused(self) -> list[str]:
        return [name for name, ours in self.mapping.items() if not ours]

    def __str__(self) -> str:
        types = ", ".join(f"{count} {name}" for name, count in self.dtypes.items())
        lines = [f"{self.folder}: {self.official}, {len(self.mapping)} tensors ({types})"]
        lines += [f"  config {name} = {self.config[name]!r}: unknown" for name in self.unknown]
        lines += [f"  config {note}" for note in self.notes]
        lines += [f"  {name}: not used" for name in self.unused]
        lines += [f"  {name} -> {', '.join(x)}" for name, x in self.mapping.items() if x]
        return "\n".join(lines)


class Pretrained(Module):
    """Gives a model ``from_pretrained`` and ``save_pretrained``.

    A model says with ``configs`` which families it can be, with ``from_settings`` how to build one,
    and with ``as_official`` what it is called there.
    """

    loaded: Loaded | None = None  # what from_pretrained found
    configs: tuple[ConfigTable, ...] = ()

    @classmethod
    def from_settings(cls: type[M], settings: dict, config: dict, arrays: Arrays) -> M:
        """A model of these settings; config and arrays are what the folder holds."""
        raise NotImplementedError

    def as_official(self) -> tuple[ConfigTable, NameTable, dict[str, Any]]:
        """The tables, and the config.json that a new model of this kind has."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(
        cls: type[M], folder: str | os.PathLike[str], *, dtype: Any = None, weights: str = ""
    ) -> M:
        """The model in a folder of transformers', in evaluation mode; ``.loaded`` tells how.

        dtype: float32, or float64 if the files are, unless given; half precision is converted.
        weights: the file to take where there are several kinds.  Warns of unknown settings.
        Raises CheckpointError if the folder, its config or its weights are not what is expected.
        """
        config, table = _read_config(folder, cls)
        try:
            settings, unknown, notes = table.load(config)
            arrays, types = _read_weights(Path(folder), weights)
            if dtype is None:
                dtype = np.float64 if "F64" in types else np.float32
            with shapes_only():
                sketch = cls.from_settings(settings, config, arrays)
            names = sketch.as_official()[1]
            ours = {name: x.shape for name, x in sketch.named_tensors()}
            state = names.load(arrays, ours)
            model = cls.from_settings(settings, config, arrays).astype(dtype)
            model.load_state_dict(state)
        except (ValueError, TypeError) as error:
            raise CheckpointError(f"{folder}: {error}") from error
        mapping = names.mapping(arrays, ours)
        model.loaded = Loaded(str(folder), names.name, config, unknown, notes, mapping, dict(types))
        if unknown:
            told = ", ".join(f"{name} = {config[name]!r}" for name in unknown)
            warnings.warn(
                f"{folder}: config.json has fields unknown here, which may change what the model "
                f"computes: {told}",
                PretrainedWarning,
                stacklevel=2,
            )
        return model.eval()

    def save_pretrained(self, folder: str | os.PathLike[str], shard_bytes: int = 0) -> None:
        """Write the folder that transformers would, for itself or ``from_pretrained`` to read.

        shard_bytes: the largest file, 0 for one file; a tensor is never divided.  Raises
        CheckpointError if no official class is like this model, and if the folder holds weights of
        another kind, before anything is written.
        """
        _, names, config = self.as_official()
        if self.loaded is not None:
            config = self.loaded.config
        dtypes = sorted({str(x.dtype) for _, x in self.named_parameters()})
        kind = "torch_dtype" if "torch_dtype" in config else "dtype"
        config = {**config, kind: dtypes[0], "architectures": [names.name.rpartition(".")[2]]}
        tensors = names.save(self.state_dict(), aliases=False)
        path = Path(folder)
        others = [name for name in (SINGLE, INDEX) if (name == SINGLE) == bool(shard_bytes)]
        for name in (*others, *FOREIGN):
            if (path / name).exists():
                raise CheckpointError(
                    f"{path}: there is {name}, weights of another kind; choose another folder"
                )
        path.mkdir(parents=True, exist_ok=True)
        if shard_bytes:
            _write_shards(path, tensors, shard_bytes)
        else:
            save_safetensors(path / SINGLE, tensors, {"format": "pt"})
        _write_json(path / "config.json", config)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON in UTF-8: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    with atomic_write(path) as file:
        file.write((json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


def _read_config(folder: Any, cls: type[Pretrained]) -> tuple[dict[str, Any], ConfigTable]:
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{folder}: expected a folder with config.json; there is none")
    config = _read_json(path)
    tables = {table.model_type: table for table in cls.configs}
    if config.get("model_type") not in tables:
        known = " or ".join(map(repr, tables))
        raise CheckpointError(
            f"{path}: model_type is {config.get('model_type')!r}; {cls.__name__} reads {known}"
        )
    return config, tables[config["model_type"]]


def _read_weights(folder: Path, chosen: str) -> tuple[dict[str, np.ndarray], Counter[str]]:
    """All arrays of a folder, and how many there are of which type."""
    there = [name for name in (SINGLE, INDEX, *FOREIGN) if (folder / name).is_file()]
    readable = [name for name in there if name in (SINGLE, INDEX)]
    if chosen:
        if chosen not in readable:
            known = " or ".join(readable) or f"{SINGLE} or {INDEX}, but there is neither"
            raise CheckpointError(f"weights is {chosen!r}; expected {known}")
        readable = there = [chosen]
    if not readable:
        also = f"; {there[0]} may hold code, and is not read: convert it" if there else ""
        raise CheckpointError(f"there are no weights; expected {SINGLE} or {INDEX}{also}")
    if len(there) > 1:
        raise CheckpointError(
            f"there are {len(there)} kinds of weights, {' and '.join(there)}; remove one, "
            f"or choose with weights={readable[0]!r}"
        )
    if readable[0] == SINGLE:
        return load_safetensors(folder / SINGLE), Counter(read_dtypes(folder / SINGLE).values())
    arrays, types = {}, Counter[str]()
    for path, expected in _shards(folder):
        part = load_safetensors(path)
        if wrong := sorted(part.keys() ^ expected):
            where = "missing" if wrong[0] in expected else "not in the index"
            raise CheckpointError(f"{path.name}: tensor {wrong[0]!r} is {where}")
        arrays.update(part)
        types.update(read_dtypes(path).values())
    return arrays, types


def _shards(folder: Path) -> Iterator[tuple[Path, set[str]]]:
    """Each file of the index, and the names it must hold."""
    files = _read_json(folder / INDEX).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(x, str) for x in files.values()):
        raise CheckpointError(f"{INDEX}: expected weight_map, from names to files")
    for file in dict.fromkeys(files.values()):
        path = folder / file
        if os.path.basename(file) != file or not path.is_file():
            raise CheckpointError(f"{INDEX}: {file!r} is not a file of this folder")
        yield path, {name for name, where in files.items() if where == file}


def _write_shards(folder: Path, tensors: Arrays, shard_bytes: int) -> None:
    shards: list[dict[str, np.ndarray]] = [{}]
    for name, x in tensors.items():
        if shards[-1] and sum(y.nbytes for y in shards[-1].values()) + x.nbytes > shard_bytes:
            shards.append({})
        shards[-1][name] = x
    files: dict[str, str] = {}
    for i, shard in enumerate(shards, 1):
        file = f"model-{i:05}-of-{len(shards):05}.safetensors"
        save_safetensors(folder / file, shard, {"format": "pt"})
        files |= dict.fromkeys(shard, file)
    total = {
        "total_parameters": sum(x.size for x in tensors.values()),
        "total_size": sum(x.nbytes for x in tensors.values()),
    }
    _write_json(folder / INDEX, {"metadata": total, "weight_map": files})
