from collections import Counter

import numpy as np
import pytest

from minitx.data import (
    Choices,
    bag_of_words,
    choice_overlap,
    docstring_choices,
    docstring_pairs,
    majority_baseline,
    word_overlap,
)
from minitx.data.library import library

PARTS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def pairs():
    return docstring_pairs()


@pytest.fixture(scope="module")
def choices():
    return docstring_choices()


def texts():
    """What each object of the library says, single-spaced, behind its module."""
    return [(one.module, " ".join(one.text.split())) for one in library()]


def small(**changes):
    fields = {
        "contexts": ("red apple", "blue sea", "old tree"),
        "options": (("an apple", "a sea"), ("a tree", "the sea"), ("a tree", "an apple")),
        "labels": np.array([0, 1, 0]),
    }
    fields |= {part: np.array([i]) for i, part in enumerate(PARTS)}
    return Choices(**(fields | changes))


# --- pairs --------------------------------------------------------------------------------------


def test_neither_half_tells(pairs):
    assert len(pairs.texts) > 2500
    for halves in (pairs.texts, pairs.seconds):
        same, other = (Counter(np.array(halves, object)[pairs.labels == k]) for k in (0, 1))
        assert same == other and set(same.values()) == {1}
    for part in PARTS:
        assert pairs.labels[getattr(pairs, part)].mean() == 0.5


def test_halves_stay_on_one_side(pairs):
    for halves in (pairs.texts, pairs.seconds):
        sides = [{halves[i] for i in getattr(pairs, part)} for part in PARTS]
        assert sum(map(len, sides)) == len(set().union(*sides))
    assert max(map(len, pairs.texts + pairs.seconds)) <= 200


def test_both_halves_are_of_one_module():
    pairs, known = docstring_pairs(max_length=2000), texts()
    for i in range(0, len(pairs.texts), len(pairs.texts) // 12):
        parts = pairs.texts[i], pairs.seconds[i][:30]
        first, second = ({module for module, text in known if part in text} for part in parts)
        assert first & second


def test_baselines_of_pairs(pairs):
    assert majority_baseline(pairs) == 0.5
    assert 0.58 < word_overlap(pairs) < 0.75
    assert 0.58 < bag_of_words(pairs) < 0.78


# --- choices ------------------------------------------------------------------------------------


def test_options_alone_do_not_tell(choices):
    assert len(choices.contexts) > 1200
    right = Counter(row[k] for row, k in zip(choices.options, choices.labels, strict=True))
    every = Counter(option for row in choices.options for option in row)
    assert set(right.values()) == {1} and set(every.values()) == {4}
    assert set(right) == set(every)
    counts = np.bincount(choices.labels)
    assert counts.max() - counts.min() <= 1
    assert max(map(len, every)) <= 120


def test_options_stay_on_one_side(choices):
    sides = [{o for i in getattr(choices, part) for o in choices.options[i]} for part in PARTS]
    assert sum(map(len, sides)) == len(set().union(*sides))


def test_the_right_option_is_the_next_sentence(choices):
    known = texts()
    for i in range(0, len(choices.contexts), len(choices.contexts) // 12):
        context, right = choices.contexts[i], choices.options[i][choices.labels[i]]
        assert any(context in text and right[:20] in text for _, text in known)


def test_the_seed_decides(choices):
    same, other = docstring_choices(0), docstring_choices(1)
    assert choices.options == same.options != other.options
    np.testing.assert_array_equal(choices.labels, same.labels)
    assert choices.contexts == other.contexts
    assert not np.array_equal(choices.test, other.test)


def test_baseline_of_choices(choices):
    assert 0.5 < choice_overlap(choices) < 0.7


def test_overlap_prefers_rare_words_and_shares_ties():
    assert choice_overlap(small()) == 1.0
    assert choice_overlap(small(contexts=("red apple", "blue sea", "an old the"))) == 0.0
    assert choice_overlap(small(contexts=("red apple", "blue sea", "nothing"))) == 0.5


@pytest.mark.parametrize("make", [docstring_pairs, docstring_choices])
@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"max_length": 3}, ValueError, "max_length must be at least 20, got 3"),
        ({"max_length": None}, TypeError, "max_length must be a whole number"),
    ],
)
def test_bad_settings(make, settings, error, says):
    with pytest.raises(error, match=f"{make.__name__}: {says}"):
        make(**settings)


def test_one_option_is_no_choice():
    with pytest.raises(ValueError, match="options must be at least 2, got 1"):
        docstring_choices(options=1)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"contexts": ("a",)}, "1 contexts, 3 times .* 3 labels; expected as many"),
        ({"options": (("a",), ("b", "c"), ("d",))}, r"3 times \[1, 2\] options"),
        ({"labels": np.array([0, 1])}, "2 labels"),
        ({"labels": np.array([0, 1, 2])}, r"labels must lie in \[0, 2\), got 0 to 2"),
        ({"test": np.array([1])}, "context 1 is listed twice"),
        ({"test": np.array([3])}, r"test must lie in \[0, 3\), got 3"),
    ],
)
def test_bad_choices(changes, says):
    with pytest.raises(ValueError, match=f"Choices: .*{says}"):
        small(**changes)
