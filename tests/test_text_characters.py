"""CharTokenizer and ByteTokenizer, and what all tokenizers check."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitx.text import ByteTokenizer, CharTokenizer, tokenizer_from_state

texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(texts)
def test_bytes_round_trip(text):
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int64 and ids.flags.writeable
    assert bytes(ids.tolist()) == text.encode()
    assert tokenizer.decode(ids) == text


@given(texts.filter(bool))
def test_characters_round_trip(text):
    tokenizer = CharTokenizer.train(text)
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int64 and ids.shape == (len(text),)
    assert tokenizer.decode(ids) == text
    assert tokenizer.vocab_size == len(set(text)) == ids.max() + 1


def test_characters_are_numbered_in_code_point_order():
    tokenizer = CharTokenizer.train("hello é👍")
    assert tokenizer.characters == " ehloé👍"
    assert tokenizer.encode("ole").tolist() == [4, 3, 1]
    assert tokenizer.token_bytes(6) == "👍".encode()


def test_incomplete_utf8_becomes_the_replacement_character():
    assert ByteTokenizer().decode([0x61, 0xF0, 0x9F, 0x91]) == "a\ufffd"
    assert ByteTokenizer().decode([0xFF, 0x62]) == "\ufffdb"


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), CharTokenizer("bač\n👍")])
def test_state_and_file_build_the_same_tokenizer(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    first = path.read_bytes()
    loaded = type(tokenizer).load(path)
    restored = tokenizer_from_state(json.loads(json.dumps(tokenizer.state())))
    for other in (loaded, restored):
        assert type(other) is type(tokenizer) and other.state() == tokenizer.state()
    loaded.save(path)
    assert path.read_bytes() == first
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]


@pytest.mark.parametrize(
    "ids, error, message",
    [
        ([0, 256], ValueError, r"id 256 at position 1 is outside 0 \.\. 255"),
        ([-1], ValueError, "id -1 at position 0"),
        (np.array([2**63], np.uint64), ValueError, "id 9223372036854775808"),
        ([1.0, 2.0], TypeError, "ids must be integers, got float64"),
        ([True], TypeError, "got bool"),
        (["a"], TypeError, "ids must be integers"),
        (np.zeros((1, 2), int), ValueError, r"expected ids of shape \(T,\), got \(1, 2\)"),
        (7, ValueError, r"got \(\)"),
    ],
)
def test_bad_ids(ids, error, message):
    with pytest.raises(error, match=f"^ByteTokenizer.decode: .*{message}"):
        ByteTokenizer().decode(ids)


@pytest.mark.parametrize("ids", [[], (), np.zeros(0), np.array([104], np.uint8), [np.int32(104)]])
def test_all_kinds_of_integers_are_ids(ids):
    assert ByteTokenizer().decode(ids) == "h" * len(ids)


@pytest.mark.parametrize("id", [-1, 256, 1.0, None, [1]])
def test_bad_single_ids(id):
    with pytest.raises((TypeError, ValueError), match="^ByteTokenizer.token_bytes: "):
        ByteTokenizer().token_bytes(id)


def test_an_unknown_character_is_named_with_its_place_and_the_remedy():
    message = "encode: character 'z' at position 2 is not among the 2 known .* or use ByteTokenizer"
    with pytest.raises(ValueError, match=message):
        CharTokenizer.train("ab").encode("abzz")


@pytest.mark.parametrize("call", [ByteTokenizer().encode, CharTokenizer.train])
def test_only_text_is_accepted(call):
    with pytest.raises(TypeError, match="expected a str, got bytes"):
        call(b"ab")
    with pytest.raises(ValueError, match=r"'\\udc80' at position 1 is a lone surrogate"):
        call("a\udc80")


@pytest.mark.parametrize("characters", ["", "aba"])
def test_characters_must_be_distinct_and_some(characters):
    with pytest.raises(ValueError, match="expected one or more distinct characters"):
        CharTokenizer(characters)


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"kind": "char", "chara', "not JSON, or cut off"),
        ("\xff", "not JSON, or cut off"),
        ("3", "expected a dict, got int"),
        ("{}", "expected kind 'char', got None"),
        ('{"kind": "byte"}', "expected kind 'char', got 'byte'"),
        ('{"kind": "char"}', "characters must be a str, got None"),
        ('{"kind": "char", "characters": ["a"]}', "characters must be a str"),
        ('{"kind": "char", "characters": "aa"}', "distinct"),
        ('{"kind": "char", "kind": "char"}', "entry 'kind' occurs twice"),
    ],
)
def test_damaged_files_are_refused_by_name(content, message, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(content, "latin-1")
    with pytest.raises(ValueError, match=f"tokenizer.json: .*{message}"):
        CharTokenizer.load(path)


@pytest.mark.parametrize("state", [None, [], {}, {"kind": "word"}, {"kind": ["bpe"]}])
def test_unknown_states_are_refused(state):
    with pytest.raises(ValueError, match="kind must be one of bpe, byte, char, wordpiece, got"):
        tokenizer_from_state(state)
