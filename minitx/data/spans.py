"""What does this function return?  The span that says so, among functions of the same module.

A passage holds what several functions of a module say about themselves, each behind its name, in
random order; the question names one of them: "What does get_payload return?"  The answer is a span
of the passage, as in SQuAD (BERT, section 4.2).  Each of them says what it returns, so that neither
a place nor the word "Return" gives the answer away.

The rule for the answer: what follows "Return" or "Returns" at the beginning of a sentence, up to a
comma, semicolon, colon, bracket, dash, the end of the sentence, or one of the words in `STOPS`.  So
of "Return True if the file exists." it is "True".  Functions without such an answer of at most 12
words are left out.

What it cannot show: understanding.  Whoever knows name and rule is always right; a model shows that
it has found both from examples.  `first_return` (0.05 exact) lacks the name, `named_return` (0.18
exact, F1 0.34; means of several seeds) only where to stop.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .library import library, paragraphs
from .parts import check_parts, check_range, others_of_origin, split_by_origin
from .text import whole

STOPS = "as because for given if iff that unless using when where which while".split()

_LONGEST = 12  # words of an answer
_OPEN = {"a", "an", "and", "of", "or", "the"}  # what no answer ends with
_STOP = re.compile(rf"[,;:()\[\]{{}}]|[.!?](?=\s|$)|\s--?\s|\s(?:{'|'.join(STOPS)})\b")
_RETURN = re.compile(r"(?:^|(?<=[.!?]\s))Returns?\s+(?=[\w\"'`*])")
_WORD = re.compile(r"\S+")

Span = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Spans:
    """Questions, passages, and where in each the answer is; which train, validate and test.

    Raises ValueError if numbers differ, if an answer is empty or not within its passage, or if an
    index is out of range, listed twice or missing.
    """

    questions: tuple[str, ...]  # N of them
    passages: tuple[str, ...]  # N of them
    starts: np.ndarray  # (N,) int64: passages[n][starts[n] : ends[n]] is the answer
    ends: np.ndarray  # (N,) int64
    train: np.ndarray  # int64 indices into questions
    validation: np.ndarray
    test: np.ndarray

    def __post_init__(self) -> None:
        counts = [len(x) for x in (self.questions, self.passages, self.starts, self.ends)]
        if len(set(counts)) > 1:
            raise ValueError(
                f"Spans: {counts[0]} questions, {counts[1]} passages, {counts[2]} starts, "
                f"{counts[3]} ends; expected as many of each"
            )
        longest = max(map(len, self.passages), default=0)
        check_range("Spans", "starts", self.starts, longest)
        check_range("Spans", "ends", self.ends, longest + 1)
        lengths = np.array([len(passage) for passage in self.passages])
        for n in np.flatnonzero((self.starts >= self.ends) | (self.ends > lengths))[:1]:
            raise ValueError(
                f"Spans: answer {n} is at {self.starts[n]}:{self.ends[n]} of a passage of "
                f"{lengths[n]} characters; expected 0 <= start < end <= length"
            )
        check_parts(
            "Spans", len(self.questions), (self.train, self.validation, self.test), "question"
        )


def return_spans(
    seed: int = 0, functions: int = 3, max_length: int = 120, repeats: int = 3
) -> Spans:
    """Questions about every function that tells; no module is on two sides of the split.

    seed: which modules test and validate, and what stands together.  functions: in a passage, from
    modules that have so many.  max_length: characters of one's docstring, which then ends at the
    last whole word.  repeats: passages in which each function is asked for, with others around.

    Raises TypeError or ValueError for a bad argument.
    """
    functions = whole("return_spans: functions", functions, least=2)
    max_length = whole("return_spans: max_length", max_length, least=20)
    repeats = whole("return_spans: repeats", repeats)
    rng = np.random.default_rng(whole("return_spans: seed", seed, least=0))
    found: dict[tuple[str, str], tuple[str, Span]] = {}
    for one in library():
        text = textwrap.shorten(" ".join(paragraphs(one.text)), max_length, placeholder="")
        if one.name and (span := answer(text)):
            found.setdefault((one.module, one.name.split(".")[-1]), (text, span))
    sizes = Counter(module for module, _ in found)
    kept = [key for key in found if sizes[key[0]] >= functions]
    questions: list[str] = []
    passages: list[str] = []
    spans: list[Span] = []
    for _ in range(repeats):
        others = others_of_origin([module for module, _ in kept], functions - 1, rng)
        for i, row in enumerate(others):
            passage = ""
            for j in rng.permutation([i, *row]):
                text, (start, end) = found[kept[j]]
                passage += f"{' ' * bool(passage)}{kept[j][1]}: "
                if j == i:
                    spans.append((len(passage) + start, len(passage) + end))
                passage += text
            questions.append(f"What does {kept[i][1]} return?")
            passages.append(passage)
    starts, ends = np.array(spans, np.int64).T.copy()
    parts = split_by_origin([module for _ in range(repeats) for module, _ in kept], rng)
    return Spans(tuple(questions), tuple(passages), starts, ends, *parts)


def answer(text: str) -> Span | None:
    """Where a text says what is returned, by the rule above; None if it does not."""
    begun = _RETURN.search(text)
    if not begun:
        return None
    start = begun.end()
    stop = _STOP.search(text, start + 1)
    end = len(text) if stop is None else stop.start()
    end = start + len(text[start:end].rstrip())
    words = text[start:end].split()
    fits = stop and words and words[-1] not in _OPEN and len(words) <= _LONGEST
    return (start, end) if fits else None


def exact_and_f1(spans: Spans, predicted: np.ndarray, which: np.ndarray) -> tuple[float, float]:
    """SQuAD's two scores: the share of exact answers, and the mean F1, here over characters.

    predicted: (M, 2) starts and ends, for the M questions ``which``; an empty one scores 0.
    """
    starts, ends = np.asarray(predicted).reshape(len(which), 2).T
    common = np.minimum(ends, spans.ends[which]) - np.maximum(starts, spans.starts[which])
    lengths = np.maximum(ends - starts, 0) + spans.ends[which] - spans.starts[which]
    exact = (starts == spans.starts[which]) & (ends == spans.ends[which])
    return float(exact.mean()), float((2 * np.maximum(common, 0) / lengths).mean())


def most_frequent_place(spans: Spans) -> tuple[float, float]:
    """Exact answers and F1 of the commonest place in training, the 8th to the 9th word perhaps."""
    return _trivial(spans, lambda question, passage: 0)


def first_return(spans: Spans) -> tuple[float, float]:
    """The same counted from the passage's first "Return", whatever the question is."""
    return _trivial(spans, lambda question, passage: _after_return(passage, 0))


def named_return(spans: Spans) -> tuple[float, float]:
    """The same counted from the first "Return" after the name in the question and a colon."""

    def after_name(question: str, passage: str) -> int:
        named = re.search(rf"(?<!\S){re.escape(question.split()[2])}: ", passage)
        return _after_return(passage, named.end() if named else 0)

    return _trivial(spans, after_name)


def _trivial(spans: Spans, begin: Callable[[str, str], int]) -> tuple[float, float]:
    """begin: from which character of a passage to count words."""

    def words_of(i: int) -> list[Span]:
        start = begin(spans.questions[i], spans.passages[i])
        return [match.span() for match in _WORD.finditer(spans.passages[i], start)]

    places: Counter[Span] = Counter()  # of an answer's first and last word
    for i in spans.train:
        touched = [
            n
            for n, (start, end) in enumerate(words_of(i))
            if start < spans.ends[i] and end > spans.starts[i]
        ]
        if touched:
            places[touched[0], touched[-1]] += 1
    first, last = places.most_common(1)[0][0]
    predicted = []
    for i in spans.test:
        words = [(0, 0), *words_of(i)]
        start = words[min(first + 1, len(words) - 1)][0]
        end = words[min(last + 1, len(words) - 1)][1]
        predicted.append((start, start + len(spans.passages[i][start:end].rstrip(".,;:"))))
    return exact_and_f1(spans, np.array(predicted), spans.test)


def _after_return(passage: str, start: int) -> int:
    """Behind the first word "Return" or "Returns" from start on; start if there is none."""
    match = re.compile(r"\bReturns?\s+").search(passage, start)
    return match.end() if match else start
