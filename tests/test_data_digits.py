import hashlib
from importlib import resources

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitx.data import digits, few_labels, stratified_split


def test_digits_are_the_source():
    images, labels = digits()
    assert images.shape == (1797, 1, 8, 8) and images.dtype == np.float32
    assert labels.shape == (1797,) and labels.dtype == np.int64
    counts = images * 16
    assert np.array_equal(counts, counts.round()) and (counts.min(), counts.max()) == (0, 16)
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    raw = counts.astype(np.uint8).tobytes() + labels.astype(np.uint8).tobytes()
    assert hashlib.sha256(raw).hexdigest()[:16] == "87ff0c9e40dc7e2c"
    assert counts[0, 0, 1].tolist() == [0, 0, 13, 15, 10, 15, 5, 0]  # upright: a row of a zero


def test_digits_are_ones_own_copy():
    images, labels = digits()
    images[...], labels[...] = 0, 0
    assert digits()[0].any() and digits()[1].any()


def test_the_licence_is_beside_the_figures():
    text = resources.files("minitx.data").joinpath("digits_licence.txt").read_text("utf-8")
    assert "CC BY 4.0" in text and "10.24432/C50P49" in text


def test_a_linear_classifier_reads_them():
    images, labels = digits()
    train, test = stratified_split(labels)
    x = np.hstack([images.reshape(len(images), -1), np.ones((len(images), 1), np.float32)])
    weights = np.linalg.lstsq(x[train], np.eye(10)[labels[train]], rcond=None)[0]
    accuracy = ((x[test] @ weights).argmax(axis=1) == labels[test]).mean()
    assert 0.9 < accuracy < 0.97


@given(st.lists(st.integers(-2, 3), min_size=1, max_size=60), st.floats(0.05, 0.9), st.integers(0))
def test_a_split_parts_every_class_alike(labels, share, seed):
    labels = np.array(labels)
    values, sizes = np.unique(labels, return_counts=True)
    expected = np.maximum(1, [round(n * share) for n in sizes])
    if (expected == sizes).any():
        with pytest.raises(ValueError, match="leaves nothing of class .* hold out less"):
            stratified_split(labels, share, seed)
        return
    train, held = stratified_split(labels, share, seed)
    assert train.dtype == held.dtype == np.int64
    np.testing.assert_array_equal(np.sort([*train, *held]), np.arange(len(labels)))
    assert np.array_equal(train, np.sort(train)) and np.array_equal(held, np.sort(held))
    assert [(labels[held] == value).sum() for value in values] == expected.tolist()


def test_splits_follow_from_the_seed():
    labels = np.arange(100) % 5
    one, two = stratified_split(labels, seed=1), stratified_split(labels, seed=2)
    np.testing.assert_array_equal(one[1], stratified_split(list(labels), 0.2, 1)[1])
    assert not np.array_equal(one[1], two[1])


def test_few_labels_are_of_every_class_and_more_contain_fewer():
    labels = digits()[1]
    tenth, half = few_labels(labels), few_labels(labels, 0.5)
    assert np.bincount(labels[tenth]).tolist() == [18, 18, 18, 18, 18, 18, 18, 18, 17, 18]
    assert np.isin(tenth, half).all()
    assert sorted(labels[few_labels(labels, 0.001)]) == list(range(10))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: few_labels(np.zeros(3)), ValueError, "few_labels: labels .* float64; expected"),
        (lambda: few_labels(np.zeros((3, 1), int)), ValueError, r"labels have shape \(3, 1\)"),
        (lambda: stratified_split([]), ValueError, "stratified_split: .* not empty"),
        (lambda: few_labels([1, 2], 0), ValueError, "share must lie between 0 and 1, got 0"),
        (lambda: stratified_split([1, 2], 1.0), ValueError, "held_out must lie .* got 1.0"),
        (lambda: stratified_split([1, 2], True), TypeError, "held_out must be a share"),
        (lambda: few_labels([1, 2], "all"), TypeError, "share must be a share .* got 'all'"),
        (lambda: few_labels([1, 2], 0.1, -1), ValueError, "few_labels: seed must be at least 0"),
    ],
)
def test_bad_arguments_get_one_clear_error(call, error, says):
    with pytest.raises(error, match=says):
        call()
