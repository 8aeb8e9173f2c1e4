"""Tokenizers: text to integer ids and back.  `Tokenizer` says what all of them can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import Tokenizer
from .bpe import BPETokenizer
from .characters import ByteTokenizer, CharTokenizer
from .stream import StreamDecoder

__all__ = [
    "BPETokenizer",
    "ByteTokenizer",
    "CharTokenizer",
    "StreamDecoder",
    "Tokenizer",
    "tokenizer_from_state",
]

_KINDS = {cls.kind: cls for cls in (BPETokenizer, ByteTokenizer, CharTokenizer)}


def tokenizer_from_state(state: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer whose `state()` this is; ValueError for anything else."""
    kind = state.get("kind") if isinstance(state, Mapping) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"tokenizer state: kind must be one of {', '.join(_KINDS)}, got {kind!r}")
    return _KINDS[kind].from_state(state)
