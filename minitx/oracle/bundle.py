"""A golden bundle: a training step written down so that any program can be checked against it.

Three files: ``<stem>.safetensors`` holds the arrays, ``<stem>.json`` says what they mean and how
closely they are to be met, ``<stem>.txt`` is the same list of arrays for programs that would rather
not read JSON.  Lengths, CRC-32 and SHA-256 of everything are written down and checked on reading.
FORMAT.md describes all three.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import ops  # noqa: F401  (fills OPS)
from ..checkpoint import atomic_write, load_safetensors, save_safetensors
from ..tensor import OPS
from .literal import decode, tensors_in

FORMAT, VERSION = "minitx golden bundle", 1
# fmt: off
KINDS = (
    "input", "parameter", "value", "cotangent", "grad", "constant", "unfold", "moment1", "moment2",
    "updated",
)
# fmt: on
Path = str | os.PathLike[str]


class BundleError(ValueError):
    """A bundle is damaged or incomplete; the message says where."""


@dataclass(frozen=True)
class Node:
    """One op of the run.  Everything it needs to run again is in the manifest and the arrays."""

    name: str
    op: str
    module: str
    source: str
    arguments: list  # {"tensor": name} or {"literal": value as in literal.py}
    options: dict[str, Any]  # values as in literal.py

    @property
    def inputs(self) -> dict[int, str]:
        """The names of the arguments that are arrays, by position."""
        return {i: x["tensor"] for i, x in enumerate(self.arguments) if "tensor" in x}

    def run(self, arrays: Mapping[str, np.ndarray]) -> tuple:
        """The op itself, on arrays: its value and its pullback.  arrays: by their full names."""
        if self.op not in OPS:
            raise BundleError(f"{self.name}: this version of minitx has no op {self.op!r}")
        missing = [name for name in self.inputs.values() if name not in arrays]
        if missing:
            raise BundleError(f"{self.name}: {self.op} needs {', '.join(missing)}")
        arguments = [decode(x.get("literal", x), arrays) for x in self.arguments]
        options = {name: decode(x, arrays) for name, x in self.options.items()}
        return OPS[self.op].__wrapped__(*arguments, **options)  # type: ignore[attr-defined]


class Bundle:
    """``arrays`` by their full names, ``manifest`` as in the JSON file, ``nodes`` by name.

    ``path`` is where it was read from, without a suffix.

    bundle = Bundle.read("golden/gpt2")
    bundle.arrays["value/blocks.0.attention.self_attend"]
    value, vjp = bundle.nodes["blocks.0.attention.self_attend"].run(bundle.arrays)
    bundle.tolerance("grad/tokens.weight")
    """

    def __init__(
        self, arrays: dict[str, np.ndarray], manifest: dict[str, Any], path: Path | None = None
    ):
        self.arrays, self.manifest, self.path = arrays, manifest, path
        self.nodes = {x["name"]: Node(**x) for x in manifest["nodes"]}

    @classmethod
    def read(cls, stem: Path) -> Bundle:
        """Read and verify.  stem: the path without a suffix, or that of one of the files.

        Raises FileNotFoundError, BundleError, or CheckpointError for a bad safetensors file.
        """
        stem = strip(stem)
        listed = stem.with_name(f"{stem.name}.txt").read_bytes()
        raw = stem.with_name(f"{stem.name}.json").read_bytes()
        try:
            manifest = json.loads(raw)
            known = manifest["format"], manifest["version"]
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{stem}.json: no manifest of a bundle: {error!r}") from None
        if known != (FORMAT, VERSION):
            raise BundleError(f"{stem}.json: {known}; this is read by version {VERSION} only")
        path = stem.with_name(f"{stem.name}.safetensors")
        try:
            _compare(f"{path}", _of_file(path), manifest["file"])
            if listed != index(manifest, raw).encode():
                raise BundleError(f"{stem}.txt and {stem}.json do not belong together")
            bundle = cls(load_safetensors(path), manifest, stem)
            bundle.verify()
        except (KeyError, TypeError, AttributeError) as error:
            raise BundleError(f"{stem}.json: the manifest is incomplete: {error!r}") from None
        return bundle

    def verify(self) -> None:
        """Every array is the one the manifest describes, and every node has what it needs.

        Raises one BundleError that lists everything amiss.
        """
        described = self.manifest["tensors"]
        problems = [f"{name} is missing" for name in described if name not in self.arrays]
        problems += [f"{name} is not in the manifest" for name in self.arrays.keys() - described]
        for name, expected in described.items():
            if name in self.arrays:
                problems += _differences(name, _of_array(self.arrays[name]), expected)
        for node in self.nodes.values():
            used = tensors_in([node.arguments, node.options])
            problems += [f"{node.name} needs {x}" for x in used if x not in described]
        _raise(problems)

    def tolerance(self, name: str) -> float:
        """How far a float32 port may be off anywhere in the array ``name``."""
        return self.manifest["tensors"][name]["tolerance"]

    def kind(self, kind: str) -> dict[str, np.ndarray]:
        """The arrays of one kind, such as "grad", by the rest of their names."""
        start = f"{kind}/"
        return {k.removeprefix(start): x for k, x in self.arrays.items() if k.startswith(start)}


def write(
    stem: Path,
    arrays: Mapping[str, np.ndarray],
    tolerances: Mapping[str, float],
    manifest: Mapping[str, Any],
) -> Bundle:
    """Write the three files and read them back.  -> Bundle

    arrays, tolerances: by full names.  manifest: all of it but what describes the files.  Each file
    appears whole or not at all, the manifest last, so that what was interrupted is noticed.
    """
    stem = strip(stem)
    for name in arrays:
        kind, slash, rest = name.partition("/")
        if kind not in KINDS or not rest or not name.isprintable() or " " in name:
            raise BundleError(f"{stem}: array {name!r}; expected kind/name without spaces")
    stem.parent.mkdir(parents=True, exist_ok=True)
    path = stem.with_name(f"{stem.name}.safetensors")
    save_safetensors(path, arrays, {"format": FORMAT, "version": str(VERSION)})
    with open(path, "rb") as written:
        offset = 8 + int.from_bytes(written.read(8), "little")
    tensors: dict[str, dict[str, Any]] = {}
    for name, x in load_safetensors(path).items():  # in the order of the file
        kind, tolerance = name.partition("/")[0], float(tolerances.get(name, 0.0))
        tensors[name] = {"kind": kind, **_of_array(x), "offset": offset, "tolerance": tolerance}
        offset += x.nbytes
    file = {"name": path.name, **_of_file(path)}
    whole = {"format": FORMAT, "version": VERSION, **manifest, "file": file, "tensors": tensors}
    raw = to_json(whole).encode()
    for suffix, content in ("txt", index(whole, raw).encode()), ("json", raw):
        with atomic_write(stem.with_name(f"{stem.name}.{suffix}")) as out:
            out.write(content)
    return Bundle.read(stem)


def index(manifest: Mapping[str, Any], raw: bytes) -> str:
    """The list of arrays as lines of words, closed by its own CRC-32.  raw: the manifest's file."""
    file, tensors = manifest["file"], manifest["tensors"]
    sums = f"{file['bytes']} {file['crc32']} {len(raw)} {zlib.crc32(raw):08x}"
    lines = [f"minitx-bundle {VERSION} {len(tensors)} {sums}\n"]
    for name, x in tensors.items():
        sizes = " ".join(map(str, [len(x["shape"]), *x["shape"]]))
        lines.append(f"{name} {x['dtype']} {x['offset']} {x['bytes']} {x['crc32']} {sizes}\n")
    text = "".join(lines)
    return f"{text}end {zlib.crc32(text.encode()):08x}\n"


def to_json(manifest: Mapping[str, Any]) -> str:
    """A line for each node and each tensor, so that people can read it and versions be compared."""
    lines = []
    for key, x in manifest.items():
        if key == "nodes":
            rows = ",\n".join(f"  {json.dumps(node)}" for node in x)
            lines.append(f'"nodes": [\n{rows}\n]')
        elif key in ("tensors", "conventions", "config"):
            rows = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in x.items())
            lines.append(f'"{key}": {{\n{rows}\n}}')
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(x, allow_nan=False)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def strip(stem: Path) -> pathlib.Path:
    """A bundle's path without the suffix of one of its files."""
    path = pathlib.Path(stem)
    return path.with_suffix("") if path.suffix in (".safetensors", ".json", ".txt") else path


def _of_array(x: np.ndarray) -> dict[str, Any]:
    data = np.ascontiguousarray(x, x.dtype.newbyteorder("<")).tobytes()
    sums = {"sha256": hashlib.sha256(data).hexdigest(), "crc32": f"{zlib.crc32(data):08x}"}
    return {"dtype": x.dtype.name, "shape": list(x.shape), "bytes": x.nbytes, **sums}


def _of_file(path: pathlib.Path) -> dict[str, Any]:
    size, crc, sha = 0, 0, hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            size, crc = size + len(chunk), zlib.crc32(chunk, crc)
            sha.update(chunk)
    return {"bytes": size, "sha256": sha.hexdigest(), "crc32": f"{crc:08x}"}


def _differences(name: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    wrong = [key for key in found if found[key] != expected[key]]
    return [f"{name}: {key} is {found[key]}, expected {expected[key]}" for key in wrong[:1]]


def _compare(name: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    _raise(_differences(name, found, expected))


def _raise(problems: list[str]) -> None:
    if problems:
        raise BundleError("the bundle is damaged:\n  " + "\n  ".join(problems))
