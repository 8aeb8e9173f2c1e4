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
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .base import (
    AnyPath,
    check_kind,
    check_strings,
    check_text,
    read_config,
    read_json,
    tokens_by_id,
)
from .merges import Pair, apply_merges, learn_merges
from .pretokenize import split_words
from .subwords import Pieces, SubwordTokenizer

# Byte -> printable character: a visible character of Latin-1 stands for itself; the other bytes, in
# order, are U+0100, U+0101, ...  The order of this dict is the order of GPT-2's first 256 ids.
_VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_HIDDEN = [byte for byte in range(256) if byte not in _VISIBLE]
ALPHABET = {byte: chr(byte) for byte in _VISIBLE}
ALPHABET |= {byte: chr(0x100 + n) for n, byte in enumerate(_HIDDEN)}
_BYTES = {character: byte for byte, character in ALPHABET.items()}

_CHARACTER = re.compile(rb"[^\x80-\xbf][\x80-\xbf]*|[\x80-\xbf]+")  # or a part of one, in UTF-8
_END = "<|endoftext|>"  # GPT-2's only special token


class BPETokenizer(SubwordTokenizer):
    """Byte-level BPE.

    tokens: every token by id; ordinary ones in the printable alphabet, special ones as they are.
    merges: "left right" each, the most important first.
    special_tokens: those of `tokens` that are neither a byte nor made by merges.
    add_prefix_space: whether a text that begins without a space is read as if there were one.

    The attribute `special_tokens` is a dict: text -> id.
    Raises ValueError if a token occurs twice, a byte has no symbol, a merge names or makes a symbol
    that does not exist, or a token is neither a byte, nor made by merges, nor special.
    """

    kind = "bpe"

    def __init__(
        self,
        tokens: Sequence[str],
        merges: Sequence[str],
        special_tokens: Sequence[str] = (),
        add_prefix_space: bool = False,
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
        self.merges = list(merges)
        self._byte_ids = [ids[ALPHABET[byte]] for byte in range(256)]
        self.add_prefix_space = add_prefix_space
        table = [
            bytes(_BYTES[symbol] for symbol in token) if id in ordinary else token.encode()
            for id, token in enumerate(tokens)
        ]
        super().__init__(tokens, table, {token: ids[token] for token in special_tokens})

    @classmethod
    def train(
        cls,
        text: str,
        vocab_size: int,
        special_tokens: Sequence[str] = (_END,),
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
        if vocab_size < blank.vocab_size:
            raise ValueError(
                f"BPETokenizer.train: vocab_size must be at least {blank.vocab_size} (256 bytes "
                f"and {len(special_tokens)} special tokens), got {vocab_size}"
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

    def _split(self, text: str) -> list[str]:
        words = split_words(self._prefixed(text))
        return words if text.isascii() else self._joints.cut(words)

    @cached_property
    def _joints(self) -> _Joints:
        return _Joints(self._table[id] for _, id in self._merges.values())

    def _origins(self, text: str) -> np.ndarray:
        added = len(self._prefixed(text)) - len(text)
        return np.maximum(np.arange(-added, len(text)), 0)  # the space is the first character's

    def _prefixed(self, text: str) -> str:
        bare = self.add_prefix_space and text and text[0] != " "
        return f" {text}" if bare else text

    def _pieces(self, word: str) -> Pieces:
        ids = apply_merges([self._byte_ids[byte] for byte in word.encode()], self._merges)
        if word.isascii():
            owners: Sequence[int] = range(len(word))
        else:
            owners = [n for n, character in enumerate(word) for _ in character.encode()]
        spans: list[int] = []
        start = 0  # in bytes; an id has every character that it has a byte of
        for id in ids:
            end = start + len(self._table[id])
            spans += [owners[start], owners[end - 1] + 1]
            start = end
        return ids, spans

    def state(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "tokens": list(self.tokens),
            "merges": list(self.merges),
            "special_tokens": list(self.special_tokens),
            "add_prefix_space": self.add_prefix_space,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> BPETokenizer:
        check_kind(state, cls.kind)
        tokens, merges, special_tokens = (
            check_strings(state, name) for name in ("tokens", "merges", "special_tokens")
        )
        prefix = state.get("add_prefix_space", False)
        if not isinstance(prefix, bool):
            raise ValueError(f"tokenizer state: add_prefix_space must be a bool, got {prefix!r}")
        return cls(tokens, merges, special_tokens, prefix)

    def _files(self) -> dict[str, str]:
        vocab = {token: id for id, token in enumerate(self.tokens)}
        config: dict[str, Any] = {
            "tokenizer_class": "GPT2Tokenizer",
            "add_prefix_space": self.add_prefix_space,
        }
        if _END in self.special_tokens:
            config |= {"bos_token": _END, "eos_token": _END, "unk_token": _END}
        return {
            "vocab.json": json.dumps(vocab, ensure_ascii=False, separators=(",", ":")),
            "merges.txt": "\n".join(["#version: 0.2", *self.merges, ""]),
            "tokenizer_config.json": json.dumps(config, indent=2),
        }

    @classmethod
    def load(cls, path: AnyPath, special_tokens: Sequence[str] = ()) -> BPETokenizer:
        """Read GPT-2's vocab.json and merges.txt in folder `path`, or beside each other.

        The files do not say which tokens are special.  What no merge makes and is more than one
        word, as <|endoftext|> is, can only be special; one that looks like a word must be named in
        `special_tokens`, for it could as well be a sign of a damaged merges.txt.
        """
        folder = Path(path) if Path(path).is_dir() else Path(path).parent
        prefix = read_config(folder).get("add_prefix_space", False)
        file = folder / "vocab.json"
        try:
            tokens = tokens_by_id(read_json(file))
            file = folder / "merges.txt"
            lines = file.read_text("utf-8").split("\n")
            merges = [line for line in lines if line and not line.startswith("#version")]
            made = {merge.replace(" ", "") for merge in merges}
            special = [t for t in tokens if t not in made and len(split_words(t)) > 1]
            file = folder  # from here on, either file can be at fault
            state = {
                "kind": cls.kind,
                "tokens": tokens,
                "merges": merges,
                "special_tokens": [*special, *special_tokens],
                "add_prefix_space": prefix,
            }
            return cls.from_state(state)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None


class _Joints(dict[str, tuple[set[bytes], set[bytes]]]):
    """Where tokens reach from one character into the next; there only can merges cross.

    Chinese has no spaces, so its words in the sense of GPT-2 are half sentences that never recur.
    Cut where no token joins them, the parts do, and have the same ids.

    As a dict: a character -> what it can begin with, that is its first bytes, how many of them it
    may be, and the first bytes of characters that a token has after this one or its last bytes.
    """

    def __init__(self, tokens: Iterable[bytes]):
        self._after: defaultdict[bytes, set[bytes]] = defaultdict(set)
        for token in tokens:
            for left, right in pairwise(_CHARACTER.findall(token)):
                self._after[left].add(right)

    def __missing__(self, character: str) -> tuple[set[bytes], set[bytes]]:
        code = character.encode()
        firsts = {code[: n + 1] for n in range(len(code))}
        after = (self._after.get(code[n:], set()) for n in range(len(code)))
        self[character] = result = firsts, set().union(*after)
        return result

    def cut(self, words: Iterable[str]) -> list[str]:
        """The words, those beyond ASCII in such parts."""
        parts: list[str] = []
        for word in words:
            start = 0
            if not word.isascii():
                sides = pairwise([self[character] for character in word])
                for n, ((_, after), (firsts, _)) in enumerate(sides, 1):
                    if after.isdisjoint(firsts):
                        parts.append(word[start:n])
                        start = n
            parts.append(word[start:])
        return parts


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
