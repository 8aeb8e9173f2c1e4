"""Tokenizers: text to integer ids and back.  `Tokenizer` says what all of them can do."""

from .base import Tokenizer
from .batch import Batch
from .bpe import BPETokenizer
from .characters import ByteTokenizer, CharTokenizer
from .loading import load_tokenizer, tokenizer_from_state
from .stream import StreamDecoder
from .subwords import SubwordTokenizer
from .wordpiece import WordPieceTokenizer

__all__ = [
    "BPETokenizer",
    "Batch",
    "ByteTokenizer",
    "CharTokenizer",
    "StreamDecoder",
    "SubwordTokenizer",
    "Tokenizer",
    "WordPieceTokenizer",
    "load_tokenizer",
    "tokenizer_from_state",
]
