"""What the two subword tokenizers share: the way from a text to ids and offsets, and batches.

    text --special tokens cut out--> parts --split--> words --pieces, remembered--> ids, offsets

A subclass says how a part is split into words, and which pieces make a word.  Words recur, so
each distinct one is cut into pieces once and then looked up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ..checkpoint.atomic import atomic_write
from .base import AnyPath, TableTokenizer, check_ids, check_text
from .batch import Batch, Layout
from .tokenizer_json import to_tokenizer_json

Pieces = tuple[list[int], list[int]]  # ids; start, end, start, end, ... within the word

_CACHED_PIECES = 1 << 18
_PART = 1 << 20  # characters looked at together, which bounds the memory a long text takes
_CUT = re.compile(r"(?<=\w) ")  # a place where any tokenizer separates words


class SubwordTokenizer(TableTokenizer):
    """A tokenizer whose ids are parts of words.

    tokens: every token, by id.  table: the bytes that each adds to a text.
    special_tokens: text -> id of those that are kept whole where they occur.
    """

    cls_id: int | None = None  # these two frame each text in a batch: [CLS] A [SEP] B [SEP]
    sep_id: int | None = None
    pad_id: int | None = None
    _gap = 0  # characters that `_split` leaves out between two words

    def __init__(
        self, tokens: Sequence[str], table: Sequence[bytes], special_tokens: Mapping[str, int]
    ):
        super().__init__(table)
        self.tokens = list(tokens)
        self.special_tokens = dict(special_tokens)
        longest_first = sorted(special_tokens, key=len, reverse=True)
        anywhere = "|".join(map(re.escape, longest_first)) or r"(?!)"  # matches nothing
        self._special = re.compile(f"({anywhere})")
        self._words = _Words(self)

    def _split(self, text: str) -> list[str]:
        """The words of a text without special tokens."""
        raise NotImplementedError

    def _origins(self, text: str) -> np.ndarray:
        """For each character of the words and the gaps between, its position in the text."""
        raise NotImplementedError

    def _pieces(self, word: str) -> Pieces:
        """A word's ids, and which characters of the word each of them stands for."""
        raise NotImplementedError

    def _files(self) -> dict[str, str]:
        """What `save` writes beside tokenizer.json: file name -> contents."""
        raise NotImplementedError

    def encode(self, text: str, special: bool = True) -> np.ndarray:
        """Text -> int64 ids (T,), without [CLS] and [SEP]: those belong to batches.

        A special token in the text becomes its one id, as in transformers.  Use special=False for
        text from strangers: "<|endoftext|>" or "[SEP]" is then spelled like any other text.
        """
        ids: list[int] = []
        for _, part, id in self._parts(text, "encode", special):
            if id is not None:
                ids.append(id)
            else:
                ids += chain.from_iterable([self._words[word][0] for word in self._split(part)])
        return np.array(ids, np.int64)

    def encode_with_offsets(self, text: str, special: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Text -> int64 ids (T,) and offsets (T, 2): id n stands for text[start:end].

        Where several ids share a character, each has all of it.
        """
        ids, offsets = [np.zeros(0, np.int64)], [np.zeros((0, 2), np.int64)]
        for start, part, id in self._parts(text, "encode_with_offsets", special):
            if id is not None:
                ids.append(np.array([id]))
                offsets.append(np.array([[start, start + len(part)]]))
            elif words := self._split(part):
                pieces = [self._words[word] for word in words]
                ids.append(np.array([*chain.from_iterable([p[0] for p in pieces])], np.int64))
                offsets.append(self._offsets(words, pieces, self._origins(part)) + start)
        return np.concatenate(ids), np.concatenate(offsets)

    def _offsets(
        self, words: Sequence[str], pieces: Sequence[Pieces], origins: np.ndarray
    ) -> np.ndarray:
        """Places within words -> places within the text, (T, 2)."""
        lengths = np.fromiter(map(len, words), np.int64, len(words)) + self._gap
        starts = np.cumsum(lengths) - lengths  # of each word
        counts = np.fromiter([len(ids) for ids, _ in pieces], np.int64, len(words))
        spans = np.array([*chain.from_iterable([s for _, s in pieces])], np.int64).reshape(-1, 2)
        spans += np.repeat(starts, counts)[:, None]
        spans[:, 0] = origins[spans[:, 0]]
        spans[:, 1] = origins[spans[:, 1] - 1] + 1
        return spans

    def decode(self, ids: ArrayLike, skip_special: bool = False) -> str:
        """Integer ids (T,) -> text, as `Tokenizer.decode`; skip_special leaves special ones out."""
        checked = check_ids(ids, self.vocab_size, f"{type(self).__name__}.decode")
        left_out = set(self.special_tokens.values()) if skip_special else set()
        return self._joined([id for id in checked if id not in left_out])

    def save(self, path: AnyPath) -> None:
        """Write the files that transformers and tokenizers expect in folder `path`."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        whole = to_tokenizer_json(self.state(), self.special_tokens)
        files = {**self._files(), "tokenizer.json": json.dumps(whole, ensure_ascii=False, indent=1)}
        for name, contents in files.items():
            with atomic_write(folder / name) as file:
                file.write(contents.encode())

    def _parts(self, text: str, who: str, special: bool) -> Iterator[tuple[int, str, int | None]]:
        """(start, part, id if it is a special token) from left to right."""
        check_text(text, f"{type(self).__name__}.{who}")
        start = 0
        for n, part in enumerate(self._special.split(text) if special else [text]):
            if n % 2:  # the parts alternate: ordinary, special, ordinary, ...
                yield start, part, self.special_tokens[part]
            elif len(part) <= _PART:
                yield start, part, None
            else:
                yield from _pages(start, part)
            start += len(part)

    def batch(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int | None = None,
        truncation: str | None = "longest_first",
        padding: str = "longest",
        multiple_of: int = 1,
        side: str = "right",
        pad_id: int | None = None,
        special: bool = True,
    ) -> Batch:
        """B texts, or B pairs of texts, -> arrays for a model; see `Batch`.

        max_length: at most so many ids a row, framing included.  truncation says what is cut off
        at the end then: "longest_first" (of a pair the longer text, then both alike), "only_first",
        "only_second", or None: a row that is too long is an error.
        padding: "longest" (all rows as long as the longest) or "max_length"; then rounded up to a
        multiple of multiple_of.  side: on which side, "right" or "left".  pad_id: what with, by
        default the tokenizer's own padding token.
        special: whether special tokens in the texts count, see `encode`.

        Raises TypeError or ValueError, naming the row, for what does not fit.
        """
        who = f"{type(self).__name__}.batch"
        for given in (texts, pairs):
            if isinstance(given, str):
                raise TypeError(f"{who}: expected a list of str, got one str; put it into a list")
        if not len(texts) or (pairs is not None and len(pairs) != len(texts)):
            others = "" if pairs is None else f" and {len(pairs)} pairs"
            raise ValueError(f"{who}: expected one or more texts, got {len(texts)}{others}")
        if pad_id is None:
            pad_id = self.pad_id
        else:
            [pad_id] = check_ids([pad_id], self.vocab_size, f"{who}: pad_id")
        columns = [texts] if pairs is None else [texts, pairs]
        try:
            layout = Layout(
                max_length, truncation, padding, multiple_of, side, self.cls_id, self.sep_id, pad_id
            )
            return layout.arrange(
                list(zip(*columns, strict=True)),
                lambda text: self.encode_with_offsets(text, special),
            )
        except (TypeError, ValueError) as error:
            raise type(error)(f"{who}: {error}") from None


class _Words(dict[str, Pieces]):
    """Word -> its pieces, worked out when asked; forgets everything when it has grown large."""

    def __init__(self, tokenizer: SubwordTokenizer):
        self._tokenizer = tokenizer
        self._held = 0

    def __missing__(self, word: str) -> Pieces:
        pieces = self._tokenizer._pieces(word)
        self._held += 1 + len(pieces[0])
        if self._held > _CACHED_PIECES:
            self.clear()
            self._held = 0
        self[word] = pieces
        return pieces


def _pages(start: int, text: str) -> Iterator[tuple[int, str, None]]:
    """A long text in parts of about _PART characters, cut where words are separate anyway."""
    done = 0
    while len(text) - done > _PART and (match := _CUT.search(text, done + _PART)):
        yield start + done, text[done : match.start()], None
        done = match.start()
    yield start + done, text[done:], None
