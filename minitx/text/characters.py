"""The two tokenizers without a merge table: one id per character, or one id per UTF-8 byte.

Characters make short sequences over a vocabulary that must be collected from the training text;
bytes need no training and encode any text, at up to four ids a character.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .base import TableTokenizer, check_kind, check_text


class CharTokenizer(TableTokenizer):
    """One id per Unicode code point; `characters[id]` is the character of an id.

    Raises ValueError if `characters` is empty or repeats a character.
    """

    kind = "char"

    def __init__(self, characters: str):
        self.characters = check_text(characters, "CharTokenizer")
        self._ids = {character: id for id, character in enumerate(characters)}
        if not 0 < len(self._ids) == len(characters):
            raise ValueError(
                "CharTokenizer: expected one or more distinct characters, "
                f"got {len(characters)} of which {len(self._ids)} are distinct"
            )
        super().__init__(character.encode() for character in characters)

    @classmethod
    def train(cls, text: str) -> CharTokenizer:
        """The characters of `text`, in code point order."""
        return cls("".join(sorted(set(check_text(text, "CharTokenizer.train")))))

    def encode(self, text: str) -> np.ndarray:
        """Text of T characters -> int64 ids (T,); ValueError if one is not in the vocabulary."""
        check_text(text, "CharTokenizer.encode")
        try:
            return np.array([self._ids[character] for character in text], np.int64)
        except KeyError as error:
            unknown = error.args[0]
        raise ValueError(
            f"CharTokenizer.encode: character {unknown!r} at position {text.index(unknown)} is not "
            f"among the {self.vocab_size} known ones; train on a text that has it, or use "
            "ByteTokenizer"
        )

    def state(self) -> dict[str, Any]:
        return {"kind": self.kind, "characters": self.characters}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> CharTokenizer:
        characters = check_kind(state, cls.kind).get("characters")
        if not isinstance(characters, str):
            raise ValueError(f"tokenizer state: characters must be a str, got {characters!r}")
        return cls(characters)


class ByteTokenizer(TableTokenizer):
    """One id per byte of the text's UTF-8 form: id = byte, vocab_size = 256."""

    kind = "byte"

    def __init__(self) -> None:
        super().__init__(bytes([byte]) for byte in range(256))

    def encode(self, text: str) -> np.ndarray:
        """Text of T UTF-8 bytes -> int64 ids (T,)."""
        utf8 = check_text(text, "ByteTokenizer.encode").encode()
        return np.frombuffer(utf8, np.uint8).astype(np.int64)

    def state(self) -> dict[str, Any]:
        return {"kind": self.kind}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> ByteTokenizer:
        check_kind(state, cls.kind)
        return cls()
