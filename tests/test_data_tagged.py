import sys

import numpy as np
import pytest

from minitx.data import (
    NAME_TAGS,
    Tagged,
    most_frequent_tag,
    most_frequent_tag_between,
    python_tags,
    tag_source,
)
from minitx.data.tagged import TAGS

PARTS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def real():
    return python_tags(files=30)


def tags_of(source):
    return [[(word, TAGS[tag]) for word, tag in line] for line in tag_source(source)]


def small(**changes):
    letter = {"n": 5, "c": 3, "o": 8}
    fields = {
        "words": (("a", ".", "a"), ("b", "(", "a", ".", "d", "("), ("a", "(", "new"), ("a", "b")),
        "tags": tuple(
            np.array([letter[x] for x in tags]) for tags in ("non", "conoco", "coc", "nn")
        ),
        "tag_names": TAGS,
        "train": np.array([0, 1]),
        "validation": np.array([3]),
        "test": np.array([2]),
    }
    return Tagged(**(fields | changes))


def test_every_tag():
    source = "class A(B, metaclass=C):\n    def f(self, *rest: int, key=1.5):  # why\n        "
    source += "return self.g(key=rest, **self.h).i[None]\n"
    assert tags_of(source) == [
        [
            ("class", "keyword"),
            ("A", "definition"),
            ("(", "operator"),
            ("B", "name"),
            (",", "operator"),
            ("metaclass", "parameter"),
            ("=", "operator"),
            ("C", "name"),
            (")", "operator"),
            (":", "operator"),
        ],
        [
            ("def", "keyword"),
            ("f", "definition"),
            ("(", "operator"),
            ("self", "parameter"),
            (",", "operator"),
            ("*", "operator"),
            ("rest", "parameter"),
            (":", "operator"),
            ("int", "name"),
            (",", "operator"),
            ("key", "parameter"),
            ("=", "operator"),
            ("1.5", "number"),
            (")", "operator"),
            (":", "operator"),
            ("# why", "comment"),
        ],
        [
            ("return", "keyword"),
            ("self", "name"),
            (".", "operator"),
            ("g", "call"),
            ("(", "operator"),
            ("key", "parameter"),
            ("=", "operator"),
            ("rest", "name"),
            (",", "operator"),
            ("**", "operator"),
            ("self", "name"),
            (".", "operator"),
            ("h", "attribute"),
            (")", "operator"),
            (".", "operator"),
            ("i", "attribute"),
            ("[", "operator"),
            ("None", "keyword"),
            ("]", "operator"),
        ],
    ]


@pytest.mark.parametrize(
    ("source", "word", "tag"),
    [
        ("x = lambda y: y", "y", "parameter"),
        ("async def f(): pass", "f", "definition"),
        ("@f\ndef g(): pass", "f", "name"),
        ("@f(1)\ndef g(): pass", "f", "call"),
        ("f()()", "f", "call"),
        ("f(a)(b)", "b", "name"),
        ("f[0]()", "f", "name"),
        ("(f)()", "f", "call"),
        ("a.\\\n  b", "b", "attribute"),
        ("é.ö()", "ö", "call"),
        ("'é'; 'ö'.join(x)", "join", "call"),
        ("match = 1", "match", "name"),
        ("import os.path as p", "path", "name"),
        ("b'ab' b'cd'", "b'cd'", "string"),
        ('x = """Some  text\n\twhich is long"""', '"""Some text whic...', "string"),
        ("# just twenty letter", "# just twenty letter", "comment"),
        ("# just twenty letters", "# just twenty let...", "comment"),
        ("f'{a.b(c)}' + c", "f'{a.b(c)}'", "string"),
        ("f'{a.b(c)}' + c", "c", "name"),
        ("f'''{a}\n{f(b)!r:{c}}'''.d()", "f'''{a} {f(b)!r:{...", "string"),
        ("f'''{a}\n{f(b)!r:{c}}'''.d()", "d", "call"),
        ("0x1F", "0x1F", "number"),
        ("x: int = 0\f\ny()", "y", "call"),
    ],
)
def test_words_and_tags(source, word, tag):
    assert (word, tag) in [pair for line in tags_of(source) for pair in line]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="a new syntax")
def test_fstrings_within_fstrings():
    [line] = tags_of("f'{f'{a + f'b'}'}' + c")
    assert line == [("f'{f'{a + f'b'}'}'", "string"), ("+", "operator"), ("c", "name")]


def test_layout_is_left_out():
    source = "if a:\n    # note\n\n    b = (1,\n         2)\nc"
    lines = [[word for word, _ in line] for line in tags_of(source)]
    assert lines == [["if", "a", ":"], ["# note", "b", "=", "(", "1", ",", "2", ")"], ["c"]]


def test_what_is_not_python():
    with pytest.raises(SyntaxError):
        tag_source("def (")


def test_real_tags(real):
    assert len(real.words) > 250 and real.tag_names == TAGS
    assert max(map(len, real.words)) <= 48
    counts = np.bincount(np.concatenate(real.tags), minlength=len(TAGS))
    assert (counts > 30).all() and 0.25 < counts[1:6].sum() / counts.sum() < 0.45
    assert len(set(real.words)) == len(real.words)
    assert all(" ".join(w.split()) == w != "" for words in real.words for w in words)
    assert (
        max(
            len(w)
            for words, tags in zip(real.words, real.tags, strict=True)
            for w, tag in zip(words, tags, strict=True)
            if TAGS[tag] == "string"
        )
        <= 20
    )


def test_bounds_and_seed(real):
    few = python_tags(files=10, per_file=2, max_words=7)
    assert len(few.words) <= 20 and max(map(len, few.words)) <= 7
    same, other = python_tags(files=10, per_file=2, max_words=7), python_tags(files=10, seed=1)
    assert few.words == same.words != other.words
    np.testing.assert_array_equal(few.test, same.test)


def test_baselines_on_the_real_task(real):
    assert 0.6 < most_frequent_tag(real) < most_frequent_tag_between(real) < 0.95
    alone, between = (f(real, NAME_TAGS) for f in (most_frequent_tag, most_frequent_tag_between))
    assert 0.3 < alone < 0.7 < between < 0.95


def test_baselines_by_hand():
    # "a" is mostly a name, "(" an operator; "new" is tagged as those seen once
    assert most_frequent_tag(small()) == 2 / 3
    assert most_frequent_tag(small(), ["operator"]) == 1
    assert most_frequent_tag(small(), ["keyword", "call"]) == 0.5
    assert most_frequent_tag_between(small()) == 1  # between nothing and "(" there was a call


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"files": 2}, ValueError, "files must be at least 3, got 2"),
        ({"files": 10**6}, ValueError, "files are installed, 1000000 were asked for"),
        ({"per_file": 0}, ValueError, "per_file must be at least 1"),
        ({"max_words": 0}, ValueError, "max_words must be at least 1"),
        ({"seed": "0"}, TypeError, "seed must be a whole number"),
    ],
)
def test_bad_settings(settings, error, says):
    with pytest.raises(error, match=f"python_tags: .*{says}"):
        python_tags(**settings)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"words": (("a",),)}, "differ in number or length"),
        ({"words": (("a",),) * 4}, "differ in number or length"),
        ({"tag_names": TAGS[:8]}, r"tags must lie in \[0, 8\), got \[3, 5, 8\]"),
        ({"test": np.array([0])}, "sequence 0 is listed twice"),
        ({"train": np.array([4])}, r"train must lie in \[0, 4\), got 4"),
    ],
)
def test_bad_tagged(changes, says):
    with pytest.raises(ValueError, match=f"Tagged: .*{says}"):
        small(**changes)
