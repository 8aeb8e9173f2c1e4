"""Byte-level BPE: equal to the `tokenizers` library's frozen results, exact on any text, strict."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitx.text import BPETokenizer, tokenizer_from_state
from minitx.text.bpe import ALPHABET
from minitx.text.merges import apply_merges, learn_merges
from minitx.text.pretokenize import split_words

FIXTURES = Path(__file__).parent / "fixtures"
MODEL = json.loads((FIXTURES / "bpe_model.json").read_text("ascii"))
STRINGS = json.loads((FIXTURES / "bpe_strings.json").read_text("ascii"))
END = "<|endoftext|>"

texts = st.text(st.characters(exclude_categories=["Cs"]))
blanks = st.text(alphabet=" \t\n\x0b\x1c\x85\xa0\u3000a1'sé½👍\u0301", max_size=30)


@pytest.fixture
def folder(tmp_path):
    """A folder with the library's files."""
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes(MODEL[name].encode())
    return tmp_path


@pytest.fixture(scope="module")
def trained():
    return BPETokenizer.train(MODEL["text"], MODEL["vocab_size"])


# Against the library


def test_words_and_ids_are_those_of_the_library(folder):
    tokenizer = BPETokenizer.load(folder)
    assert len(STRINGS) > 150
    for case in STRINGS:
        assert split_words(case["text"]) == case["words"], ascii(case["text"])
        for _ in range(2):  # the second time from the cache
            ids = tokenizer.encode(case["text"])
            assert ids.tolist() == case["ids"], ascii(case["text"])
        assert tokenizer.decode(ids) == case["text"]


def test_training_learns_the_merges_of_the_library(trained):
    assert trained.merges == MODEL["merges.txt"].split("\n")[1:-1]
    assert set(trained.tokens) == set(json.loads(MODEL["vocab.json"]))


def test_saving_writes_the_bytes_of_the_library(folder, tmp_path):
    BPETokenizer.load(folder).save(tmp_path / "a" / "b")
    for name in ("vocab.json", "merges.txt"):
        assert (tmp_path / "a" / "b" / name).read_bytes() == MODEL[name].encode()


def test_ids_are_ordered_as_in_gpt2(trained):
    assert trained.tokens[:3] == ["!", '"', "#"]
    assert trained.tokens[187:190] == ["ÿ", "Ā", "ā"]
    assert trained.tokens[220] == "Ġ" == ALPHABET[ord(" ")]
    assert trained.tokens[256] == trained.merges[0].replace(" ", "")
    assert trained.tokens[-1] == END and trained.special_tokens == {END: trained.vocab_size - 1}


# Round trips


@given(texts | blanks)
def test_decoding_gives_the_text_again(trained, text):
    for special in (True, False):
        ids = trained.encode(text, special=special)
        assert ids.dtype == np.int64 and ids.ndim == 1
        assert trained.decode(ids) == text
        assert b"".join(trained.token_bytes(id) for id in ids) == text.encode()
    assert "".join(split_words(text)) == text


@given(st.lists(st.integers(0, 599)))
def test_any_ids_decode_to_some_text(trained, ids):
    expected = b"".join(trained.token_bytes(id) for id in ids).decode(errors="replace")
    assert trained.decode(ids) == expected


def test_state_and_files_build_the_same_tokenizer(trained, tmp_path):
    trained.save(tmp_path)
    restored = tokenizer_from_state(json.loads(json.dumps(trained.state())))
    for other in (restored, BPETokenizer.load(tmp_path)):
        assert other.state() == trained.state()
        np.testing.assert_array_equal(
            other.encode(MODEL["text"] + END), trained.encode(MODEL["text"] + END)
        )


# Special tokens


def test_special_tokens_are_recognised_unless_told_otherwise(trained):
    assert trained.encode(END).tolist() == [trained.vocab_size - 1]
    assert trained.encode(f" {END} x").tolist() == [220, trained.vocab_size - 1] + (
        trained.encode(" x").tolist()
    )
    spelled = trained.encode(END, special=False)
    assert len(spelled) > 1 and trained.vocab_size - 1 not in spelled
    assert trained.decode(spelled) == END


def test_the_longer_of_two_special_tokens_wins():
    tokenizer = BPETokenizer.train("", 258, ["<|a", "<|a|> é"])
    assert tokenizer.encode("<|a|> é<|a|>").tolist() == [257, 256, ord("|") - 33, ord(">") - 33]
    assert tokenizer.decode([257, 256]) == "<|a|> é<|a"


def test_nothing_is_learned_from_special_tokens():
    assert BPETokenizer.train(END * 9, 300).merges == []
    assert BPETokenizer.train(f"a{END}b{END}" * 9, 300).merges == []


def test_a_special_token_that_looks_like_a_word_must_be_named_to_load(tmp_path):
    BPETokenizer.train("abab", 259, ["PAD"]).save(tmp_path)
    with pytest.raises(ValueError, match="no merge makes token 'PAD'.*name it in special_tokens"):
        BPETokenizer.load(tmp_path)
    assert BPETokenizer.load(tmp_path, ["PAD"]).encode("PADab").tolist() == [258, 256]


# The algorithms against their definitions


def naive_merges(words, alphabet, wanted):
    words = Counter({tuple(word): n for word, n in words.items()})
    symbols, merges = list(alphabet), []
    while len(merges) < wanted:
        counts = Counter()
        for word, n in words.items():
            for pair in pairwise(word):
                counts[pair] += n
        if not counts:
            break
        best = min(counts, key=lambda p: (-counts[p], symbols.index(p[0]), symbols.index(p[1])))
        merges.append(" ".join(best))
        symbols.append("".join(best))
        merged = Counter()
        for word, n in words.items():
            merged[merge_everywhere(word, best, "".join(best))] += n
        words = merged
    return symbols, merges


def merge_everywhere(word, pair, merged):
    result = []
    for symbol in word:
        result.append(symbol)
        if tuple(result[-2:]) == pair:
            result[-2:] = [merged]
    return tuple(result)


small_words = st.dictionaries(
    st.text("abc", min_size=1, max_size=9), st.integers(1, 5), max_size=12
)


@given(small_words, st.integers(0, 40))
def test_learning_equals_counting_everything_again(words, wanted):
    assert learn_merges(words, "cba", wanted) == naive_merges(words, "cba", wanted)


@given(small_words, st.text("abc", max_size=40))
def test_applying_equals_repeating_the_merges_in_order(words, word):
    symbols, merges = learn_merges(words, "abc", 20)
    ids = {symbol: id for id, symbol in enumerate(symbols)}
    assert len(ids) == len(symbols) == 3 + len(merges)
    table, expected = {}, tuple(ids[character] for character in word)
    for rank, merge in enumerate(merges):
        left, right = (ids[part] for part in merge.split(" "))
        table[left, right] = rank, 3 + rank
        expected = merge_everywhere(expected, (left, right), 3 + rank)
    assert apply_merges([ids[character] for character in word], table) == list(expected)


mixed = st.text("我们的不是人é🙂🙃 a'", max_size=40)


@given(st.lists(mixed, min_size=1, max_size=9), mixed, st.integers(256, 300))
def test_words_cut_between_characters_have_the_ids_of_the_whole(lines, text, vocab_size):
    tokenizer = BPETokenizer.train("\n".join(lines), vocab_size, [])
    parts = tokenizer._split(text)
    assert "".join(parts) == text
    assert all(part in parts for part in split_words(text) if part.isascii())
    whole = [id for word in split_words(text) for id in tokenizer._pieces(word)[0]]
    assert tokenizer.encode(text).tolist() == whole


def test_words_are_cut_where_no_token_joins_two_characters():
    tokenizer = BPETokenizer.train("我们我们", 261, [])  # five merges make one token
    assert tokenizer._split("我们是我们 我é") == ["我们", "是", "我们", " ", "我", "é"]


def test_progress_is_told_after_each_merge():
    told = []
    BPETokenizer.train("abcabcabc", 260, progress=lambda done, wanted: told.append((done, wanted)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_text_without_enough_pairs_gives_a_smaller_vocabulary():
    assert BPETokenizer.train("ab ab", 1000).merges == ["a b", "Ġ ab"]


def test_long_texts_are_read_in_parts(trained, monkeypatch):
    text = MODEL["text"] + "  é ab\n\n 1  " * 9
    prefixed = BPETokenizer(trained.tokens, trained.merges, [END], add_prefix_space=True)
    whole = [tokenizer.encode_with_offsets(text) for tokenizer in (trained, prefixed)]
    monkeypatch.setattr("minitx.text.subwords._PART", 20)
    for tokenizer, (ids, offsets) in zip((trained, prefixed), whole, strict=True):
        assert tokenizer.encode(text).tolist() == ids.tolist()
        for ours, expected in zip(tokenizer.encode_with_offsets(text), (ids, offsets), strict=True):
            np.testing.assert_array_equal(ours, expected)


def test_offsets_give_each_id_all_characters_it_has_a_byte_of(trained):
    ids, offsets = trained.encode_with_offsets("a 🙂漢")
    assert len(ids) > 4 and trained.decode(ids) == "a 🙂漢"
    for id, (start, end) in zip(ids, offsets, strict=True):
        assert trained.token_bytes(id) in "a 🙂漢"[start:end].encode()


def test_a_prefix_is_the_space_of_the_first_word(trained):
    tokenizer = BPETokenizer(trained.tokens, trained.merges, [END], add_prefix_space=True)
    assert tokenizer.encode("the").tolist() == trained.encode(" the").tolist()
    assert tokenizer.encode(" the").tolist() == trained.encode(" the").tolist()
    assert tokenizer.encode("").tolist() == []
    offsets = tokenizer.encode_with_offsets("the")[1]
    assert offsets[0, 0] == 0 and offsets[-1, 1] == 3


def test_one_very_long_word_takes_no_quadratic_time(trained):
    word = "ab" * 100_000  # n squared would take hours
    assert trained.decode(trained.encode(word)) == word


# Bad input


@pytest.mark.parametrize(
    "vocab_size, special, message",
    [
        (256, [END], "vocab_size must be at least 257 .256 bytes and 1 special tokens., got 256"),
        (300, [END, END], "token '<|endoftext|>' occurs twice"),
        (300, [""], "special token ''"),
        (300, ["a"], "token 'a' occurs twice"),
    ],
)
def test_training_refuses(vocab_size, special, message):
    with pytest.raises(ValueError, match=message.replace("|", r"\|")):
        BPETokenizer.train("abc", vocab_size, special)


def test_texts_are_checked(trained):
    with pytest.raises(ValueError, match="BPETokenizer.encode.*position 2 is a lone surrogate"):
        trained.encode("ab\ud800")
    with pytest.raises(TypeError, match="BPETokenizer.encode: expected a str, got bytes"):
        trained.encode(b"ab")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda v: v[:-30], "vocab.json: not JSON, or cut off"),
        (lambda v: "", "vocab.json: not JSON, or cut off"),
        (lambda v: "[" * 100_000, "vocab.json: nested too deeply"),
        (lambda v: "[1, 2]", "vocab.json: expected a dict token -> id, got list"),
        (lambda v: v.replace('"#"', '"!"'), "vocab.json: entry '!' occurs twice"),
        (lambda v: v.replace('"#":3', '"#":2'), "vocab.json: token '#' has id 2; .* once"),
        (lambda v: v.replace('"#":3', '"#":3.0'), "vocab.json: token '#' has id 3.0"),
        (lambda v: v.replace('"!":1,', '"!":true,'), "vocab.json: token '!' has id True"),
        (lambda v: v.replace('"#":3', '"#":999999999999'), "id 999999999999; .* 0 to 599 once"),
        (lambda v: v.replace('"#"', '"@@"'), "'#', the symbol of byte 35, is missing"),
        (lambda v: v.replace('"#"', '"\\ud800"'), "lone surrogate"),
    ],
)
def test_a_damaged_vocabulary_is_refused(folder, change, message):
    (folder / "vocab.json").write_text(change(MODEL["vocab.json"]), "utf-8")
    with pytest.raises(ValueError, match=message):
        BPETokenizer.load(folder)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda m: m[: len(m) // 2], "expected two symbols.*cut off"),
        (lambda m: "", "no merge makes token"),
        (lambda m: m[: m.rindex(" ")], "BPE merge 342 .*expected two symbols.*cut off"),
        (lambda m: m + "a b c\n", "BPE merge 343 'a b c': expected two symbols"),
        (lambda m: m + "漢 a\n", "'漢' is no byte's symbol, and no earlier merge's"),
        (lambda m: m.replace("\na a\n", "\n") + "a a\n", "'aa' is no byte's symbol"),
        (lambda m: m + "<|endoftext|> a\n", "'<|endoftext|>' is no byte's symbol"),
        (lambda m: m + "q q\n", "'qq' is not in the vocabulary"),
        (lambda m: m + m.split("\n")[1] + "\n", "BPE merge 343 .*occurs twice, first as merge 0"),
    ],
)
def test_damaged_merges_are_refused(folder, change, message):
    (folder / "merges.txt").write_text(change(MODEL["merges.txt"]), "utf-8")
    with pytest.raises(ValueError, match=message.replace("|", r"\|")):
        BPETokenizer.load(folder)


def test_merges_that_are_no_text_are_refused(folder):
    (folder / "merges.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"merges\.txt: .*can't decode"):
        BPETokenizer.load(folder)


def test_windows_line_ends_are_read(folder):
    (folder / "merges.txt").write_bytes(MODEL["merges.txt"].replace("\n", "\r\n").encode())
    assert len(BPETokenizer.load(folder).merges) == 343


@pytest.mark.parametrize("name", ["tokens", "merges", "special_tokens"])
@pytest.mark.parametrize("value", [None, "abc", [1]])
def test_a_damaged_state_is_refused(trained, name, value):
    with pytest.raises(ValueError, match=f"tokenizer state: {name} must be a list of str"):
        tokenizer_from_state({**trained.state(), name: value})
