"""Which second part belongs to this first part?  Pairs and multiple choice, from docstrings.

The first sentence of a docstring says what an object is, the next ones say more.  Wrong second
parts are those of other objects of the same module, so that the subject alone does not decide.
Multiple choice is after SWAG (Zellers et al. 2018), which BERT is fine-tuned on in section 4.4.

What keeps the tasks honest: every first and every second part occurs once with each label, and
every continuation as often as any other among the wrong ones, so that neither alone tells; parts
that two objects share are left out; no module is on two sides of the split.

What they cannot show: authors repeat the names of parameters and classes in both parts, so common
words say much.  Of pairs, where guessing is right half of the time, `word_overlap` and
`bag_of_words` get 0.65 to 0.69 (means of several seeds, Python 3.11 and 3.13); of four choices
`choice_overlap` gets 0.57, and between seeds that differs by 0.04.
"""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from dataclasses import dataclass

import numpy as np

from .labelled import Labelled
from .library import library, paragraphs, sentences, words
from .parts import check_parts, check_range, others_of_origin, split_by_origin
from .text import whole

FEWEST_WORDS = 4  # of either part
Halves = tuple[str, str, str]  # module, first part, second part


@dataclass(frozen=True, eq=False)
class Choices:
    """Contexts with K possible continuations each; which of them train, validate and test.

    Raises ValueError if contexts differ in their number of options, or if a label or an index is
    out of range, listed twice or missing.
    """

    contexts: tuple[str, ...]  # N of them
    options: tuple[tuple[str, ...], ...]  # N of them, K each
    labels: np.ndarray  # (N,) int64, in [0, K): which option is right
    train: np.ndarray  # int64 indices into contexts
    validation: np.ndarray
    test: np.ndarray

    def __post_init__(self) -> None:
        counts = {len(options) for options in self.options}
        lengths = {len(self.contexts), len(self.options), len(self.labels)}
        if len(counts) != 1 or len(lengths) != 1:
            raise ValueError(
                f"Choices: {len(self.contexts)} contexts, {len(self.options)} times "
                f"{sorted(counts)} options and {len(self.labels)} labels; expected as many of "
                "each, and equally many options"
            )
        check_range("Choices", "labels", self.labels, counts.pop())
        check_parts(
            "Choices", len(self.contexts), (self.train, self.validation, self.test), "context"
        )


def docstring_pairs(seed: int = 0, max_length: int = 200) -> Labelled:
    """Two parts of one docstring, label 0 "same", or of two of one module, label 1 "other".

    Each first part occurs twice, with its own second part and with another's.  seed: which modules
    test and validate, and who is paired with whom.  max_length: characters of a part, which then
    ends at the last whole word.

    Raises TypeError or ValueError for a bad argument.
    """
    kept, rng = _gather("docstring_pairs", seed, max_length, fewest=2)
    other = others_of_origin([module for module, _, _ in kept], 1, rng)[:, 0]
    seconds = np.array([second for _, _, second in kept], object)
    return Labelled(
        texts=tuple(first for _, first, _ in kept for _ in range(2)),
        labels=np.tile(np.arange(2), len(kept)),
        class_names=("same", "other"),
        **_parts([module for module, _, _ in kept for _ in range(2)], rng),
        seconds=tuple(np.stack([seconds, seconds[other]], axis=1).reshape(-1)),
    )


def docstring_choices(seed: int = 0, max_length: int = 120, options: int = 4) -> Choices:
    """The first part of a docstring, and which of several second parts of its module is its own.

    The right one is at each place equally often, to within one.  seed, max_length: as of
    `docstring_pairs`.  options: how many to choose from, at least 2.

    Raises TypeError or ValueError for a bad argument.
    """
    options = whole("docstring_choices: options", options, least=2)
    kept, rng = _gather("docstring_choices", seed, max_length, fewest=options)
    labels = rng.permutation(np.arange(len(kept)) % options)
    others = others_of_origin([module for module, _, _ in kept], options - 1, rng)
    rows = [
        np.insert(row, label, i) for i, (label, row) in enumerate(zip(labels, others, strict=True))
    ]
    return Choices(
        contexts=tuple(first for _, first, _ in kept),
        options=tuple(tuple(kept[j][2] for j in row) for row in rows),
        labels=labels,
        **_parts([module for module, _, _ in kept], rng),
    )


def choice_overlap(choices: Choices) -> float:
    """Accuracy on the test contexts of the option that has the rarest words in common with it.

    A common word counts as the logarithm of one over the share of training texts that have it;
    where options tie, as many right answers count as guessing would give.
    """
    trained = [words(choices.contexts[i]) for i in choices.train]
    trained += [words(option) for i in choices.train for option in choices.options[i]]
    holders = Counter(word for text in trained for word in set(text))
    right = 0.0
    for i in choices.test:
        context = set(words(choices.contexts[i]))
        scores = [
            sum(math.log(len(trained) / max(holders[w], 1)) for w in context & set(words(option)))
            for option in choices.options[i]
        ]
        best = [k for k, score in enumerate(scores) if score == max(scores)]
        right += (choices.labels[i] in best) / len(best)
    return right / len(choices.test)


def _gather(
    who: str, seed: int, max_length: int, fewest: int
) -> tuple[list[Halves], np.random.Generator]:
    """Objects of modules that have at least ``fewest``, and the generator for what follows."""
    max_length = whole(f"{who}: max_length", max_length, least=20)
    rng = np.random.default_rng(whole(f"{who}: seed", seed, least=0))
    found = []
    for described in library():
        first, *rest = [s for part in paragraphs(described.text) for s in sentences(part)] or [""]
        halves = [textwrap.shorten(t, max_length, placeholder="") for t in (first, " ".join(rest))]
        if min(len(words(half)) for half in halves) >= FEWEST_WORDS:
            found.append((described.module, halves[0], halves[1]))
    holders = Counter(" ".join(words(half)) for _, *halves in found for half in halves)
    found = [f for f in found if all(holders[" ".join(words(half))] == 1 for half in f[1:])]
    sizes = Counter(module for module, _, _ in found)
    return [f for f in found if sizes[f[0]] >= fewest], rng


def _parts(origins: list[str], rng: np.random.Generator) -> dict[str, np.ndarray]:
    names = ("train", "validation", "test")
    return dict(zip(names, split_by_origin(origins, rng), strict=True))
