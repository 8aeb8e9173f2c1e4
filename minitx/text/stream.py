"""Showing text while it is generated, id by id, without ever showing half a character."""

from __future__ import annotations

import codecs

from .base import Tokenizer


class StreamDecoder:
    """Decode ids one at a time; all that was returned, joined, is `tokenizer.decode` of all ids."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, id: int) -> str:
        """The text that became certain with this id, "" while a character is incomplete."""
        return self._utf8.decode(self._tokenizer.token_bytes(id))

    def flush(self) -> str:
        """What is left at the end: U+FFFD for an incomplete character, else ""."""
        return self._utf8.decode(b"", final=True)
