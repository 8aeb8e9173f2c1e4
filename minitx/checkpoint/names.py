"""Tables between our parameter names and those of official checkpoints, for both directions.

A table is a list of rows, ours first, `{}` standing for a layer's index:

    GPT2 = names(
        "transformers.GPT2LMHeadModel",
        ("tokens.weight", "transformer.wte.weight"),
        ("blocks.{}.norm1.weight", "transformer.h.{}.ln_1.weight"),
        (join("blocks.{}.attention.{query,key,value}.bias"), "transformer.h.{}.attn.c_attn.bias"),
        ("blocks.{}.mlp.up.weight", "transformer.h.{}.mlp.c_fc.weight", transpose),
        tied={"lm_head.weight": "transformer.wte.weight"},
    )
    our_arrays = GPT2.load(official_arrays, our_shapes)
    official_arrays = GPT2.save(our_arrays)

How many layers there are, and which rows a model uses, follows from our names alone.  Both
directions are pure functions of arrays by name; what they return may share memory with the input.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import numpy as np

from .errors import CheckpointError

Arrays = Mapping[str, np.ndarray]
Shape = tuple[int, ...]
_MISFIT = (ValueError, TypeError, IndexError)  # what NumPy raises for a shape it cannot work with


@dataclass(frozen=True)
class Transform:
    """How an array's layout differs between the two sides; `save` is the inverse of `load`."""

    load: Callable[[np.ndarray], np.ndarray]  # official -> ours
    save: Callable[[np.ndarray], np.ndarray]  # ours -> official


transpose = Transform(np.transpose, np.transpose)  # (in, out) <-> (out, in)


def join(pattern: str) -> tuple[str, ...]:
    """Our arrays `before{a,b,...}after`, which the official array concatenates along axis 0."""
    pieces = re.split(r"\{([^{}]+)\}", pattern)
    if len(pieces) != 3:
        raise ValueError(f"join: expected one list in braces, as in 'x.{{a,b}}.y', got {pattern!r}")
    before, choices, after = pieces
    return tuple(before + choice + after for choice in choices.split(","))


def layer(ours: str, official: str, *transforms: Transform) -> tuple[tuple, tuple]:
    """Rows for a layer's weight, transformed, and for its bias."""
    return (f"{ours}.weight", f"{official}.weight", *transforms), (
        f"{ours}.bias",
        f"{official}.bias",
    )


@dataclass(frozen=True)
class Row:
    """Our name, or the names joined, for one official name; transforms apply to the official."""

    ours: tuple[str, ...]
    official: str
    transforms: tuple[Transform, ...]

    def to_ours(self, array: np.ndarray, shapes: list[Shape]) -> list[np.ndarray]:
        """Transform one official array and cut it into arrays of `shapes`, or raise a _MISFIT."""
        for transform in self.transforms:
            array = transform.load(array)
        ends = accumulate(shape[0] for shape in shapes[:-1])
        pieces = np.split(array, list(ends)) if len(shapes) > 1 else [array]
        if [piece.shape for piece in pieces] != shapes:
            raise ValueError("the shapes differ")
        return pieces

    def to_official(self, arrays: list[np.ndarray]) -> np.ndarray:
        """Join our arrays and undo the transforms, or raise a _MISFIT."""
        array = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
        for transform in reversed(self.transforms):
            array = transform.save(array)
        return array


@dataclass(frozen=True)
class NameTable:
    """The two-way table of one official model; made by `names`, which explains the fields."""

    name: str
    rows: tuple[Row, ...]
    tied: Mapping[str, str]
    ignored: tuple[str, ...]
    optional_prefix: str
    extra_prefix: str
    former: Mapping[str, str]

    def load(self, official: Arrays, ours: Mapping[str, Shape]) -> dict[str, np.ndarray]:
        """Official arrays -> ours, exactly the names and shapes of `ours`, in its order.

        Dtypes stay as they come.  Raises one CheckpointError that lists every missing, unexpected
        and misshapen name, and every tied pair that differs.
        """
        plan = self._plan(ours)
        found, problems = self._recognise(official, plan)
        loaded: dict[str, np.ndarray] = {}
        for name, (row, parts) in plan.items():
            shapes = [tuple(ours[part]) for part in parts]
            needed = ", ".join(f"{p} {shape}" for p, shape in zip(parts, shapes, strict=True))
            if name not in found:
                problems.append(f"missing: {name}, for {needed}")
                continue
            try:
                loaded.update(zip(parts, row.to_ours(found[name], shapes), strict=True))
            except _MISFIT:
                problems.append(f"misshapen: {name} {found[name].shape} does not fit {needed}")
        self._raise_if_any(problems)
        return {name: loaded[name] for name in ours}

    def save(self, state: Arrays, aliases: bool = True) -> dict[str, np.ndarray]:
        """Our arrays -> official ones, tied aliases included unless told otherwise.

        Raises one CheckpointError that lists every name the table does not know and every join
        whose parts are incomplete or do not fit together.
        """
        official: dict[str, np.ndarray] = {}
        problems = []
        for name, (row, parts) in self._plan(state).items():
            try:
                official[name] = row.to_official([state[part] for part in parts])
            except _MISFIT:
                came = ", ".join(f"{part} {state[part].shape}" for part in parts)
                problems.append(f"misshapen: {name} cannot be made of {came}")
        self._raise_if_any(problems)
        for alias, primary in self.tied.items() if aliases else ():
            for name in list(official):
                if renamed := _rename(name, primary, alias):
                    official[renamed] = official[name]
        return official

    def mapping(self, official: Iterable[str], ours: Iterable[str]) -> dict[str, list[str]]:
        """What becomes of each official name that `load` accepts: our names, none if ignored."""
        plan = self._plan(ours)
        targets = {}
        for given in official:
            name = self._full(given, plan)
            row_and_parts = plan.get(name) or plan.get(self._primary(name))
            targets[given] = row_and_parts[1] if row_and_parts else []
        return targets

    def _plan(self, ours: Iterable[str]) -> dict[str, tuple[Row, list[str]]]:
        """Official name -> its row and our names, for the rows and layers that `ours` uses."""
        plan: dict[str, tuple[Row, list[str]]] = {}
        problems = []
        present = set(ours)
        for name in ours:
            uses = [
                (row, indices)
                for row in self.rows
                for pattern in row.ours
                if (indices := _indices(pattern, name)) is not None
            ]
            if len(uses) != 1:
                problems.append(f"ours: {name} is in {len(uses)} rows of the table, expected 1")
            for row, indices in uses:
                parts = [pattern.format(*indices) for pattern in row.ours]
                plan[row.official.format(*indices)] = row, parts
        for official, (_, parts) in plan.items():
            problems += [
                f"ours: {p} is missing, a part of {official}" for p in parts if p not in present
            ]
        self._raise_if_any(problems)
        return plan

    def _recognise(self, official: Arrays, plan: Mapping) -> tuple[dict[str, np.ndarray], list]:
        """The arrays under the names of `plan`, prefixes and aliases resolved; the problems met."""
        found: dict[str, np.ndarray] = {}
        aliases = []
        problems = []
        for given, array in official.items():
            name = self._full(given, plan)
            primary = self._primary(name)
            if name in found:
                problems.append(f"unexpected: {name}, with and without its prefix")
            elif name in plan:
                found[name] = array
            elif primary in plan:
                aliases.append((name, primary, array))
            elif not self._knows(name, plan):
                problems.append(f"unexpected: {given} {array.shape}")
        for alias, primary, array in aliases:
            same = found.setdefault(primary, array)  # a file may keep only the alias
            if same is not array and not np.array_equal(same, array, equal_nan=True):
                problems.append(f"tied: {alias} must equal {primary}, but differs")
        return found, problems

    def _full(self, given: str, plan: Mapping) -> str:
        """The name as the table has it, with a prefix added or taken away where that helps."""
        shorter = given.removeprefix(self.extra_prefix)
        choices = given, self.optional_prefix + given, shorter
        return next((name for name in choices if self._knows(name, plan)), given)

    def _knows(self, name: str, plan: Mapping) -> bool:
        ignored = any(_rename(name, pattern, pattern) for pattern in self.ignored)
        return ignored or name in plan or self._primary(name) in plan

    def _primary(self, name: str) -> str:
        """The name that `name` is a tied alias or a former name of, or ""."""
        others = {**self.tied, **self.former}
        renamed = (_rename(name, alias, primary) for alias, primary in others.items())
        return next(filter(None, renamed), "")

    def _raise_if_any(self, problems: list[str]) -> None:
        if problems:
            lines = sorted(problems, key=lambda problem: problem.partition(":")[0])
            raise CheckpointError("\n  ".join([f"{self.name}: the names do not match", *lines]))


_tables: dict[str, NameTable] = {}


def names(
    name: str,
    *rows: tuple,
    tied: Mapping[str, str] | None = None,
    ignored: tuple[str, ...] = (),
    optional_prefix: str = "",
    extra_prefix: str = "",
    former: Mapping[str, str] | None = None,
) -> NameTable:
    """Make the table of the official model `name` and register it for `official(name)`.

    rows:             (ours or join(...), official, *transforms); indices keep their order
    tied:             official alias -> official name.  Written when saving; when loading it may be
                      absent, must otherwise equal the other, and stands in where only it is there
    ignored:          official names that we have no use for (mask buffers, other models' heads)
    optional_prefix:  what files saved from the bare model lack in front of their names
    extra_prefix:     what files saved from a larger model have in front of their names
    former:           official name of old -> today's; read, and never written
    """
    table = NameTable(
        name,
        tuple(
            Row((ours,) if isinstance(ours, str) else ours, theirs, tuple(transforms))
            for ours, theirs, *transforms in rows
        ),
        dict(tied or {}),
        ignored,
        optional_prefix,
        extra_prefix,
        dict(former or {}),
    )
    _check(table)
    if name in _tables:
        raise ValueError(f"names: there is a table {name!r} already")
    _tables[name] = table
    return table


def official(name: str) -> NameTable:
    """The registered table for an official model, such as "transformers.GPT2LMHeadModel"."""
    if name not in _tables:
        known = ", ".join(sorted(_tables)) or "none (is minitx.models.official imported?)"
        raise CheckpointError(f"no table of names for {name!r}; known: {known}")
    return _tables[name]


def _check(table: NameTable) -> None:
    """Reject what can only be a slip of the table's author."""
    theirs = [row.official for row in table.rows]
    ours = [pattern for row in table.rows for pattern in row.ours]
    pairs = [(pattern, row.official) for row in table.rows for pattern in row.ours]
    for pattern, times in [*Counter(ours).items(), *Counter(theirs).items()]:
        if times > 1:
            raise ValueError(f"names({table.name!r}): {pattern!r} appears {times} times")
    for left, right in [*pairs, *table.tied.items(), *table.former.items()]:
        if left.count("{}") != right.count("{}"):
            raise ValueError(f"names({table.name!r}): {left!r} and {right!r} differ in their {{}}")
    for alias, primary in table.tied.items():
        if primary not in theirs:
            raise ValueError(f"names({table.name!r}): {alias!r} is tied to {primary!r}, not a row")


@cache
def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile("(0|[1-9][0-9]*)".join(re.escape(piece) for piece in pattern.split("{}")))


def _indices(pattern: str, name: str) -> tuple[str, ...] | None:
    """The layers' indices where `name` has the form of `pattern`, else None."""
    match = _regex(pattern).fullmatch(name)
    return None if match is None else match.groups()


def _rename(name: str, old: str, new: str) -> str:
    """`name` in the form `new` where it has the form `old`, else ""."""
    indices = _indices(old, name)
    return "" if indices is None else new.format(*indices)
