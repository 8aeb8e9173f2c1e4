import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitx.data import Windows, python_topics, read_text, split


def test_topics_are_a_corpus_worth_training_on():
    text = python_topics()
    assert len(text) > 400_000
    assert 90 < len(set(text)) < 130
    assert text == python_topics()
    if sys.version_info[:2] == (3, 11):
        assert len(set(text)) == 103


def test_topics_are_joined_in_the_order_of_their_keys(monkeypatch):
    from pydoc_data import topics

    monkeypatch.setattr(topics, "topics", {"b": "second\n", "a": "first\n"})
    assert python_topics() == "first\n\nsecond\n"


def test_topics_missing_from_a_stripped_python(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(ImportError, match="read_text with a file of your own"):
        python_topics()


def test_read_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffeinß\r\nzwei\rdrei\n".encode())
    assert read_text(path) == read_text(str(path)) == "einß\nzwei\ndrei\n"


@pytest.mark.parametrize("contents", [b"", b"\xef\xbb\xbf"])
def test_read_text_empty(tmp_path, contents):
    path = tmp_path / "a.txt"
    path.write_bytes(contents)
    with pytest.raises(ValueError, match="a.txt is empty"):
        read_text(path)


@pytest.mark.parametrize(
    ("contents", "byte", "offset"),
    [
        (b"caf\xe9 au lait", "0xe9", 3),
        ("one".encode("utf-16-le").join([b"\xff\xfe", b""]), "0xff", 0),
        (b"\xef\xbb\xbfab\x80", "0x80", 5),
        (b"cut off \xe2\x82", "0xe2", 8),
    ],
)
def test_read_text_names_the_byte_that_is_not_utf8(tmp_path, contents, byte, offset):
    path = tmp_path / "a.txt"
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=f"not UTF-8: byte {byte} at offset {offset} ") as caught:
        read_text(path)
    assert not isinstance(caught.value, UnicodeDecodeError)


def test_read_text_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file .*nowhere.txt .*check the path"):
        read_text(tmp_path / "nowhere.txt")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        read_text(tmp_path)


def test_split_holds_out_the_end():
    ids = np.arange(10)
    train, validation = split(ids)
    np.testing.assert_array_equal(train, np.arange(9))
    np.testing.assert_array_equal(validation, [9])
    assert len(split(np.arange(100), held_out=0.29)[1]) == 29  # 0.29 * 100 is 28.999...


@given(st.integers(2, 300), st.floats(0.01, 0.99))
def test_split_loses_nothing(count, held_out):
    ids = np.arange(count, dtype=np.uint16)
    if round(count * held_out) in (0, count):
        with pytest.raises(ValueError, match="both need some"):
            split(ids, held_out)
        return
    train, validation = split(ids, held_out)
    np.testing.assert_array_equal(np.concatenate([train, validation]), ids)
    assert abs(len(validation) - count * held_out) <= 0.5


@pytest.mark.parametrize("held_out", [0, 1, -0.1, 1.5, float("nan"), float("inf")])
def test_split_share_out_of_range(held_out):
    with pytest.raises(ValueError, match="between 0 and 1"):
        split(np.arange(10), held_out)


@pytest.mark.parametrize("held_out", ["0.1", None, True])
def test_split_share_not_a_number(held_out):
    with pytest.raises(TypeError, match="held_out must be a share"):
        split(np.arange(10), held_out)


@pytest.mark.parametrize("count", [1, 4])
def test_split_of_too_little(count):
    with pytest.raises(ValueError, match=f"0.1 of {count} ids leaves {count} .* 0 to validate"):
        split(np.arange(count), 0.1)


@pytest.mark.parametrize("make", [split, lambda ids: Windows(ids, 2, 1)])
@pytest.mark.parametrize(
    ("ids", "error", "says"),
    [
        (np.zeros(20), TypeError, "dtype float64"),
        (np.zeros(20, bool), TypeError, "dtype bool"),
        (np.zeros(20, np.uint64), TypeError, "dtype uint64"),
        (np.zeros((4, 5), int), ValueError, r"shape \(4, 5\)"),
        (np.int64(3), ValueError, r"shape \(\)"),
        ("a text, not yet encoded", ValueError, r"shape \(\)"),
        (list("letters"), TypeError, "encode the text with a tokenizer"),
    ],
)
def test_ids_must_be_a_row_of_integers(make, ids, error, says):
    with pytest.raises(error, match=says):
        make(ids)


@given(st.integers(2, 60), st.integers(1, 20), st.integers(1, 9), st.integers(0, 2**32))
def test_batch_is_windows_of_the_text(count, context, batch_size, seed):
    if count < context + 1:
        with pytest.raises(ValueError, match=f"has {count} ids, one window needs {context + 1} "):
            Windows(np.arange(count), context, batch_size)
        return
    windows = Windows(np.arange(count, dtype=np.uint8), context, batch_size)
    inputs, targets = windows.batch(np.random.default_rng(seed))
    assert inputs.shape == targets.shape == (batch_size, context)
    assert inputs.dtype == targets.dtype == np.int64
    np.testing.assert_array_equal(targets, inputs + 1)
    np.testing.assert_array_equal(np.diff(inputs, axis=1), 1)
    assert targets.max() < count
    again = windows.batch(np.random.default_rng(seed))
    np.testing.assert_array_equal(inputs, again[0])


def test_batch_may_start_anywhere_and_everywhere_alike():
    starts = Windows(np.arange(12), 4, 80_000).batch(np.random.default_rng(0))[0][:, 0]
    share = np.bincount(starts, minlength=8) / len(starts)
    assert len(share) == 8
    np.testing.assert_allclose(share, 1 / 8, atol=0.006)  # 5 standard errors


def test_a_batch_shares_no_memory():
    ids = np.arange(9)
    inputs, targets = Windows(ids, 4, 2).batch(np.random.default_rng(0))
    assert not np.shares_memory(inputs, targets)
    assert not np.shares_memory(inputs, ids)


@given(st.integers(2, 80), st.integers(1, 12), st.integers(1, 5))
def test_cover_scores_every_target_once(count, context, batch_size):
    if count < context + 1:
        return
    batches = list(Windows(np.arange(count), context, batch_size).cover())
    rows = [len(inputs) for inputs, _ in batches]
    assert sum(rows) == (count - 1) // context
    assert all(row == batch_size for row in rows[:-1])
    assert 1 <= rows[-1] <= batch_size
    scored = np.concatenate([targets.ravel() for _, targets in batches])
    np.testing.assert_array_equal(scored, 1 + np.arange(len(scored)))
    assert count - 1 - len(scored) < context
    for inputs, targets in batches:
        assert inputs.shape == targets.shape == (len(inputs), context)
        assert inputs.dtype == targets.dtype == np.int64
        np.testing.assert_array_equal(targets, inputs + 1)


def test_cover_limit_counts_batches():
    windows = Windows(np.arange(101), 10, 4)
    full = list(windows.cover())
    assert [len(inputs) for inputs, _ in full] == [4, 4, 2]
    for limit, rows in [(1, [4]), (2, [4, 4]), (3, [4, 4, 2]), (99, [4, 4, 2])]:
        batches = list(windows.cover(limit))
        assert [len(inputs) for inputs, _ in batches] == rows
        np.testing.assert_array_equal(batches[0][0], full[0][0])


def test_bad_limit_is_reported_at_the_call():
    windows = Windows(np.arange(20), 4, 2)
    with pytest.raises(ValueError, match="limit must be at least 1, got 0"):
        windows.cover(0)
    with pytest.raises(TypeError, match="limit must be a whole number, got 1.5"):
        windows.cover(1.5)


@pytest.mark.parametrize("name", ["context", "batch_size"])
@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        (0, ValueError, "must be at least 1, got 0"),
        (-3, ValueError, "must be at least 1, got -3"),
        (2.0, TypeError, "must be a whole number, got 2.0"),
        (True, TypeError, "must be a whole number, got True"),
        (None, TypeError, "must be a whole number, got None"),
    ],
)
def test_bad_sizes(name, value, error, says):
    sizes = {"context": 2, "batch_size": 2, name: value}
    with pytest.raises(error, match=f"Windows: {name} {says}"):
        Windows(np.arange(20), **sizes)


def test_windows_of_nothing():
    with pytest.raises(ValueError, match="has 0 ids, one window needs 5 "):
        Windows(np.zeros(0, int), 4, 2)


@pytest.mark.parametrize("rng", [None, 0, np.random, np.random.RandomState(0)])
def test_batch_needs_a_generator(rng):
    with pytest.raises(TypeError, match="default_rng"):
        Windows(np.arange(20), 4, 2).batch(rng)
