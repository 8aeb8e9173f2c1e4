"""What every tokenizer can do, and what most of them share: a table from each id to its bytes.

A tokenizer is two maps.  `encode` cuts a text into pieces and names each by an integer; `decode`
puts the pieces together again.  Where every id stands for fixed bytes, decoding is the same for
all: look the bytes up, join them, read the whole as UTF-8.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from ..checkpoint.atomic import atomic_write

AnyPath = str | os.PathLike[str]
T = TypeVar("T", bound="TableTokenizer")


class Tokenizer(Protocol):
    """Text to ids and back; ids run from 0 to vocab_size - 1.

    Texts are `str` without lone surrogates (which no UTF-8 file can hold); anything else raises
    one TypeError or ValueError.  Files are written whole or not at all.
    """

    @property
    def vocab_size(self) -> int:
        """How many ids there are."""

    def encode(self, text: str) -> np.ndarray:
        """Text -> int64 ids (T,)."""

    def decode(self, ids: ArrayLike) -> str:
        """Integer ids (T,) -> text, in which bytes that are not UTF-8 become U+FFFD.

        Raises TypeError if the ids are not integers, ValueError for a wrong shape or an id out
        of range.
        """

    def token_bytes(self, id: int) -> bytes:
        """The UTF-8 bytes that one id adds to the text, perhaps only a part of a character."""

    def state(self) -> dict[str, Any]:
        """All that `tokenizer_from_state` needs to build the same tokenizer again, fit for JSON."""

    def save(self, path: AnyPath) -> None:
        """Write one JSON file at `path`, or a folder where other libraries expect one."""

    @classmethod
    def load(cls, path: AnyPath) -> Tokenizer:
        """Read what `save` wrote; ValueError names the file and what is wrong with it."""


class TableTokenizer:
    """A tokenizer whose ids stand for fixed bytes; subclasses add encode, state and from_state."""

    kind = ""  # what a saved state calls it

    def __init__(self, table: Iterable[bytes]):
        self._table = list(table)  # id -> bytes

    @property
    def vocab_size(self) -> int:
        return len(self._table)

    def decode(self, ids: ArrayLike) -> str:
        return self._joined(check_ids(ids, self.vocab_size, f"{type(self).__name__}.decode"))

    def _joined(self, ids: list[int]) -> str:
        return b"".join([self._table[id] for id in ids]).decode("utf-8", errors="replace")

    def token_bytes(self, id: int) -> bytes:
        [checked] = check_ids([id], self.vocab_size, f"{type(self).__name__}.token_bytes")
        return self._table[checked]

    def state(self) -> dict[str, Any]:
        raise NotImplementedError

    @classmethod
    def from_state(cls: type[T], state: Mapping[str, Any]) -> T:
        raise NotImplementedError

    def save(self, path: AnyPath) -> None:
        with atomic_write(path) as file:
            file.write(json.dumps(self.state()).encode())

    @classmethod
    def load(cls: type[T], path: AnyPath) -> T:
        try:
            return cls.from_state(read_json(path))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def check_text(text: object, who: str) -> str:
    """`text` itself, if it is a str that UTF-8 can encode."""
    if not isinstance(text, str):
        raise TypeError(f"{who}: expected a str, got {type(text).__name__}; decode bytes first")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{who}: character {text[error.start]!r} at position {error.start} is a lone "
            "surrogate, which is no text; read the source with errors='replace'"
        ) from None
    return text


def check_ids(ids: ArrayLike, vocab_size: int, who: str) -> list[int]:
    """Integer ids (T,) as a list, every one of them in 0 .. vocab_size - 1."""
    array = np.asarray(ids)
    if array.ndim != 1:
        raise ValueError(f"{who}: expected ids of shape (T,), got {array.shape}; decode row by row")
    if array.size and array.dtype.kind not in "iu":  # an empty list arrives as float64
        raise TypeError(f"{who}: ids must be integers, got {array.dtype}")
    for position in np.flatnonzero((array < 0) | (array >= vocab_size))[:1]:
        raise ValueError(
            f"{who}: id {array[position]} at position {position} is outside 0 .. {vocab_size - 1}; "
            "was it made by another tokenizer?"
        )
    return array.tolist()


def check_kind(state: object, kind: str) -> Mapping[str, Any]:
    """`state` itself, if it is a dict that says it describes this `kind` of tokenizer."""
    if not isinstance(state, Mapping):
        raise ValueError(f"tokenizer state: expected a dict, got {type(state).__name__}")
    if state.get("kind") != kind:
        raise ValueError(f"tokenizer state: expected kind {kind!r}, got {state.get('kind')!r}")
    return state


def check_strings(state: Mapping[str, Any], name: str) -> list[str]:
    """The entry `name` of a state, if it is a list of str."""
    value = state.get(name)
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise ValueError(f"tokenizer state: {name} must be a list of str")
    return value


def read_json(path: AnyPath) -> Any:
    """The contents of a JSON file in which no object has the same key twice."""
    try:
        return json.loads(Path(path).read_bytes(), object_pairs_hook=_distinct)
    except RecursionError:
        raise ValueError("nested too deeply for a tokenizer's file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not JSON, or cut off ({error}); copy the file again") from None


def tokens_by_id(vocab: object) -> list[str]:
    """The dict token -> id of a file, as a list."""
    if not isinstance(vocab, dict):
        raise ValueError(f"expected a dict token -> id, got {type(vocab).__name__}")
    tokens: dict[int, str] = {}
    for token, id in vocab.items():
        if type(id) is not int or not 0 <= id < len(vocab) or id in tokens:
            raise ValueError(
                f"token {token!r} has id {id!r}; expected each integer from 0 to "
                f"{len(vocab) - 1} once"
            )
        tokens[id] = token
    return [tokens[id] for id in range(len(vocab))]


def read_config(folder: Path) -> dict[str, Any]:
    """The tokenizer_config.json in a folder, special tokens as plain str; {} if there is none."""
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return {}
    try:
        config = read_json(path)
        if not isinstance(config, dict):
            raise ValueError(f"expected a dict of settings, got {type(config).__name__}")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return {
        name: value["content"] if isinstance(value, dict) and "content" in value else value
        for name, value in config.items()
    }


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"entry {key!r} occurs twice")
        result[key] = value
    return result
