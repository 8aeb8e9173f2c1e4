import sys
import sysconfig
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from minitx.data import (
    Labelled,
    bag_of_words,
    docstring_packages,
    majority_baseline,
    word_overlap,
)


@pytest.fixture(scope="module")
def packages():
    return docstring_packages()


def labelled(**changes):
    fields = {
        "texts": ("red apple", "blue sea", "red rose", "blue sky", "red wine", "blue whale"),
        "labels": np.array([0, 1, 0, 1, 0, 1]),
        "class_names": ("red", "blue"),
        "train": np.array([0, 1, 2]),
        "validation": np.array([3]),
        "test": np.array([4, 5]),
    }
    return Labelled(**(fields | changes))


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A standard library of two packages with twelve docstrings each, to be added to."""
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    for letter in "abcdefghijkl":
        write(tmp_path, f"fruit/{letter}.py", f"The {letter} kind of sweet thing.")
        write(tmp_path, f"metal/{letter}.py", f"The {letter} kind of hard thing.")
    return tmp_path


def write(root, path, *docstrings):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    body = [repr(docstrings[0])]
    body += [f"def f{i}():\n    {text!r}" for i, text in enumerate(docstrings[1:])]
    (root / path).write_text("\n".join(body) + "\n", encoding="utf-8")


def gather(per_class=12, **settings):
    return docstring_packages(("fruit", "metal"), per_class=per_class, **settings)


# --- the real packages -------------------------------------------------------------------------


def test_every_class_is_there_alike(packages):
    assert len(packages.texts) == len(packages.labels) == 6 * 110
    for part, each in [(packages.train, 77), (packages.validation, 11), (packages.test, 22)]:
        np.testing.assert_array_equal(np.bincount(packages.labels[part]), [each] * 6)


def test_the_parts_are_disjoint_and_complete(packages):
    parts = np.concatenate([packages.train, packages.validation, packages.test])
    np.testing.assert_array_equal(np.sort(parts), np.arange(len(packages.texts)))
    folded = {"".join(filter(str.isalpha, text.lower())) for text in packages.texts}
    assert len(folded) == len(packages.texts)


def test_texts_do_not_name_their_class(packages):
    for text in packages.texts:
        assert len(text) <= 200
        assert text == " ".join(text.split())
        assert not any(name in text.lower() for name in packages.class_names)


def test_the_seed_decides():
    one, same, other = (docstring_packages(seed=seed) for seed in (1, 1, 2))
    assert one.texts == same.texts
    np.testing.assert_array_equal(one.test, same.test)
    assert one.texts != other.texts


def test_nothing_is_imported():
    before = set(sys.modules)
    docstring_packages(("wsgiref", "turtle"), per_class=20)
    assert not {"wsgiref", "turtle", "tkinter"} & (set(sys.modules) - before)


def test_baselines_on_the_real_task(packages):
    assert majority_baseline(packages) == pytest.approx(1 / 6)
    assert 0.6 < bag_of_words(packages) < 0.97


# --- what counts as a docstring ----------------------------------------------------------------


def test_public_definitions_at_every_level(library):
    (library / "fruit" / "deep.py").write_text(
        '"""Module text is collected here."""\n'
        'class A:\n    """Class text is collected here."""\n'
        '    def method(self):\n        """Method text is collected here."""\n'
        '    def _hidden(self):\n        """Private method text is skipped."""\n'
        '    def __init__(self):\n        """Dunder method text is skipped."""\n'
        '    class B:\n        """Nested class text is collected here."""\n'
        'class _C:\n    """Private class text is skipped."""\n'
        '    def method(self):\n        """Method of private class is skipped."""\n'
        'async def f():\n    """Coroutine text is collected here."""\n'
        '    def inner():\n        """Function inside function is skipped."""\n'
        'raise SystemExit("imported")\n'
    )
    write(library, "fruit/_private.py", "Private module text is skipped.")
    write(library, "fruit/__main__.py", "Script module text is skipped.")
    write(library, "fruit/test/a.py", "Test folder text is skipped.")
    write(library, "fruit/sub/tests/a.py", "Nested test text is skipped.")
    write(library, "fruit/sub/__init__.py", "Package init text is collected here.")
    write(library, "metal/more.py", *(f"More {c} text is collected here." for c in "abcdef"))
    texts = [text for text in gather(per_class=18).texts if "text" in text or "skipped" in text]
    assert not [text for text in texts if "skipped" in text]
    assert len(texts) == 6 + 6


def test_a_single_module_is_a_class_too(library):
    write(library, "water.py", *(f"Clear {c} cold liquid." for c in "abcdefghij"))
    found = docstring_packages(("fruit", "water"), per_class=10)
    assert sum("liquid" in text for text in found.texts) == 10


def test_duplicates_count_once_and_shared_texts_not_at_all(library):
    write(library, "fruit/x.py", "THE a kind\n\n   of sweet: thing 2.", "The a kind of hard thing.")
    with pytest.raises(ValueError, match="metal has 11 distinct docstrings .* 12 were asked for"):
        gather()
    found = gather(per_class=11)
    assert "The a kind of hard thing." not in found.texts


def test_texts_that_agree_once_cut_count_once(library):
    write(library, "fruit/x.py", *(f"One long beginning, then {c}." for c in "abc"))
    with pytest.raises(ValueError, match="fruit has 13 distinct"):
        gather(per_class=14, max_length=26)


def test_class_names_are_masked_in_every_class(library):
    write(library, "metal/x.py", "Metal, FruitSalad, pre.fruit.sub and grapefruits. Not a tree.")
    write(library, "metal/y.py", "See the docs of fruit.m1. There is more.")
    write(library, "fruit/x.py", "One more odd thing.", "Two more odd things.")
    texts = gather(per_class=14).texts
    assert "_, _, _ and _. Not a tree." in texts
    assert "See the docs of _. There is more." in texts


def test_where_a_text_stands_in_its_package_does_not_matter(library):
    before = gather(per_class=10)
    (library / "fruit" / "a.py").rename(library / "fruit" / "z.py")
    assert gather(per_class=10).texts == before.texts


def test_short_texts_are_left_out(library):
    write(library, "fruit/x.py", "Three words only.", "Fruit, 1 2 3 4 numbers.")
    with pytest.raises(ValueError, match="fruit has 12 distinct"):
        gather(per_class=13)


def test_long_texts_end_at_a_word(library):
    write(library, "fruit/x.py", "First second third fourth fifth sixth")
    write(library, "metal/x.py", "One more odd thing.")
    assert "First second third fourth" in gather(per_class=13, max_length=29).texts


def test_sources_declare_their_encoding(library):
    source = '# -*- coding: latin-1 -*-\n"""Un caf\xe9 au lait."""\n'
    (library / "fruit" / "x.py").write_bytes(source.encode("latin-1"))
    write(library, "metal/x.py", "One more odd thing.")
    assert "Un caf\xe9 au lait." in gather(per_class=13).texts


# --- bad arguments -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"classes": "email"}, TypeError, "sequence of package names, got 'email'"),
        ({"classes": 3}, TypeError, "sequence of package names, got 3"),
        ({"classes": ("email", 3)}, TypeError, "sequence of package names"),
        ({"classes": ("email",)}, ValueError, "at least two packages"),
        ({"classes": ()}, ValueError, "at least two packages"),
        ({"classes": ("email", "email")}, ValueError, "each once"),
        ({"classes": ("email", "xml.dom")}, ValueError, "'xml.dom' is not the name"),
        ({"classes": ("email", "../email")}, ValueError, "'../email' is not the name"),
        ({"classes": ("email", "")}, ValueError, "'' is not the name"),
        ({"classes": ("email", "nosuch")}, FileNotFoundError, "no source of 'nosuch'"),
        ({"per_class": 9}, ValueError, "per_class must be at least 10, got 9"),
        ({"per_class": 20.0}, TypeError, "per_class must be a whole number, got 20.0"),
        ({"per_class": 10**6}, ValueError, "asyncio has .* 1000000 were asked for; lower"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"seed": None}, TypeError, "seed must be a whole number, got None"),
        ({"max_length": 0}, ValueError, "max_length must be at least 1, got 0"),
        ({"max_length": "9"}, TypeError, "max_length must be a whole number, got '9'"),
        ({"max_length": 1}, ValueError, "asyncio has 0 distinct docstrings"),
    ],
)
def test_bad_settings(settings, error, says):
    with pytest.raises(error, match=says):
        docstring_packages(**settings)


# --- Labelled and the baselines ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"labels": np.array([0, 1, 0])}, "6 texts came with 3 labels"),
        ({"labels": np.array([0, 1, 0, 1, 0, 2])}, r"labels must lie in \[0, 2\), got 0 to 2"),
        ({"labels": np.zeros(6)}, "labels must be .* float64"),
        ({"labels": np.zeros((6, 1), int)}, r"labels must be .* shape \(6, 1\)"),
        ({"labels": [0, 1, 0, 1, 0, 1]}, "labels must be a NumPy array .* got list"),
        ({"train": np.zeros(0, int)}, "train must be .* not empty"),
        ({"train": np.array([-1])}, r"train must lie in \[0, 6\), got -1"),
        ({"test": np.array([4, 6])}, r"test must lie in \[0, 6\), got 4 to 6"),
        ({"validation": np.array([2])}, "text 2 is listed twice"),
        ({"test": np.array([5, 5])}, "text 5 is listed twice"),
        ({"seconds": ("a", "b")}, "6 texts came with 2 seconds"),
    ],
)
def test_bad_labelled(changes, says):
    with pytest.raises(ValueError, match=says):
        labelled(**changes)


def test_majority_baseline_looks_at_training_labels_only():
    assert majority_baseline(labelled()) == 0.5
    assert majority_baseline(labelled(test=np.array([5]))) == 0.0
    assert majority_baseline(labelled(test=np.array([4]))) == 1.0
    assert majority_baseline(labelled(labels=np.array([0, 0, 1, 1, 1, 1]))) == 0.0


def test_bag_of_words_learns_the_telling_word():
    assert bag_of_words(labelled()) == 1.0
    assert bag_of_words(labelled(labels=np.array([0, 1, 0, 1, 1, 0]))) == 0.0


def bayes_in_fractions(task):
    """Exact posteriors, text by text; None where two classes tie."""
    trained = [(task.texts[i].split(), task.labels[i]) for i in task.train]
    known = {word for words, _ in trained for word in words}
    right = 0
    for i in task.test:
        scores = []
        for k in range(len(task.class_names)):
            mine = [word for words, label in trained if label == k for word in words]
            score = Fraction(1 + sum(label == k for _, label in trained))
            for word in task.texts[i].split():
                if word in known:
                    score *= Fraction(mine.count(word) + 1, len(mine) + len(known))
            scores.append(score)
        if scores.count(max(scores)) > 1:
            return None
        right += scores.index(max(scores)) == task.labels[i]
    return right / len(task.test)


@given(
    st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=5), min_size=8, max_size=8),
    st.lists(st.integers(0, 2), min_size=8, max_size=8),
)
def test_bag_of_words_is_naive_bayes(texts, labels):
    task = labelled(
        texts=tuple(" ".join(words) for words in texts),
        labels=np.array(labels),
        class_names=("x", "y", "z"),
        train=np.arange(5),
        validation=np.array([5]),
        test=np.array([6, 7]),
    )
    expected = bayes_in_fractions(task)
    assume(expected is not None)
    with np.errstate(all="raise"):
        assert bag_of_words(task) == expected


def test_bag_of_words_falls_back_on_the_commonest_class():
    task = labelled(texts=("a", "b", "c", "d", "new", "new"), labels=np.array([0, 1, 1, 0, 1, 1]))
    assert bag_of_words(task) == 1.0


def pairs(seconds, labels=(0, 1, 0, 1, 0, 1)):
    return labelled(seconds=seconds, labels=np.array(labels))


def test_bag_of_words_counts_the_words_of_a_pair_apart():
    texts = ("up", "down", "up", "down", "up", "down")
    assert bag_of_words(labelled(texts=("",) * 6, seconds=texts)) == 1.0
    assert bag_of_words(labelled(texts=texts, seconds=("up",) * 6)) == 1.0


def test_bag_of_words_counts_what_a_pair_has_in_common():
    assert bag_of_words(pairs(("an apple", "no", "a rose", "no", "wine or", "no"))) == 1.0


def test_word_overlap_finds_threshold_and_side():
    seconds = ("red apple", "an old sea", "a red rose", "x", "wine", "a whale")
    assert word_overlap(pairs(seconds)) == 1.0
    assert word_overlap(pairs(seconds, (1, 0, 1, 0, 1, 0))) == 1.0
    assert word_overlap(pairs(seconds, (0, 1, 0, 1, 1, 0))) == 0.0
    assert word_overlap(pairs(("",) * 6)) == 0.5


@pytest.mark.parametrize("changes", [{}, {"class_names": tuple("abc"), "seconds": ("a",) * 6}])
def test_word_overlap_is_for_pairs_of_two_classes(changes):
    with pytest.raises(ValueError, match="word_overlap: expected pairs of texts and two classes"):
        word_overlap(labelled(**changes))
