"""What a port wrote down, under the names of the bundle it is checked against."""

from __future__ import annotations

import difflib
import json
import pathlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..checkpoint import load_npz, load_safetensors
from .bundle import Bundle, Path


class PortError(ValueError):
    """A port's file or rename table cannot be used; the message says why."""


@dataclass
class Port:
    """Arrays by the bundle's full names and in its shapes, those of floats as float64."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    dtypes: dict[str, np.dtype] = field(default_factory=dict)  # that they had in the file
    misshapen: dict[str, np.ndarray] = field(default_factory=dict)  # of another shape
    theirs: dict[str, str] = field(default_factory=dict)  # what the port calls them
    unknown: list[str] = field(default_factory=list)  # the port's names that mean nothing here

    @property
    def dtype(self) -> np.dtype:
        """The narrowest of a computed tensor; a loss may be told in more digits than it has."""
        given = [
            x for name, x in self.dtypes.items() if not name.startswith(("input", "parameter"))
        ]
        floats = [x for x in given or self.dtypes.values() if x.kind == "f"]
        return min(floats, key=lambda x: x.itemsize, default=np.dtype(np.float64))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an npz or a safetensors file.  Raises as those readers do, PortError else."""
    readers = {".npz": load_npz, ".safetensors": load_safetensors}
    suffix = pathlib.Path(path).suffix
    if suffix not in readers:
        raise PortError(f"{path}: expected a file that ends in {' or '.join(readers)}")
    return readers[suffix](path)


def read_table(path: Path) -> dict[str, str | None]:
    """A rename table: JSON, {"their name": "our name", "their h*.out": "value/blocks.*", ...}."""
    try:
        table = json.loads(pathlib.Path(path).read_bytes())
    except ValueError as error:
        raise PortError(f"{path}: not JSON: {error}") from None
    if not isinstance(table, dict) or not all(isinstance(x, str | None) for x in table.values()):
        raise PortError(f'{path}: expected an object {{"their name": "our name" or null, ...}}')
    for pattern, name in table.items():
        if name is not None and name.count("*") > pattern.count("*"):
            raise PortError(f"{path}: {pattern!r} has fewer * than what it stands for, {name!r}")
    return table


def adopt(
    bundle: Bundle, given: Mapping[str, np.ndarray], table: Mapping[str, str | None] | None = None
) -> Port:
    """The port's arrays under our names; exact entries of the table first, then its patterns.

    A name stands for itself, and may be short: "loss", "value/blocks.0" (a module: its last op) or
    "blocks.0.add".  Leading axes may be merged, (B T, C) for (B, T, C).  Raises PortError if two
    arrays claim one name, if one holds no real numbers, and if no name at all is known.
    """
    port, names = Port(), _Names(bundle)
    for theirs, x in given.items():
        wanted = _renamed(theirs, table or {})
        if wanted is None:
            continue
        name = names.resolve(wanted)
        if name is None:
            shown = theirs if wanted == theirs else f"{theirs} -> {wanted}"
            port.unknown.append(shown + names.hint(wanted))
            continue
        if name in port.theirs:
            raise PortError(f"{theirs} and {port.theirs[name]} are both to be {name}")
        if x.dtype.kind not in "fiub":
            raise PortError(f"{theirs}: {x.dtype} data; expected real numbers")
        port.theirs[name], port.dtypes[name] = theirs, x.dtype
        golden = bundle.arrays[name]
        if x.shape == golden.shape or _merged(x.shape, golden.shape):
            wide = np.float64 if golden.dtype.kind == "f" else golden.dtype
            port.arrays[name] = x.reshape(golden.shape).astype(wide)
        else:
            port.misshapen[name] = x.astype(np.float64)
    if not port.theirs:
        found = ", ".join(port.unknown[:3]) or "no array at all"
        raise PortError(f"nothing to compare: the port has {found}; see --rename")
    return port


def _renamed(name: str, table: Mapping[str, str | None]) -> str | None:
    if name in table:
        return table[name]
    for pattern, ours in table.items():
        if "*" in pattern:
            parts = map(re.escape, pattern.split("*"))
            if hit := re.fullmatch("(.*?)".join(parts), name):
                return ours and _filled(ours, list(hit.groups()))
    return name


def _filled(pattern: str, parts: list[str]) -> str:
    """Each * in its turn replaced by what one in the port's name stood for."""
    return re.sub(r"\*", lambda _: parts.pop(0), pattern)


class _Names:
    """The bundle's names, and their short forms."""

    def __init__(self, bundle: Bundle):
        self.known = bundle.arrays
        self.short = {}
        for node in bundle.nodes.values():  # the last op of a module stands for it
            self.short["loss"] = node.name
            parts = node.module.split(".") if node.module else []
            for i in range(len(parts)):
                self.short[".".join(parts[: i + 1])] = node.name

    def resolve(self, name: str) -> str | None:
        kind, slash, rest = name.partition("/")
        tries = [name, f"value/{name}", f"value/{self.short.get(name)}"]
        tries += [f"{kind}/{self.short.get(rest)}"] if slash else []
        return next((x for x in tries if x in self.known), None)

    def hint(self, name: str) -> str:
        close = difflib.get_close_matches(name, self.known, 1, 0.6)
        return f" (did you mean {close[0]}?)" if close else ""


def _merged(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """One shape is the other with neighbouring leading axes merged, or axes of length 1 added."""
    a, b = ([n for n in x if n != 1] for x in (shape, expected))
    if a == b:
        return True
    few, many = sorted((a, b), key=len)
    if len(few) == len(many) or int(np.prod(few)) != int(np.prod(many)):
        return False
    at = iter(many)
    for n in few:
        total = 1
        while total < n:
            total *= next(at, n + 1)
        if total != n:
            return False
    return True
