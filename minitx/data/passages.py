"""Text to pre-train BERT on: documents of consecutive passages, from what ships with Python.

A document is a help topic (`help("assert")`) or the docstring of one public object of the standard
library; a passage is one or more whole sentences of a paragraph.  BERT (Devlin et al. 2019, section
3.1) learns from them to fill gaps, and to tell whether one passage follows another.

What it cannot show: there are some 1.5 million characters in all, a two-thousandth of BERT's
corpus, on one subject.  `following_passages` takes the false passage from another document, mostly
of another subject, as the paper does: common words alone decide 0.67 of the cases (`word_overlap`,
`bag_of_words`).  Of the test passages 3 in 100, such as "Arguments:", also stand in training.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .labelled import Labelled
from .library import library, paragraphs, sentences, words
from .parts import Parts, check_parts, split_by_origin
from .text import help_topics, whole


@dataclass(frozen=True, eq=False)
class Passages:
    """Documents, and which of them train, validate and test.

    Raises ValueError if an index is out of range or in two parts, or if a part is empty.
    """

    documents: tuple[tuple[str, ...], ...]  # passages in order
    origins: tuple[str, ...]  # of each document: a module, or "topic " and its name
    train: np.ndarray  # int64 indices into documents
    validation: np.ndarray
    test: np.ndarray

    def __post_init__(self) -> None:
        if len(self.origins) != len(self.documents):
            raise ValueError(
                f"Passages: {len(self.documents)} documents came with {len(self.origins)} "
                "origins; give each one"
            )
        check_parts(
            "Passages", len(self.documents), (self.train, self.validation, self.test), "document"
        )


def library_passages(seed: int = 0, max_length: int = 200) -> Passages:
    """Help topics and docstrings of at least two passages; no module is on two sides.

    The topics all train, for some contain others.  seed: which modules test and validate.
    max_length: characters of a passage; a longer sentence ends at the last whole word.  Of
    documents with the same words the first counts.

    Raises TypeError or ValueError for a bad argument, ImportError where the topics are missing.
    """
    max_length = whole("library_passages: max_length", max_length, least=20)
    rng = np.random.default_rng(whole("library_passages: seed", seed, least=0))
    texts = [(f"topic {name}", text) for name, text in help_topics().items()]
    texts += [(found.module, found.text) for found in library()]
    documents: dict[str, tuple[str, tuple[str, ...]]] = {}
    for origin, text in texts:
        passages = parted(text, max_length)
        if len(passages) > 1:
            documents.setdefault(" ".join(words(text)), (origin, passages))
    origins, kept = zip(*documents.values(), strict=True)
    topics = sum(origin.startswith("topic ") for origin in origins)
    train, validation, test = (topics + part for part in split_by_origin(origins[topics:], rng))
    train = np.concatenate([np.arange(topics), train])
    return Passages(kept, origins, train, validation, test)


def following_passages(passages: Passages, seed: int = 0) -> Labelled:
    """BERT's next sentence prediction as a task to measure on: label 0 "next", 1 "other".

    Each passage with the one after it and, half of the time, instead with any of another document
    of the same part (train, validation, test).  To train, draw other pairs for each pass.

    Raises ValueError if a part has fewer than two documents.
    """
    rng = np.random.default_rng(whole("following_passages: seed", seed, least=0))
    firsts: list[str] = []
    seconds: list[str] = []
    labels: list[int] = []
    sizes = []
    for part in (passages.train, passages.validation, passages.test):
        documents = [passages.documents[i] for i in part]
        if len(documents) < 2:
            raise ValueError(
                f"following_passages: a part has {len(documents)} documents; expected 2 or more"
            )
        before = len(firsts)
        for i, document in enumerate(documents):
            for first, second in pairwise(document):
                label = int(rng.random() < 0.5)
                if label:
                    other = documents[(i + rng.integers(1, len(documents))) % len(documents)]
                    second = other[rng.integers(len(other))]
                firsts.append(first)
                seconds.append(second)
                labels.append(label)
        sizes.append(len(firsts) - before)
    return Labelled(
        tuple(firsts),
        np.array(labels, np.int64),
        ("next", "other"),
        *_in_turn(sizes),
        seconds=tuple(seconds),
    )


def without(
    documents: Iterable[tuple[str, ...]], texts: Iterable[str], run: int = 8
) -> list[tuple[str, ...]]:
    """The documents that have no run of eight words in common with any of the texts.

    So that what pre-trains has not seen what tests.  Of a text with fewer words all count.
    """
    runs: dict[int, set[tuple[str, ...]]] = defaultdict(set)
    for text in texts:
        found = words(text)
        runs[min(run, len(found))].update(_runs(found, min(run, len(found))))

    def unseen(document: tuple[str, ...]) -> bool:
        found = words(" ".join(document))
        return all(known.isdisjoint(_runs(found, n)) for n, known in runs.items())

    return [document for document in documents if unseen(document)]


def parted(text: str, max_length: int) -> tuple[str, ...]:
    """The passages of a text, none of which goes beyond a paragraph."""
    return tuple(p for part in paragraphs(text) for p in _passages(part, max_length))


def _runs(found: Sequence[str], length: int) -> Iterable[tuple[str, ...]]:
    return zip(*(found[i:] for i in range(length)), strict=False)


def _passages(paragraph: str, max_length: int) -> list[str]:
    """Sentences together as long as they have at most max_length characters."""
    found: list[str] = []
    for sentence in sentences(paragraph):
        sentence = textwrap.shorten(sentence, max_length, placeholder="")
        if found and len(found[-1]) + 1 + len(sentence) <= max_length:
            found[-1] += " " + sentence
        else:
            found.append(sentence)
    return [passage for passage in found if words(passage)]


def _in_turn(sizes: list[int]) -> Parts:
    ends = np.cumsum(sizes)
    train, validation, test = (
        np.arange(end - size, end) for end, size in zip(ends, sizes, strict=True)
    )
    return train, validation, test
