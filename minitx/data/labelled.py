"""A small labelled task for fine-tuning: which package was this docstring written for?

GPT-1 (Radford et al. 2018, section 3.2) fine-tunes a language model on labelled texts.  Here the
texts are docstrings of Python's own standard library and the label is the package they stand in,
so there is nothing to download.  The sources are parsed, never imported: an import may act.

What keeps the task honest: any word that contains one of the class names is replaced by "_"; a
text that occurs in two packages is dropped; texts that differ only in case, digits or punctuation
count as one, so that no test text was seen in training.

What it cannot show:

- It is small.  With the default 132 test texts an accuracy of 0.8 has a standard error of 0.035:
  differences of a few points are noise.
- The subject shows in single words ("coroutine", "handler", "header"), so counting words does
  well already: `bag_of_words` scores 0.85 (mean of ten seeds on each of Python 3.10 to 3.13),
  `majority_baseline` 0.17.  Print both beside the model.
- Near-duplicates remain on both sides of the split: 4 to 8 in 100 test texts (by release) share
  four fifths of their distinct words with a training text.
- The texts, and so the figures, change with the Python release.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .library import described, words
from .parts import check_parts, check_range
from .text import whole

FEWEST_WORDS = 4  # "Return the value." could stand in any package


@dataclass(frozen=True, eq=False)
class Labelled:
    """Texts, or pairs of texts, with one label each; which of them train, validate and test.

    Raises ValueError if a label or an index is out of range, if a part is empty, or if a text
    is in two parts.
    """

    texts: tuple[str, ...]  # N of them
    labels: np.ndarray  # (N,) int64, in [0, K)
    class_names: tuple[str, ...]  # K of them
    train: np.ndarray  # int64 indices into texts
    validation: np.ndarray
    test: np.ndarray
    seconds: tuple[str, ...] | None = None  # N of them: the other text of each pair

    def __post_init__(self) -> None:
        check_range("Labelled", "labels", self.labels, len(self.class_names))
        if len(self.labels) != len(self.texts):
            raise ValueError(
                f"Labelled: {len(self.texts)} texts came with {len(self.labels)} labels; "
                "give each text one"
            )
        if self.seconds is not None and len(self.seconds) != len(self.texts):
            raise ValueError(
                f"Labelled: {len(self.texts)} texts came with {len(self.seconds)} seconds; "
                "give each text one, or none at all"
            )
        check_parts("Labelled", len(self.texts), (self.train, self.validation, self.test))


def docstring_packages(
    classes: Sequence[str] = ("asyncio", "email", "http", "logging", "unittest", "xml"),
    per_class: int = 110,
    seed: int = 0,
    max_length: int = 200,
) -> Labelled:
    """Docstrings of the public modules, classes, functions and methods of some packages.

    classes: names of standard-library packages or modules.  per_class: how many docstrings of
    each, at least 10; a fifth of them tests, a tenth validates, the others train.  seed: which
    ones, and in what order.  max_length: characters a text may have; longer ones end at the last
    whole word.  White space becomes single spaces.

    Raises TypeError or ValueError for a bad argument or a package with too few docstrings, and
    FileNotFoundError for one whose source is not installed.
    """
    classes = _checked_classes(classes)
    per_class = whole("docstring_packages: per_class", per_class, least=10)
    max_length = whole("docstring_packages: max_length", max_length)
    rng = np.random.default_rng(whole("docstring_packages: seed", seed, least=0))

    names = "|".join(re.escape(name) for name in classes)
    tells = re.compile(rf"[\w.]*(?:{names})\w*(?:\.\w+)*", re.IGNORECASE)
    pools = [_pool(name, tells, max_length) for name in classes]
    owners = Counter(key for pool in pools for key in pool)

    texts: list[str] = []
    for name, pool in zip(classes, pools, strict=True):
        found = sorted(text for key, text in pool.items() if owners[key] == 1)
        if len(found) < per_class:
            raise ValueError(
                f"docstring_packages: {name} has {len(found)} distinct docstrings of at least "
                f"{FEWEST_WORDS} words, {per_class} were asked for; lower per_class or leave "
                f"{name} out"
            )
        texts += [found[i] for i in rng.permutation(len(found))[:per_class]]

    tests = per_class // 5
    validates = per_class // 10
    rank = np.arange(len(texts)) % per_class  # place within the class
    return Labelled(
        texts=tuple(texts),
        labels=np.repeat(np.arange(len(classes)), per_class),
        class_names=classes,
        train=np.flatnonzero(rank >= tests + validates),
        validation=np.flatnonzero((rank >= tests) & (rank < tests + validates)),
        test=np.flatnonzero(rank < tests),
    )


def majority_baseline(labelled: Labelled) -> float:
    """Accuracy on the test texts of always answering the commonest label in training."""
    commonest = np.bincount(labelled.labels[labelled.train]).argmax()
    return float((labelled.labels[labelled.test] == commonest).mean())


def bag_of_words(labelled: Labelled) -> float:
    """Accuracy on the test texts of naive Bayes over word counts, smoothed by adding one.

    Of pairs it counts the words of either text apart, and once more those that both have.
    """
    features = _features(labelled)
    known = sorted({word for i in labelled.train for word in features[i]})
    column = {word: j for j, word in enumerate(known)}
    found = [np.array([column[w] for w in text if w in column], np.int64) for text in features]
    seen = np.ones((len(labelled.class_names), len(known)))  # K V
    for i in labelled.train:
        np.add.at(seen[labelled.labels[i]], found[i], 1)
    prior = np.bincount(labelled.labels[labelled.train], minlength=len(seen)) + 1  # K
    logs = np.log(seen / seen.sum(axis=1, keepdims=True))
    scores = np.array([logs[:, found[i]].sum(axis=1) for i in labelled.test]) + np.log(prior)
    return float((scores.argmax(axis=1) == labelled.labels[labelled.test]).mean())


def word_overlap(labelled: Labelled) -> float:
    """Accuracy on the test pairs of one threshold on the share of common words.

    The share is that of the second text's distinct words; the threshold, and which side of it has
    which label, are the best ones in training.  Raises ValueError unless there are pairs with two
    classes.
    """
    if labelled.seconds is None or len(labelled.class_names) != 2:
        raise ValueError("word_overlap: expected pairs of texts and two classes")
    pairs = zip(labelled.texts, labelled.seconds, strict=True)
    shares = np.array([shared(a, b) for a, b in pairs])
    mine, labels = shares[labelled.train], labelled.labels[labelled.train]
    thresholds = np.unique(mine)
    right = ((mine >= thresholds[:, None]) == labels).mean(axis=1)  # label 1 at or above it
    best = np.abs(right - 0.5).argmax()
    answers = (shares[labelled.test] >= thresholds[best]) == (right[best] >= 0.5)
    return float((answers == labelled.labels[labelled.test]).mean())


def shared(first: str, second: str) -> float:
    """Which share of the second text's distinct words the first one has; 0 if there are none."""
    wanted = set(words(second))
    return len(wanted & set(words(first))) / max(len(wanted), 1)


def _features(labelled: Labelled) -> list[list[str]]:
    if labelled.seconds is None:
        return [words(text) for text in labelled.texts]
    found = []
    for first, second in zip(labelled.texts, labelled.seconds, strict=True):
        a, b = words(first), words(second)
        both = sorted(set(a) & set(b))
        found.append([f"1 {w}" for w in a] + [f"2 {w}" for w in b] + [f"= {w}" for w in both])
        found[-1] += ["="] * len(both)
    return found


def _pool(name: str, tells: re.Pattern[str], max_length: int) -> dict[str, str]:
    """The usable texts of a package; the keys are what makes two texts the same."""
    pool = {}
    for found in described("docstring_packages", name):
        text = textwrap.shorten(tells.sub("_", found.text), max_length, placeholder="")
        known = words(text)
        if len(known) >= FEWEST_WORDS:
            pool[" ".join(known)] = text
    return pool


def _checked_classes(classes: Sequence[str]) -> tuple[str, ...]:
    plain = isinstance(classes, Sequence) and not isinstance(classes, str)
    if not plain or not all(isinstance(name, str) for name in classes):
        raise TypeError(
            f"docstring_packages: classes must be a sequence of package names, got {classes!r}"
        )
    for name in classes:
        if not name.isidentifier():
            raise ValueError(
                f"docstring_packages: {name!r} is not the name of a top-level package; "
                "give names such as 'email'"
            )
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise ValueError(
            f"docstring_packages: expected at least two packages, each once, got {tuple(classes)}"
        )
    return tuple(classes)
