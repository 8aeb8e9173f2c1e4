"""Batches: texts or pairs cut to length, framed by [CLS] and [SEP], padded to one rectangle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

Text = tuple[np.ndarray, np.ndarray]  # ids (T,), offsets (T, 2)

CUTS = ("longest_first", "only_first", "only_second", None)
LENGTHS = ("longest", "max_length")
SIDES = ("right", "left")


class Batch(NamedTuple):
    """B rows of T ids each, as a model reads them."""

    ids: np.ndarray  # (B, T) int64
    types: np.ndarray  # (B, T) int64: 1 at the second text of a pair and the [SEP] after it, else 0
    mask: np.ndarray  # (B, T) bool: False at padding
    offsets: np.ndarray  # (B, T, 2) int64: start and end in the text; 0, 0 at what is added
    added: np.ndarray  # (B, T) bool: True at [CLS], [SEP] and padding, which stand for no text


@dataclass(frozen=True)
class Layout:
    """How rows become a rectangle; what `SubwordTokenizer.batch` is told."""

    max_length: int | None
    truncation: str | None
    padding: str
    multiple_of: int
    side: str
    cls_id: int | None
    sep_id: int | None
    pad_id: int | None

    def __post_init__(self) -> None:
        for name, known in ("truncation", CUTS), ("padding", LENGTHS), ("side", SIDES):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        for name in ("max_length", "multiple_of"):
            value = getattr(self, name)
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if not (whole and value > 0) and (value is not None or name == "multiple_of"):
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
        if self.padding == "max_length" and self.max_length is None:
            raise ValueError("padding='max_length' needs a max_length")

    def arrange(self, rows: Sequence[Sequence[str]], encode: Callable[[str], Text]) -> Batch:
        """Rows of one text or two -> a batch; errors name the row that does not fit."""
        framed = []
        for n, row in enumerate(rows):
            try:
                framed.append(self.frame(self.truncate([encode(text) for text in row])))
            except (TypeError, ValueError) as error:
                raise type(error)(f"row {n}: {error}") from None
        return self.pad(framed)

    def truncate(self, texts: Sequence[Text]) -> list[Text]:
        """Cut one text or two at the end, so that the framed row has at most max_length ids.

        "longest_first" takes from the longer text until both are equally long, then from both; an
        odd place is left to the one that was longer, or to the second.
        """
        lengths = [len(ids) for ids, _ in texts]
        framing = (self.cls_id is not None) + (self.sep_id is not None) * len(texts)
        room = sum(lengths) if self.max_length is None else self.max_length - framing
        excess = sum(lengths) - room
        if room < 0:
            raise ValueError(f"max_length {self.max_length} has no room for {framing} framing ids")
        if excess > 0:
            lengths = self._cut(lengths, room, excess)
        return [(ids[:n], offsets[:n]) for (ids, offsets), n in zip(texts, lengths, strict=True)]

    def _cut(self, lengths: list[int], room: int, excess: int) -> list[int]:
        if self.truncation is None:
            raise ValueError(f"{excess} ids too long for max_length {self.max_length}; truncate it")
        if self.truncation == "longest_first":
            if len(lengths) == 1:
                return [room]
            shorter = min(*lengths, room // 2)
            first = lengths[0] <= lengths[1]
            return [shorter, room - shorter] if first else [room - shorter, shorter]
        which = 0 if self.truncation == "only_first" else 1
        if which == len(lengths):
            raise ValueError("truncation 'only_second' needs a pair, got one text")
        if lengths[which] <= excess:
            raise ValueError(
                f"max_length {self.max_length} leaves no room for the text that truncation "
                f"{self.truncation!r} shortens; use 'longest_first'"
            )
        lengths[which] -= excess
        return lengths

    def frame(self, texts: Sequence[Text]) -> Batch:
        """[CLS] A [SEP] or [CLS] A [SEP] B [SEP], as far as there are such ids: a batch of one."""
        parts: list[tuple[Text, int, bool]] = []  # text, type, added
        if self.cls_id is not None:
            parts.append((_sign(self.cls_id), 0, True))
        for type, text in enumerate(texts):
            parts.append((text, type, False))
            if self.sep_id is not None:
                parts.append((_sign(self.sep_id), type, True))
        counts = [len(ids) for (ids, _), _, _ in parts]
        ids = np.concatenate([ids for (ids, _), _, _ in parts])
        return Batch(
            ids,
            np.repeat([type for _, type, _ in parts], counts),
            np.ones(len(ids), bool),
            np.concatenate([offsets for (_, offsets), _, _ in parts]),
            np.repeat([added for _, _, added in parts], counts),
        )

    def pad(self, rows: Sequence[Batch]) -> Batch:
        """Framed rows -> one rectangle."""
        lengths = [len(row.ids) for row in rows]
        longest = max(lengths)
        if self.padding == "max_length" and self.max_length is not None:
            longest = self.max_length
        T = -(-longest // self.multiple_of) * self.multiple_of
        if self.pad_id is None and min(lengths) < T:
            raise ValueError(
                "this tokenizer has no padding token; say with which pad_id to fill up"
            )
        B = len(rows)
        batch = Batch(
            np.full((B, T), self.pad_id or 0, np.int64),
            np.zeros((B, T), np.int64),
            np.zeros((B, T), bool),
            np.zeros((B, T, 2), np.int64),
            np.ones((B, T), bool),
        )
        for n, row in enumerate(rows):
            place = slice(0, lengths[n]) if self.side == "right" else slice(T - lengths[n], T)
            for whole, part in zip(batch, row, strict=True):
                whole[n, place] = part
        return batch


def _sign(id: int) -> Text:
    return np.array([id]), np.zeros((1, 2), np.int64)
