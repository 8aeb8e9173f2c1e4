"""GPT-2's tokenizer: byte-pair encoding of UTF-8 bytes (Radford et al. 2019, section 2.2).

A text is cut into words, a word into its bytes, and a ranked list of merges joins neighbours into
ever longer symbols.  With all 256 bytes in the vocabulary, no text is unknown.

In files a symbol is written in a printable alphabet, one visible character per byte (a space is
written Ġ), so that files of symbols can be split at white space.

Merges apply in the order of the `tokenizers` library, see `apply_merges`.  GPT-2's own program
gives the same ids unless two merges make the same symbol, which in its published files none do.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint.atomic import atomic_write
from .base import AnyPath, TableTokenizer, check_kind, check_text, read_json
from .merges import Pair, apply_merges, learn_merges
from .pretokenize import split_words

# Byte -> printable character: a visible character of Latin-1 stands for itself; the other bytes, in
# order, are U+0100, U+0101, ...  The order of this dict is the order of GPT-2's first 256 ids.
_VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_HIDDEN = [byte for byte in range(256) if byte not in _VISIBLE]
ALPHABET = {byte: chr(byte) for byte in _VISIBLE}
ALPHABET |= {byte: chr(0x100 + n) for n, byte in enumerate(_HIDDEN)}
_BYTES = {character: byte for byte, character in ALPHABET.items()}

_MAX_VOCAB = 0x110000  # learn_merges spells symbols as code points
_CACHED_WORDS = 1 << 16


class BPETokenizer(TableTokenizer):
    """Byte-level BPE.

    tokens: every token by id; ordinary ones in the printable alphabet, special ones as they are.
    merges: "left right" each, the most important first.
    special_tokens: those of `tokens` that are neither a byte nor made by merges.

    The attribute `special_tokens` is a dict: text -> id.
    Raises ValueError if a token occurs twice, a byte has no symbol, a merge names or makes a symbol
    that does not exist, or a token is neither a byte, nor made by merges, nor special.
    """

    kind = "bpe"

    def __init__(
        self, tokens: Sequence[str], merges: Sequence[str], special_tokens: Sequence[str] = ()
    ):
        ids = {check_text(token, "BPE token"): id for id, token in enumerate(tokens)}
        for id, token in enumerate(tokens):
            if ids[token] != id:
                raise ValueError(f"BPE vocabulary: token {token!r} occurs twice")
        for byte, symbol in ALPHABET.items():
            if symbol not in ids:
                raise ValueError(
                    f"BPE vocabulary: {symbol!r}, the symbol of byte {byte}, is missing; "
                    "a byte-level vocabulary has one for each of the 256 bytes"
                )
        self._merges = _ranked(merges, ids)
        ordinary = {ids[symbol] for symbol in _BYTES} | {id for _, id in self._merges.values()}
        for token in special_tokens:
            if not token or token not in ids or ids[token] in ordinary:
                raise ValueError(
                    f"BPE vocabulary: special token {token!r} must be one of the tokens, not empty "
                    "and not an ordinary symbol"
                )
        for token, id in ids.items():
            if id not in ordinary and token not in special_tokens:
                raise ValueError(
                    f"BPE vocabulary: no merge makes token {token!r}; are the merges cut off, or "
                    "another model's?  If it is a special token, name it in special_tokens"
                )
        self.tokens = list(tokens)
        self.merges = list(merges)
        self.special_tokens = {token: ids[token] for token in special_tokens}
        longest_first = sorted(self.special_tokens, key=len, reverse=True)
        anywhere = "|".join(map(re.escape, longest_first)) or r"(?!)"  # matches nothing
        self._special = re.compile(f"({anywhere})")
        self._byte_ids = [ids[ALPHABET[byte]] for byte in range(256)]
        self._cache: dict[str, list[int]] = {}  # word -> ids
        super().__init__(
            bytes(_BYTES[symbol] for symbol in token) if id in ordinary else token.encode()
            for id, token in enumerate(tokens)
        )

    @classmethod
    def train(
        cls,
        text: str,
        vocab_size: int,
        special_tokens: Sequence[str] = ("<|endoftext|>",),
        progress: Callable[[int, int], None] | None = None,
    ) -> BPETokenizer:
        """Learn merges from `text`, the most frequent pair of neighbouring symbols first.

        Ids are ordered as GPT-2's: bytes, merges, special tokens.  Among equally frequent pairs the
        one with the smaller left id wins, then the smaller right id; so older symbols come first.
        Special tokens in the text separate words, and nothing is learned from them.  If the text
        runs out of pairs, the vocabulary stays smaller than vocab_size.
        `progress(done, wanted)` is called after each merge.
        """
        check_text(text, "BPETokenizer.train")
        blank = cls([*ALPHABET.values(), *special_tokens], [], special_tokens)
        if not blank.vocab_size <= vocab_size <= _MAX_VOCAB:
            raise ValueError(
                f"BPETokenizer.train: vocab_size must be from {blank.vocab_size} (256 bytes and "
                f"{len(special_tokens)} special tokens) to {_MAX_VOCAB}, got {vocab_size}"
            )
        words: Counter[str] = Counter()
        for part in blank._special.split(text)[::2]:
            words.update(split_words(part))
        symbols, merges = learn_merges(
            {"".join(ALPHABET[byte] for byte in word.encode()): n for word, n in words.items()},
            list(ALPHABET.values()),
            vocab_size - blank.vocab_size,
            progress,
        )
        return cls([*symbols, *special_tokens], merges, special_tokens)

    def encode(self, text: str, special: bool = True) -> np.ndarray:
        """Text -> int64 ids (T,).

        A special token in the text becomes its one id, as with transformers' GPT2Tokenizer.  Use
        special=False for text from strangers: "<|endoftext|>" is then spelled like any other text.
        """
        check_text(text, "BPETokenizer.encode")
        ids: list[int] = []
        for n, part in enumerate(self._special.split(text) if special else [text]):
            if n % 2:  # the parts alternate: ordinary, special, ordinary, ...
                ids.append(self.special_tokens[part])
            else:
                for word in split_words(part):
                    ids += self._cache.get(word) or self._encode_word(word)
        return np.array(ids, np.int64)

    def _encode_word(self, word: str) -> list[int]:
        ids = apply_merges([self._byte_ids[byte] for byte in word.encode()], self._merges)
        if len(self._cache) < _CACHED_WORDS:
            self._cache[word] = ids
        return ids

    def state(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "tokens": list(self.tokens),
            "merges": list(self.merges),
            "special_tokens": list(self.special_tokens),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> BPETokenizer:
        check_kind(state, cls.kind)
        for name in ("tokens", "merges", "special_tokens"):
            value = state.get(name)
            if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
                raise ValueError(f"tokenizer state: {name} must be a list of str")
        return cls(state["tokens"], state["merges"], state["special_tokens"])

    def save(self, path: AnyPath) -> None:
        """Write vocab.json and merges.txt, as transformers and tokenizers do, in folder `path`."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        vocab = {token: id for id, token in enumerate(self.tokens)}
        with atomic_write(folder / "vocab.json") as file:
            file.write(json.dumps(vocab, ensure_ascii=False, separators=(",", ":")).encode())
        with atomic_write(folder / "merges.txt") as file:
            file.write("\n".join(["#version: 0.2", *self.merges, ""]).encode())

    @classmethod
    def load(cls, path: AnyPath, special_tokens: Sequence[str] = ()) -> BPETokenizer:
        """Read GPT-2's vocab.json and merges.txt in folder `path`.

        The files do not say which tokens are special.  What no merge makes and is more than one
        word, as <|endoftext|> is, can only be special; one that looks like a word must be named in
        `special_tokens`, for it could as well be a sign of a damaged merges.txt.
        """
        folder = Path(path)
        file = folder / "vocab.json"
        try:
            tokens = _tokens_by_id(read_json(file))
            file = folder / "merges.txt"
            lines = file.read_text("utf-8").split("\n")
            merges = [line for line in lines if line and not line.startswith("#version")]
            made = {merge.replace(" ", "") for merge in merges}
            special = [t for t in tokens if t not in made and len(split_words(t)) > 1]
            file = folder  # from here on, either file can be at fault
            return cls(tokens, merges, [*special, *special_tokens])
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None


def _ranked(merges: Sequence[str], ids: Mapping[str, int]) -> dict[Pair, tuple[int, int]]:
    """The merges as a table: pair of ids -> (rank, merged id)."""
    ranked: dict[Pair, tuple[int, int]] = {}
    known = set(_BYTES)
    for rank, merge in enumerate(merges):
        where = f"BPE merge {rank} {merge!r}"
        parts = merge.split(" ")
        if len(parts) != 2 or not all(parts):
            raise ValueError(f"{where}: expected two symbols with a space between; is it cut off?")
        for part in parts:
            if part not in known:
                raise ValueError(f"{where}: {part!r} is no byte's symbol, and no earlier merge's")
        merged = "".join(parts)
        if merged not in ids:
            raise ValueError(f"{where}: {merged!r} is not in the vocabulary; another model's?")
        pair = ids[parts[0]], ids[parts[1]]
        if pair in ranked:
            raise ValueError(f"{where}: occurs twice, first as merge {ranked[pair][0]}")
        ranked[pair] = rank, ids[merged]
        known.add(merged)
    return ranked


def _tokens_by_id(vocab: object) -> list[str]:
    """The dict token -> id of a vocab.json, as a list."""
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
