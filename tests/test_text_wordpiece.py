"""WordPiece: the spelling and training rules by their definitions, decoding, bad vocabularies."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies_text import texts

from minitx.text import StreamDecoder, WordPieceTokenizer, tokenizer_from_state
from minitx.text.merges import learn_merges

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    "un",
    "##aff",
    "##able",
    "a",
    "##b",
    "##ab",
    "ab",
    "hello",
    "é",
    "É",
    "e",
    "!",
    "北",
    "n't",
]
VOCAB = [*SPECIAL, *WORDS]
TEXT = "The ship's mate didn't know what they'd find; the mates, they found a ship. " * 3


def pieces(tokenizer, text, **options):
    return [tokenizer.tokens[id] for id in tokenizer.encode(text, **options)]


@pytest.fixture(scope="module")
def tokenizer():
    return WordPieceTokenizer(VOCAB)


@pytest.fixture(scope="module")
def trained():
    return WordPieceTokenizer.train(TEXT, 60)


# Spelling


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unaffable", ["un", "##aff", "##able"]),
        ("UNaffable!", ["un", "##aff", "##able", "!"]),
        ("abab", ["ab", "##ab"]),  # the longest piece first, though a ##b ##ab would do as well
        ("aab", ["a", "##ab"]),
        ("unx a", ["[UNK]", "a"]),  # no part of a word is spelled if another cannot be
        ("é É e\u0301", ["e", "e", "e"]),
        ("a北a", ["a", "北", "a"]),
        ("a\x00b", ["ab"]),
        ("a\u200bb\ufeff", ["ab"]),
        ("", []),
        (" \t\n\u3000", []),
        ("ab" * 50, ["ab"] + ["##ab"] * 49),
        ("ab" * 50 + "a", ["[UNK]"]),
    ],
)
def test_the_rules(tokenizer, text, expected):
    assert pieces(tokenizer, text) == expected


def test_options_of_cleaning():
    cased = WordPieceTokenizer(VOCAB, lowercase=False)
    assert pieces(cased, "É é hello Hello") == ["É", "é", "hello", "[UNK]"]
    assert pieces(WordPieceTokenizer(VOCAB, strip_accents=False), "É") == ["é"]
    assert pieces(WordPieceTokenizer(VOCAB, lowercase=False, strip_accents=True), "é") == ["e"]
    assert pieces(WordPieceTokenizer(VOCAB, tokenize_chinese_chars=False), "a北") == ["[UNK]"]
    assert pieces(WordPieceTokenizer(VOCAB, clean_text=False), "a\x00b") == ["[UNK]"]


def test_special_tokens_are_kept_whole_unless_told_otherwise(tokenizer):
    assert pieces(tokenizer, "a[MASK]b [SEP]") == ["a", "[MASK]", "[UNK]", "[SEP]"]
    assert pieces(tokenizer, "[mask]") == ["[UNK]"] * 3
    assert pieces(tokenizer, "[MASK]", special=False) == ["[UNK]"] * 3
    more = WordPieceTokenizer(VOCAB, ["<eot>", "hello"])
    assert pieces(more, "<eot>hello") == ["<eot>", "hello"]
    assert more.vocab_size == len(VOCAB) + 1 and more.special_tokens["<eot>"] == len(VOCAB)


def test_offsets_are_places_in_the_text_as_it_came(tokenizer):
    text = " UN\x00affABLE\u0301 北e\u0301 [MASK]a"
    ids, offsets = tokenizer.encode_with_offsets(text)
    parts = [text[start:end] for start, end in offsets]
    assert parts == ["UN", "aff", "ABLE", "北", "e", "[MASK]", "a"]
    assert ids.tolist() == tokenizer.encode(text).tolist()


@given(texts)
def test_offsets_go_from_left_to_right(text):
    ids, offsets = WordPieceTokenizer(VOCAB).encode_with_offsets(text)
    assert offsets.shape == (len(ids), 2)
    assert np.all(offsets[:, 0] < offsets[:, 1]) and np.all(np.diff(offsets, axis=0) >= 0)
    assert not len(ids) or 0 <= offsets.min() <= offsets.max() <= len(text)


def test_long_texts_are_read_in_parts(tokenizer, monkeypatch):
    text = "unaffable hello! é北ab " * 40 + "ab" * 30 + " \t\n a"
    ids, offsets = tokenizer.encode_with_offsets(text)
    monkeypatch.setattr("minitx.text.subwords._PART", 20)
    np.testing.assert_array_equal(tokenizer.encode(text), ids)
    for ours, whole in zip(tokenizer.encode_with_offsets(text), (ids, offsets), strict=True):
        np.testing.assert_array_equal(ours, whole)


def test_the_memory_of_words_is_bounded(tokenizer, monkeypatch):
    monkeypatch.setattr("minitx.text.subwords._CACHED_PIECES", 30)
    for n in range(200):
        assert pieces(tokenizer, "ab" * (n % 50 + 1)) == ["ab"] + ["##ab"] * (n % 50)
        assert len(tokenizer._words) <= 30


# Decoding


def test_decoding_joins_pieces_and_tidies_english(tokenizer):
    ids = tokenizer.encode("unaffable hello ! [MASK]").tolist()
    assert tokenizer.decode(ids) == "unaffable hello! [MASK]"
    assert tokenizer.decode(ids, skip_special=True) == "unaffable hello!"
    n_t = VOCAB.index("n't")
    assert tokenizer.decode([VOCAB.index("a"), n_t]) == "an't"
    assert tokenizer.decode([VOCAB.index("##b"), VOCAB.index("##b")]) == "##bb"
    assert tokenizer.decode([]) == ""
    stream = StreamDecoder(tokenizer)
    assert "".join(map(stream.push, ids)).strip() == tokenizer.decode(ids)


@pytest.mark.parametrize("ids", [[len(VOCAB)], [-1]])
def test_ids_out_of_range(tokenizer, ids):
    with pytest.raises(ValueError, match="^WordPieceTokenizer.decode: id .* is outside 0 .. 18"):
        tokenizer.decode(ids)


@pytest.mark.parametrize("method", ["encode", "encode_with_offsets", "batch", "train"])
def test_lone_surrogates_are_no_text(tokenizer, method):
    given = {"batch": (["a", "b\ud800"],), "train": ("b\ud800", 99)}.get(method, ("b\ud800",))
    with pytest.raises(ValueError, match=r"position 1 is a lone surrogate.*errors='replace'"):
        getattr(tokenizer, method)(*given)
    with pytest.raises(TypeError, match="expected a str, got bytes"):
        tokenizer.encode(b"a")


# Training


def test_training_learns_merges_inside_words():
    words = {"abab": 3, "bab": 2}
    symbols, merges = learn_merges(words, ["a", "b", "##a", "##b"], 3, inside="##")
    assert merges == ["##a ##b", "a ##b", "ab ##ab"]
    assert symbols[4:] == ["##ab", "ab", "abab"]


small_words = st.dictionaries(
    st.text("abc", min_size=1, max_size=8), st.integers(1, 5), max_size=10
)


@given(small_words)
def test_a_trained_symbol_is_marked_by_its_place(words):
    """The same as merging words whose later characters are capitals."""
    capital = {word[0] + word[1:].upper(): n for word, n in words.items()}
    plain, _ = learn_merges(capital, "abcABC", 30)
    marked, _ = learn_merges(words, ["a", "b", "c", "##a", "##b", "##c"], 30, inside="##")
    assert marked == [s.lower() if s[0].islower() else "##" + s.lower() for s in plain]


def test_a_trained_vocabulary_spells_its_text(trained):
    assert trained.tokens[:5] == SPECIAL and trained.vocab_size == 60
    ids = trained.encode(TEXT)
    assert trained.unk_id not in ids and len(ids) < len(TEXT) / 2
    assert "the" in trained.tokens and "The" not in trained.tokens
    assert "T" in WordPieceTokenizer.train(TEXT, 80, lowercase=False).tokens


def test_training_has_limits():
    small = WordPieceTokenizer.train("aaa aab abc", 100, max_alphabet=2)
    assert pieces(small, "aab abc") == ["aab", "[UNK]"]
    assert WordPieceTokenizer.train("", 5).tokens == SPECIAL
    assert "[MASK]" not in "".join(WordPieceTokenizer.train("[MASK]x" * 9, 99).tokens[5:])
    with pytest.raises(ValueError, match="at least 9 .5 special tokens and 4 characters.* got 8"):
        WordPieceTokenizer.train("ab ba", 8)
    told = []
    WordPieceTokenizer.train("abab", 11, progress=lambda *done: told.append(done))
    assert told == [(1, 2), (2, 2)]


# States and bad vocabularies


def test_states_are_complete(trained):
    options = dict(lowercase=False, strip_accents=True, tokenize_chinese_chars=False)
    names = dict(unk="<u>", cls="<c>", sep="<s>", pad="<p>", mask="<m>")
    vocab = [*names.values(), "a", "##b"]
    odd = WordPieceTokenizer(vocab, ["<x>"], max_word=7, framed=False, **options, **names)
    for tokenizer in (trained, odd):
        state = json.loads(json.dumps(tokenizer.state()))
        again = tokenizer_from_state(state)
        assert again.state() == state == tokenizer.state()
        assert again.tokens == tokenizer.tokens
        assert again.special_tokens == tokenizer.special_tokens
    assert (odd.cls_id, odd.pad_id, odd.mask_id) == (None, 3, 4)


@pytest.mark.parametrize(
    ("tokens", "options", "message"),
    [
        ([*VOCAB, "a"], {}, "token 'a' occurs twice, with ids 8 and 19"),
        ([*VOCAB, "[SEP]"], {}, "token '\\[SEP\\]' occurs twice, with ids 3 and 19"),
        (WORDS, {}, "special tokens '\\[UNK\\]', '\\[CLS\\]', .* are missing; is this another"),
        (VOCAB[:4], {}, "special tokens '\\[MASK\\]' are missing"),
        (VOCAB, {"mask": "<mask>"}, "special tokens '<mask>' are missing"),
        ([*VOCAB, ""], {"special_tokens": [""]}, "special tokens '' are missing"),
        ([*VOCAB, "\ud800"], {}, "lone surrogate"),
        ([*VOCAB, "a\nb"], {}, r"token 'a\\nb' holds a line end"),
        ([], {}, "are missing"),
    ],
)
def test_bad_vocabularies_are_refused(tokens, options, message):
    with pytest.raises(ValueError, match=message):
        WordPieceTokenizer(tokens, **options)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("tokens", "abc", "tokens must be a list of str"),
        ("special_tokens", [1], "special_tokens must be a list of str"),
        ("lowercase", "yes", "lowercase must be bool, got 'yes'"),
        ("framed", None, "framed must be bool, got None"),
        ("strip_accents", "no", "strip_accents must be bool or NoneType, got 'no'"),
        ("unk", 1, "unk must be str, got 1"),
        ("max_word", 1.5, "max_word must be int, got 1.5"),
        ("colour", 1, "unknown entry 'colour'"),
    ],
)
def test_bad_states_are_refused(trained, name, value, message):
    with pytest.raises(ValueError, match=f"^tokenizer state: .*{message}"):
        tokenizer_from_state({**trained.state(), name: value})
