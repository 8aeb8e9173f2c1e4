import sys
import sysconfig

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitx.data import (
    Passages,
    bag_of_words,
    following_passages,
    library_passages,
    majority_baseline,
    word_overlap,
)
from minitx.data import passages as passages_module
from minitx.data.library import library, modules, paragraphs, sentences
from minitx.data.parts import check_parts, others_of_origin, split_by_origin

PARTS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def real():
    return library_passages()


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A standard library of ten modules, and one help topic."""
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    names = frozenset([*"abcdefghij", "_hidden", "test", "missing"])
    monkeypatch.setattr(sys, "stdlib_module_names", names)
    for name in names - {"missing"}:
        text = f'"""Text about {name}.\n\nMore about {name}.\n"""\n'
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    topics = {"help": "Some help.\n\nMore help."}
    monkeypatch.setattr(passages_module, "help_topics", lambda: topics)
    return tmp_path


# --- parts --------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 30), min_size=40, max_size=80), st.integers(0, 2**32))
def test_no_origin_is_on_two_sides(origins, seed):
    if len(set(origins)) < 15 or max(map(origins.count, origins)) > 6:
        return
    parts = split_by_origin(origins, np.random.default_rng(seed))
    check_parts("test", len(origins), parts)
    assert sum(map(len, parts)) == len(origins)
    sides = [{origins[i] for i in part} for part in parts]
    assert sum(map(len, sides)) == len(set(origins))
    shares = [len(part) / len(origins) for part in parts]
    np.testing.assert_allclose(shares, [0.7, 0.1, 0.2], atol=6 / len(origins))
    assert all((np.diff(part) > 0).all() and part.dtype == np.int64 for part in parts)


def test_too_few_origins_to_part():
    with pytest.raises(ValueError, match="4 examples from 2 origins leave one of train"):
        split_by_origin([0, 0, 1, 1], np.random.default_rng(0))


@given(
    st.lists(st.integers(3, 6), min_size=1, max_size=4), st.integers(1, 2), st.integers(0, 2**32)
)
def test_others_are_taken_equally_often(sizes, count, seed):
    origins = [n for n, size in enumerate(sizes) for _ in range(size)]
    others = others_of_origin(origins, count, np.random.default_rng(seed))
    assert others.shape == (len(origins), count)
    for i, row in enumerate(others):
        assert i not in row and len(set(row)) == count
        assert {origins[j] for j in row} == {origins[i]}
    np.testing.assert_array_equal(np.bincount(others.reshape(-1)), [count] * len(origins))


def test_too_few_others():
    with pytest.raises(ValueError, match="'b' has 2 examples, 2 others were asked for"):
        others_of_origin(["a"] * 3 + ["b"] * 2, 2, np.random.default_rng(0))


# --- the library --------------------------------------------------------------------------------


def test_the_library_is_what_is_installed_and_public(small):
    assert modules() == list("abcdefghij")
    assert [found.module for found in library()] == list("abcdefghij")


def test_of_equal_texts_the_first_counts(small):
    (small / "c.py").write_text('"""More: about\n\nA! text about a, 1."""', encoding="utf-8")
    (small / "d.py").write_text('"""more about a text about a"""', encoding="utf-8")
    (small / "e.py").write_text('class A:\n  """Here."""\n  def b(self):\n    "There."\n')
    found = {(one.module, one.name): one.text for one in library()}
    assert ("c", "") in found and ("d", "") not in found and ("e", "") not in found
    assert found["e", "A"] == "Here." and found["e", "A.b"] == "There."


def test_paragraphs_and_sentences():
    text = (
        "A title\n=======\n\n  One,\n\ttwo.  Three e.g. Four!\n   \n>>> 1\n1\n\n---\n\nFive? 'Six.'"
    )
    assert paragraphs(text) == ["A title", "One, two. Three e.g. Four!", "Five? 'Six.'"]
    assert sentences("One, two. Three e.g. Four! five? 'Six.' (Seven)") == [
        "One, two.",
        "Three e.g. Four! five?",
        "'Six.' (Seven)",
    ]


@given(st.text(alphabet="aB.!? \"'(\n-", max_size=40))
def test_nothing_is_lost_between_sentences(text):
    for paragraph in paragraphs(text):
        assert paragraph == " ".join(paragraph.split())
        assert " ".join(sentences(paragraph)) == paragraph


# --- passages -----------------------------------------------------------------------------------


def test_real_passages(real):
    assert len(real.documents) > 2000
    sizes = [len(passage) for document in real.documents for passage in document]
    assert sum(sizes) > 1_000_000 and max(sizes) <= 200
    assert min(map(len, real.documents)) >= 2
    origins = [{real.origins[i] for i in getattr(real, part)} for part in PARTS]
    assert not origins[0] & origins[1] and not origins[0] & origins[2]
    assert not any(origin.startswith("topic ") for origin in origins[1] | origins[2])
    assert len(real.test) > 0.1 * len(real.documents)


def test_passages_are_whole_sentences(small):
    (small / "a.py").write_text('"""One here. Two here.\nThree here.\n\nFour. Five is too long."""')
    found = library_passages(max_length=20)
    a = found.documents[found.origins.index("a")]
    assert a == ("One here. Two here.", "Three here.", "Four.", "Five is too long.")
    assert found.documents[0] == ("Some help.", "More help.") and 0 in found.train


def test_the_seed_decides_who_tests(small):
    one, same, other = (library_passages(seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.test, same.test)
    assert one.documents == other.documents
    assert not np.array_equal(one.test, other.test)


def test_following_passages(real):
    task = following_passages(real)
    after = {pair for d in real.documents for pair in zip(d[:-1], d[1:], strict=True)}
    pairs = list(zip(task.texts, task.seconds, strict=True))
    assert all(pairs[i] in after for i in np.flatnonzero(task.labels == 0))
    assert np.mean([pairs[i] in after for i in np.flatnonzero(task.labels == 1)]) < 0.01
    assert abs(task.labels.mean() - 0.5) < 0.03
    for part in PARTS:
        known = {p for i in getattr(real, part) for p in real.documents[i]}
        assert all(set(pairs[i]) <= known for i in getattr(task, part))
    assert 0.45 < majority_baseline(task) < 0.55
    assert 0.6 < word_overlap(task) < 0.75
    assert 0.55 < bag_of_words(task) < 0.75


def test_nothing_follows_within_too_few_documents():
    index = [np.array([i]) for i in range(3)]
    lonely = Passages((("a", "b"),) * 3, ("x", "y", "z"), *index)
    with pytest.raises(ValueError, match="a part has 1 documents; expected 2 or more"):
        following_passages(lonely)


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"seed": -1}, ValueError, "library_passages: seed must be at least 0"),
        ({"seed": 1.0}, TypeError, "library_passages: seed must be a whole number"),
        ({"max_length": 19}, ValueError, "max_length must be at least 20, got 19"),
    ],
)
def test_bad_settings(settings, error, says):
    with pytest.raises(error, match=says):
        library_passages(**settings)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"origins": ("a",)}, "3 documents came with 1 origins"),
        ({"train": np.array([3])}, r"Passages: train must lie in \[0, 3\), got 3"),
        ({"train": np.array([1])}, "Passages: document 1 is listed twice"),
        ({"test": []}, "Passages: test must be a NumPy array"),
    ],
)
def test_bad_passages(changes, says):
    fields = {"documents": (("a", "b"),) * 3, "origins": tuple("abc")}
    fields |= {part: np.array([i]) for i, part in enumerate(PARTS)}
    with pytest.raises(ValueError, match=says):
        Passages(**(fields | changes))
