import numpy as np
import pytest

from minitx.data import (
    Spans,
    exact_and_f1,
    first_return,
    most_frequent_place,
    named_return,
    return_spans,
)
from minitx.data.spans import answer

PARTS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def real():
    return return_spans()


def small(**changes):
    passage = "b: Return an old apple. a: Makes it. Returns a red sea."
    fields = {
        "questions": ("What does a return?", "What does b return?", "What does a return?"),
        "passages": (passage,) * 3,
        "starts": np.array([45, 10, 45]),
        "ends": np.array([54, 22, 54]),
    }
    fields |= {part: np.array([i]) for i, part in enumerate(PARTS)}
    return Spans(**(fields | changes))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Return True if the file exists.", "True"),
        ("Returns the name.", "the name"),
        ("Sets x. Returns a list of words; never None.", "a list of words"),
        ("Return a dict - or not.", "a dict"),
        ("Return a dict -- or not.", "a dict"),
        ("Return a well-known dict (or not).", "a well-known dict"),
        ("Return 'if' as it is.", "'if'"),
        ("Return if it is.", "if it is"),
        ("Return version 3.5 of it.", "version 3.5 of it"),
        ("Return an iffy thing.", "an iffy thing"),
        ("Return the (first) one.", None),
        ("Return (a, b).", None),
        ("Return the thing that was cut", "the thing"),
        ("Return the thing cut", None),
        ("We Return the thing.", None),
        ("Returning the thing.", None),
        ("Return " + "very " * 12 + "long.", None),
    ],
)
def test_the_rule(text, said):
    span = answer(text)
    assert (span and text[slice(*span)]) == said


def test_real_spans(real):
    assert len(real.questions) > 1000
    for question, passage, start, end in zip(
        real.questions, real.passages, real.starts, real.ends, strict=True
    ):
        name = question.split()[2]
        assert question == f"What does {name} return?"
        assert passage.startswith(f"{name}: ") or f" {name}: " in passage
        before = passage[:start].split()
        assert before[-1] in ("Return", "Returns")
        assert passage[start:end] == passage[start:end].strip() != ""
        assert passage.count(": ") >= 3 and passage.count("Return") >= 3


def test_every_function_is_asked_about_alike(real):
    third = len(real.questions) // 3
    assert real.questions[:third] == real.questions[third : 2 * third] == real.questions[-third:]
    assert (
        np.mean([a == b for a, b in zip(real.passages, real.passages[third:], strict=False)]) < 0.2
    )
    places = [p[:s].count(": ") for p, s in zip(real.passages, real.starts, strict=True)]
    shares = [places.count(n) / len(places) for n in (1, 2, 3)]
    np.testing.assert_allclose(shares, 1 / 3, atol=0.06)


def test_passages_stay_on_one_side(real):
    sides = [{real.passages[i] for i in getattr(real, part)} for part in PARTS]
    assert sum(map(len, sides)) == len(set().union(*sides))


def test_the_seed_decides(real):
    same, other = return_spans(0), return_spans(1)
    assert real.passages == same.passages != other.passages
    np.testing.assert_array_equal(real.test, same.test)
    assert return_spans(repeats=1, functions=2, max_length=40).passages


def test_baselines(real):
    assert most_frequent_place(real)[0] < 0.15
    assert first_return(real)[0] < 0.2
    exact, f1 = named_return(real)
    assert 0.1 < exact < 0.4 and exact < f1 < 0.6


def test_baselines_by_hand():
    task = small()
    assert most_frequent_place(task) == named_return(task) == (1.0, 1.0)
    exact, f1 = first_return(task)  # "a red sea" is the 8th to 10th word after the first "Return"
    assert (exact, f1) == (1.0, 1.0)
    moved = small(
        passages=(*small().passages[:2], "c: Sits. a: Return no sea at all. b: Return a sea."),
        starts=np.array([45, 10, 19]),
        ends=np.array([54, 22, 25]),
    )
    assert most_frequent_place(moved)[1] == 0
    assert first_return(moved)[1] == 0
    exact, f1 = named_return(moved)  # three words for two: "no sea at" for "no sea"
    assert exact == 0 and f1 == pytest.approx(2 * 6 / (6 + 9))


def test_scores():
    task = small()
    which = np.array([0, 1])
    exact, f1 = exact_and_f1(task, np.array([[45, 54], [16, 22]]), which)
    assert (exact, f1) == (0.5, pytest.approx((1 + 2 * 6 / 18) / 2))
    assert exact_and_f1(task, np.array([[0, 0], [30, 20]]), which) == (0, 0)


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"functions": 1}, ValueError, "functions must be at least 2"),
        ({"max_length": 3}, ValueError, "max_length must be at least 20"),
        ({"repeats": 0}, ValueError, "repeats must be at least 1"),
        ({"repeats": 1.5}, TypeError, "repeats must be a whole number"),
    ],
)
def test_bad_settings(settings, error, says):
    with pytest.raises(error, match=f"return_spans: {says}"):
        return_spans(**settings)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"questions": ("a",)}, "1 questions, 3 passages, 3 starts, 3 ends"),
        ({"starts": np.array([45, 22, 45])}, "answer 1 is at 22:22 of a passage of 55"),
        ({"ends": np.array([54, 22, 56])}, r"ends must lie in \[0, 56\)"),
        ({"passages": ("long" * 20, "short", "b" * 60)}, "answer 1 is at 10:22 .* of 5 char"),
        ({"starts": np.zeros(3)}, "starts must be .* float64"),
        ({"train": np.array([2])}, "question 2 is listed twice"),
    ],
)
def test_bad_spans(changes, says):
    with pytest.raises(ValueError, match=f"Spans: {says}"):
        small(**changes)
