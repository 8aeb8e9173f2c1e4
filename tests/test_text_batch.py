"""Batches: framing, truncation and padding by their rules, for both subword tokenizers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitx.text import BPETokenizer, WordPieceTokenizer

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d"]
PAD, UNK, CLS, SEP, MASK, A, B, C, D = range(9)


@pytest.fixture(scope="module")
def bert():
    return WordPieceTokenizer(VOCAB)


@pytest.fixture(scope="module")
def gpt2():
    return BPETokenizer.train("", 257)


def test_texts_are_framed_and_padded(bert):
    batch = bert.batch(["a b", "", "[MASK] x"])
    assert batch.ids.tolist() == [[CLS, A, B, SEP], [CLS, SEP, PAD, PAD], [CLS, MASK, UNK, SEP]]
    assert batch.mask.tolist() == [[True] * 4, [True, True, False, False], [True] * 4]
    assert not batch.types.any()
    assert batch.added.tolist() == [
        [True, False, False, True],
        [True] * 4,
        [True, False, False, True],
    ]
    assert batch.offsets[2].tolist() == [[0, 0], [0, 6], [7, 8], [0, 0]]
    assert [x.dtype for x in batch] == [np.int64, np.int64, bool, np.int64, bool]


def test_pairs(bert):
    batch = bert.batch(["a", "b"], ["c d", ""])
    assert batch.ids.tolist() == [[CLS, A, SEP, C, D, SEP], [CLS, B, SEP, SEP, PAD, PAD]]
    assert batch.types.tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 0, 0]]
    assert batch.offsets[0].tolist() == [[0, 0], [0, 1], [0, 0], [0, 1], [2, 3], [0, 0]]


def test_without_frame_as_gpt2(gpt2):
    batch = gpt2.batch(["ab", "<|endoftext|>"], ["c", ""], pad_id=256)
    assert batch.ids.tolist() == [[64, 65, 66], [256, 256, 256]]
    assert batch.types.tolist() == [[0, 0, 1], [0, 0, 0]]
    assert batch.mask.tolist() == [[True] * 3, [True, False, False]]
    assert not batch.added[0].any()
    assert gpt2.batch(["ab", "cd"]).ids.shape == (2, 2)  # nothing to fill up
    assert gpt2.batch(["<|endoftext|>"], special=False).ids.shape == (1, 13)


@pytest.mark.parametrize(
    ("options", "length"),
    [
        ({}, 4),
        ({"multiple_of": 8}, 8),
        ({"multiple_of": 4}, 4),
        ({"padding": "max_length", "max_length": 6}, 6),
        ({"padding": "max_length", "max_length": 6, "multiple_of": 4}, 8),
        ({"max_length": 6}, 4),
        ({"max_length": 3}, 3),
    ],
)
@pytest.mark.parametrize("side", ["left", "right"])
def test_lengths_and_sides(bert, options, length, side):
    batch = bert.batch(["a b", "c"], side=side, **options)
    assert batch.ids.shape == batch.mask.shape == (2, length)
    short = [CLS, C, SEP]
    fill = [PAD] * (length - 3)
    assert batch.ids[1].tolist() == (fill + short if side == "left" else short + fill)
    assert batch.ids[1][batch.mask[1]].tolist() == short


def longest_first(first, second, room):
    """One id at a time from the longer text; of two equally long ones, from the first."""
    first, second = list(first), list(second)
    while len(first) + len(second) > room:
        (first if len(first) >= len(second) else second).pop()
    return first, second


sizes = st.integers(0, 9)


@given(sizes, sizes, st.integers(3, 20))
def test_longest_first(n, m, max_length):
    tokenizer = WordPieceTokenizer(VOCAB)
    batch = tokenizer.batch(["a " * n], ["b " * m], max_length=max_length)
    first, second = longest_first([A] * n, [B] * m, max_length - 3)
    ids = batch.ids[0].tolist()
    assert len(ids) == min(n + m + 3, max_length)
    if n <= m:  # otherwise an odd place is the first text's, which was longer
        assert ids == [CLS, *first, SEP, *second, SEP]
    assert abs(ids.count(A) - len(first)) <= 1 and ids.count(SEP) == 2


@pytest.mark.parametrize(
    ("truncation", "ids"),
    [
        ("only_first", [CLS, A, SEP, C, D, SEP]),
        ("only_second", [CLS, A, B, SEP, C, SEP]),
        ("longest_first", [CLS, A, SEP, C, D, SEP]),
    ],
)
def test_which_text_is_cut(bert, truncation, ids):
    assert bert.batch(["a b"], ["c d"], max_length=6, truncation=truncation).ids.tolist() == [ids]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (dict(texts="a b"), TypeError, "expected a list of str, got one str"),
        (dict(texts=["a"], pairs="b"), TypeError, "expected a list of str, got one str"),
        (dict(texts=[]), ValueError, "expected one or more texts, got 0"),
        (dict(texts=["a"], pairs=["a", "b"]), ValueError, "got 1 and 2 pairs"),
        (dict(texts=["a", None]), TypeError, "row 1: .*expected a str, got NoneType"),
        (dict(texts=["a", "\ud800"]), ValueError, "row 1: .*position 0 is a lone surrogate"),
        (dict(texts=["a", "a b"], max_length=3, truncation=None), ValueError, "row 1: 1 ids too"),
        (dict(texts=["a"], max_length=1), ValueError, "row 0: max_length 1 has no room for 2"),
        (dict(texts=["a"], pairs=["b"], max_length=2), ValueError, "has no room for 3"),
        (dict(texts=["a b"], max_length=3, truncation="only_second"), ValueError, "needs a pair"),
        (
            dict(texts=["a"], pairs=["b b b"], max_length=4, truncation="only_first"),
            ValueError,
            "row 0: max_length 4 leaves no room for the text that truncation 'only_first' shortens",
        ),
        (dict(texts=["a"], truncation=True), ValueError, "truncation must be one of"),
        (dict(texts=["a"], padding=True), ValueError, "padding must be one of"),
        (dict(texts=["a"], side="middle"), ValueError, "side must be one of"),
        (dict(texts=["a"], max_length=0), ValueError, "max_length must be a positive integer"),
        (dict(texts=["a"], multiple_of=None), ValueError, "multiple_of must be a positive"),
        (dict(texts=["a"], padding="max_length"), ValueError, "needs a max_length"),
        (dict(texts=["a"], pad_id=9), ValueError, "pad_id: id 9 .* outside 0 .. 8"),
    ],
)
def test_bad_calls(bert, call, error, message):
    with pytest.raises(error, match=f"^WordPieceTokenizer.*{message}"):
        bert.batch(**call)


def test_padding_needs_a_token(gpt2):
    with pytest.raises(ValueError, match="BPETokenizer.batch: .*no padding token; .* pad_id"):
        gpt2.batch(["a", "ab"])
