"""Tokenizers out of files, of whichever kind they are.

tokenizer.json             all of a tokenizer, as the `tokenizers` library writes it
vocab.txt                  BERT's vocabulary, one token a line; line n has id n
vocab.json, merges.txt     GPT-2's vocabulary and merges
tokenizer_config.json      transformers' settings, beside any of these
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .base import AnyPath, Tokenizer, read_config, read_json
from .bpe import BPETokenizer
from .characters import ByteTokenizer, CharTokenizer
from .tokenizer_json import from_tokenizer_json
from .wordpiece import WordPieceTokenizer, role_names

_KINDS = {cls.kind: cls for cls in (BPETokenizer, ByteTokenizer, CharTokenizer, WordPieceTokenizer)}
_FILES = ("tokenizer.json", "vocab.txt", "vocab.json")  # the first that is there counts


def tokenizer_from_state(state: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer whose `state()` this is; ValueError for anything else."""
    kind = state.get("kind") if isinstance(state, Mapping) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"tokenizer state: kind must be one of {', '.join(_KINDS)}, got {kind!r}")
    return _KINDS[kind].from_state(state)


def load_tokenizer(path: AnyPath) -> Tokenizer:
    """The tokenizer in a folder, or in one of its files; also in a JSON file that `save` wrote.

    Raises FileNotFoundError if nothing is there, ValueError naming the file and what is wrong.
    """
    path = Path(path)
    if path.is_dir():
        for name in _FILES:
            if (path / name).is_file():
                return load_tokenizer(path / name)
        raise FileNotFoundError(
            f"load_tokenizer: the folder {path} has none of {', '.join(_FILES)} (with merges.txt)"
        )
    if not path.is_file():
        raise FileNotFoundError(f"load_tokenizer: there is no file {path}")
    if path.name in ("vocab.json", "merges.txt"):
        return BPETokenizer.load(path)
    if path.suffix == ".txt":
        return WordPieceTokenizer.load(path)
    try:
        data = read_json(path)
        if isinstance(data, dict) and "kind" in data:
            return tokenizer_from_state(data)
        state = from_tokenizer_json(data)
        if state["kind"] == WordPieceTokenizer.kind:
            state = role_names(read_config(path.parent)) | state
        return tokenizer_from_state(state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
