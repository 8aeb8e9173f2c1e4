"""Streams: pieces joined are the whole, and no piece ends within a character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitx.text import BPETokenizer, ByteTokenizer, CharTokenizer, StreamDecoder

TEXT = "naïve 👩‍👩‍👧 你好, שלום 🙂🙂 e\u0301"
TOKENIZERS = [ByteTokenizer(), CharTokenizer.train(TEXT), BPETokenizer.train(TEXT, 262)]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_the_pieces_are_the_text_and_whole_characters_only(tokenizer):
    stream = StreamDecoder(tokenizer)
    pieces = [stream.push(id) for id in tokenizer.encode(TEXT)]
    assert "".join(pieces) == TEXT
    assert stream.flush() == ""


def test_a_character_appears_with_its_last_byte():
    stream = StreamDecoder(ByteTokenizer())
    assert [stream.push(byte) for byte in "a🙂".encode()] == ["a", "", "", "", "🙂"]


def test_what_can_be_no_character_appears_at_once_and_the_rest_at_the_end():
    stream = StreamDecoder(ByteTokenizer())
    assert [stream.push(byte) for byte in (0xF0, 0x9F, 0x61, 0xE4)] == ["", "", "\ufffda", ""]
    assert stream.flush() == "\ufffd"
    assert stream.push(0x62) == "b"  # ready for the next text


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@given(data=st.data())
def test_any_ids_give_what_decode_gives(tokenizer, data):
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1)))
    stream = StreamDecoder(tokenizer)
    assert "".join([stream.push(id) for id in ids]) + stream.flush() == tokenizer.decode(ids)


def test_bad_ids_are_refused_and_change_nothing():
    stream = StreamDecoder(ByteTokenizer())
    stream.push(0xC3)
    with pytest.raises(ValueError, match="id 256"):
        stream.push(256)
    assert stream.push(0xA9) == "é"
