"""BERT's tokenizer: WordPiece (Wu et al. 2016, section 4.1, as BERT's published program has it).

A text is cleaned (see `cleaning`) and split into words and punctuation signs.  A word becomes the
longest piece in the vocabulary that it starts with, then the longest that the rest starts with, and
so on; pieces within a word are written with ## in front.  A word with no such spelling, or of more
than 100 characters, is one [UNK].

Training learns byte-pair merges of characters, the most frequent pair first, as the `tokenizers`
library does; the paper's own trainer, which asks for the likelihood of the text, was not published.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .base import AnyPath, check_kind, check_strings, check_text, read_config
from .cleaning import Cleaning
from .merges import learn_merges
from .subwords import Pieces, SubwordTokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # in the order of their ids

_INSIDE = "##"  # in front of a piece that does not begin a word
_CLOSE = (".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re")  # decoded without a space in front
_ROLES = ("unk", "cls", "sep", "pad", "mask")
_FLAGS = ("lowercase", "tokenize_chinese_chars", "clean_text", "framed")
_OPTIONS: dict[str, tuple[type, ...]] = {  # of a state, with their types
    **dict.fromkeys(_FLAGS, (bool,)),
    **dict.fromkeys(_ROLES, (str,)),
    "strip_accents": (bool, type(None)),
    "max_word": (int,),
}


class WordPieceTokenizer(SubwordTokenizer):
    """WordPiece.

    tokens: the vocabulary, by id.
    special_tokens: further tokens to keep whole in a text; those not in `tokens` get the next ids.
    lowercase, strip_accents, tokenize_chinese_chars, clean_text: see `Cleaning`.
    max_word: characters of the longest word that is spelled at all.
    framed: whether a batch has [CLS] A [SEP] B [SEP], or just A B.
    unk, cls, sep, pad, mask: the five special tokens with a role of their own.  Their ids are the
    attributes unk_id, cls_id, sep_id (both None if not framed), pad_id, mask_id.

    Raises ValueError if a token occurs twice, or one with a role is missing.
    """

    kind = "wordpiece"

    def __init__(
        self,
        tokens: Sequence[str],
        special_tokens: Sequence[str] = (),
        *,
        lowercase: bool = True,
        strip_accents: bool | None = None,
        tokenize_chinese_chars: bool = True,
        clean_text: bool = True,
        max_word: int = 100,
        framed: bool = True,
        unk: str = "[UNK]",
        cls: str = "[CLS]",
        sep: str = "[SEP]",
        pad: str = "[PAD]",
        mask: str = "[MASK]",
    ):
        self._vocab = {check_text(token, "WordPiece token"): id for id, token in enumerate(tokens)}
        for id, token in enumerate(tokens):
            if self._vocab[token] != id:
                raise ValueError(
                    f"WordPiece vocabulary: token {token!r} occurs twice, with ids {id} "
                    f"and {self._vocab[token]}"
                )
            if "\n" in token or "\r" in token:
                raise ValueError(f"WordPiece vocabulary: token {token!r} holds a line end")
        further = [t for t in dict.fromkeys(special_tokens) if t and t not in self._vocab]
        ids = {token: id for id, token in enumerate([*tokens, *further])}
        special = dict.fromkeys([unk, cls, sep, pad, mask, *special_tokens])
        missing = [repr(token) for token in special if not token or token not in ids]
        if missing:
            raise ValueError(
                f"WordPiece vocabulary: special tokens {', '.join(missing)} are missing; is this "
                "another kind of vocabulary, or do they have other names in it?"
            )
        table = [_within_text(token).encode() for token in ids]
        super().__init__(list(ids), table, {token: ids[token] for token in special})
        self.unk_id, self.pad_id, self.mask_id = ids[unk], ids[pad], ids[mask]
        if framed:
            self.cls_id, self.sep_id = ids[cls], ids[sep]
        self._cleaning = Cleaning(lowercase, strip_accents, tokenize_chinese_chars, clean_text)
        self._longest = max(map(len, tokens))
        self._max_word = max_word
        self._state = {
            "kind": self.kind,
            "tokens": list(tokens),
            "special_tokens": list(special_tokens),
            "lowercase": lowercase,
            "strip_accents": strip_accents,
            "tokenize_chinese_chars": tokenize_chinese_chars,
            "clean_text": clean_text,
            "max_word": max_word,
            "framed": framed,
            **{"unk": unk, "cls": cls, "sep": sep, "pad": pad, "mask": mask},
        }

    @classmethod
    def train(
        cls,
        text: str,
        vocab_size: int,
        special_tokens: Sequence[str] = (),
        max_alphabet: int = 1000,
        progress: Callable[[int, int], None] | None = None,
        **cleaning: bool | None,
    ) -> WordPieceTokenizer:
        """Learn a vocabulary from `text`: [PAD] [UNK] [CLS] [SEP] [MASK], characters, merges.

        Only the max_alphabet most frequent characters are learned; words with others are left out.
        Ties go as in `BPETokenizer.train`, and if the text runs out of pairs, the vocabulary stays
        smaller than vocab_size.  `cleaning`: lowercase and so on, see the class.
        `progress(done, wanted)` is called after each merge.
        """
        check_text(text, "WordPieceTokenizer.train")
        special = list(dict.fromkeys([*SPECIAL, *special_tokens]))
        blank = cls(special, special_tokens, **cleaning)  # type: ignore[arg-type]
        words: Counter[str] = Counter()
        for _, part, id in blank._parts(text, "train", special=True):
            if id is None:
                words.update(word for word in blank._split(part) if len(word) <= blank._max_word)
        often: Counter[str] = Counter()
        for word, n in words.items():
            for character in word:
                often[character] += n
        kept = set(sorted(often, key=lambda c: (-often[c], c))[:max_alphabet])
        words = Counter({word: n for word, n in words.items() if kept.issuperset(word)})
        inside = {character for word in words for character in word[1:]}
        alphabet = [*sorted(kept), *(_INSIDE + character for character in sorted(inside))]
        wanted = vocab_size - len(special) - len(alphabet)
        if wanted < 0:
            raise ValueError(
                f"WordPieceTokenizer.train: vocab_size must be at least {vocab_size - wanted} "
                f"({len(special)} special tokens and {len(alphabet)} characters at the start of or "
                f"inside words; lower max_alphabet for less), got {vocab_size}"
            )
        symbols, _ = learn_merges(words, alphabet, wanted, progress, _INSIDE)
        tokens = dict.fromkeys([*special, *symbols])
        return cls(list(tokens), special_tokens, **cleaning)  # type: ignore[arg-type]

    def _split(self, text: str) -> list[str]:
        return self._cleaning.clean(text).split(" ")  # also empty words, which have no pieces

    def _origins(self, text: str) -> np.ndarray:
        return self._cleaning.origins(text)

    _gap = 1

    def _pieces(self, word: str) -> Pieces:
        if len(word) > self._max_word:
            return [self.unk_id], [0, len(word)]
        ids: list[int] = []
        spans: list[int] = []
        start, prefix = 0, ""
        while start < len(word):
            for end in range(min(len(word), start + self._longest), start, -1):
                id = self._vocab.get(prefix + word[start:end])
                if id is not None:
                    break
            else:
                return [self.unk_id], [0, len(word)]
            ids.append(id)
            spans += [start, end]
            start, prefix = end, _INSIDE
        return ids, spans

    def _joined(self, ids: list[int]) -> str:
        """Words with spaces between, but none in front of . ? ! , and English contractions."""
        first = "".join(self.tokens[id] for id in ids[:1])
        return first + b"".join([self._table[id] for id in ids[1:]]).decode()

    def state(self) -> dict[str, Any]:
        return {
            name: list(value) if isinstance(value, list) else value
            for name, value in self._state.items()
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> WordPieceTokenizer:
        given = {
            name: value for name, value in check_kind(state, cls.kind).items() if name != "kind"
        }
        lists = {name: check_strings(given, name) for name in ("tokens", "special_tokens")}
        for name, value in given.items():
            if name not in _OPTIONS and name not in lists:
                raise ValueError(f"tokenizer state: unknown entry {name!r}")
            if name in _OPTIONS and type(value) not in _OPTIONS[name]:
                types = " or ".join(type.__name__ for type in _OPTIONS[name])
                raise ValueError(f"tokenizer state: {name} must be {types}, got {value!r}")
        return cls(**given)

    def _files(self) -> dict[str, str]:
        state = self._state
        config = {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": state["lowercase"],
            **{name: state[name] for name in ("strip_accents", "tokenize_chinese_chars")},
            **{f"{role}_token": state[role] for role in _ROLES},
        }
        return {
            "vocab.txt": "".join(f"{token}\n" for token in self.tokens),
            "tokenizer_config.json": json.dumps(config, ensure_ascii=False, indent=2),
        }

    @classmethod
    def load(cls, path: AnyPath, special_tokens: Sequence[str] = ()) -> WordPieceTokenizer:
        """Read BERT's vocab.txt, or the one in folder `path`.

        How to clean a text, and the special tokens' names, come from the tokenizer_config.json
        beside it; without one they are those of the uncased models.
        """
        file = Path(path) / "vocab.txt" if Path(path).is_dir() else Path(path)
        config = read_config(file.parent)
        try:
            tokens = file.read_text("utf-8").split("\n")  # splitlines knows too many line ends
            if tokens[-1] == "":
                del tokens[-1]
            state = {
                "kind": cls.kind,
                "tokens": tokens,
                "special_tokens": list(special_tokens),
                "lowercase": config.get("do_lower_case", True),
                "strip_accents": config.get("strip_accents"),
                "tokenize_chinese_chars": config.get("tokenize_chinese_chars", True),
            }
            return cls.from_state(state | role_names(config))
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None


def role_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a tokenizer_config.json calls the five special tokens, as far as it does."""
    named = {role: config.get(f"{role}_token") for role in _ROLES}
    return {role: token for role, token in named.items() if token is not None}


def _within_text(token: str) -> str:
    """What a token adds to a text that it does not begin."""
    if token.startswith(_INSIDE):
        return token.removeprefix(_INSIDE)
    return token if token.startswith(_CLOSE) else " " + token
