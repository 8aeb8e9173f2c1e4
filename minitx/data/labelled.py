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

import ast
import re
import sysconfig
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minitx.data.text import check_generator, whole

FEWEST_WORDS = 4  # "Return the value." could stand in any package


@dataclass(frozen=True, eq=False)
class Labelled:
    """Texts with one label each, and which of them train, validate and test.

    Raises ValueError if a label or an index is out of range, if a part is empty, or if a text
    is in two parts.
    """

    texts: tuple[str, ...]  # N of them
    labels: np.ndarray  # (N,) int64, in [0, K)
    class_names: tuple[str, ...]  # K of them
    train: np.ndarray  # int64 indices into texts
    validation: np.ndarray
    test: np.ndarray

    def __post_init__(self) -> None:
        _check_range("labels", self.labels, len(self.class_names))
        if len(self.labels) != len(self.texts):
            raise ValueError(
                f"Labelled: {len(self.texts)} texts came with {len(self.labels)} labels; "
                "give each text one"
            )
        parts = [self.train, self.validation, self.test]
        for name, part in zip(("train", "validation", "test"), parts, strict=True):
            _check_range(name, part, len(self.texts))
        index, times = np.unique(np.concatenate(parts), return_counts=True)
        if times.max() > 1:
            raise ValueError(
                f"Labelled: text {index[times.argmax()]} is listed twice in train, validation "
                "and test; list each text once"
            )


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
    """Accuracy on the test texts of naive Bayes over word counts, smoothed by adding one."""
    words = [_words(text) for text in labelled.texts]
    known = sorted({word for i in labelled.train for word in words[i]})
    column = {word: j for j, word in enumerate(known)}
    counts = np.zeros((len(words), len(known)))  # N V
    for row, text in zip(counts, words, strict=True):
        for word in text:
            if word in column:
                row[column[word]] += 1
    member = np.eye(len(labelled.class_names))[labelled.labels[labelled.train]]  # train K
    seen = member.T @ counts[labelled.train] + 1  # K V
    prior = member.sum(axis=0) + 1  # K
    scores = counts[labelled.test] @ np.log(seen / seen.sum(axis=1, keepdims=True)).T
    answers = (scores + np.log(prior)).argmax(axis=1)
    return float((answers == labelled.labels[labelled.test]).mean())


class Shuffled:
    """Passes over `count` examples in a fresh random order each, `batch_size` at a time.

    A pass gives every index once; its last batch may be smaller.  The order of a pass follows
    from one number drawn at its start, so the state is a handful of integers, and a run resumes
    exactly in the middle of a pass.
    """

    def __init__(self, count: int, batch_size: int):
        """Raises TypeError or ValueError unless both are whole numbers of at least 1."""
        self.count = whole("Shuffled: count", count)
        self.batch_size = whole("Shuffled: batch_size", batch_size)
        self.epoch = 0  # finished passes
        self.position = 0  # indices given out in this pass; at 0 the next one begins
        self.seed = 0  # of this pass
        self._order = np.empty(0, np.int64)  # (count,) once a pass has begun

    def next(self, rng: np.random.Generator) -> np.ndarray:
        """The next indices, (B,) int64; draws from `rng` only where a pass begins."""
        check_generator("Shuffled.next", rng)
        if self.position == 0:
            self.seed = int(rng.integers(2**32))
            self._order = self._shuffle()
        batch = self._order[self.position : self.position + self.batch_size]
        self.position += len(batch)
        if self.position == self.count:
            self.position = 0
            self.epoch += 1
        return batch

    def state(self) -> dict[str, int]:
        """What `load_state` needs to go on from here; plain integers, fit for JSON."""
        return {
            "count": self.count,
            "batch_size": self.batch_size,
            "epoch": self.epoch,
            "position": self.position,
            "seed": self.seed,
        }

    def load_state(self, state: Mapping[str, int]) -> None:
        """Go on where `state` was taken; the caller restores `rng`, which draws later passes.

        Raises ValueError, and changes nothing, if it is not a state of such an object.
        """
        ranges = {
            "count": (self.count, self.count),
            "batch_size": (self.batch_size, self.batch_size),
            "epoch": (0, 2**63 - 1),
            "position": (0, self.count - 1),
            "seed": (0, 2**32 - 1),
        }
        if not isinstance(state, Mapping) or set(state) != set(ranges):
            came = list(state) if isinstance(state, Mapping) else type(state).__name__
            raise ValueError(
                f"Shuffled.load_state: expected a dict with the fields {list(ranges)}, got "
                f"{came}; pass what state() returned"
            )
        for field, (low, high) in ranges.items():
            value = state[field]
            if type(value) is not int or not low <= value <= high:
                expected = f"from {low} to {high}" if low < high else str(low)
                raise ValueError(
                    f"Shuffled.load_state: {field} must be {expected} here, got {value!r}; "
                    "resume with the data and the batch size of the run that saved it"
                )
        if state["position"] % self.batch_size:
            raise ValueError(
                f"Shuffled.load_state: position must be a multiple of batch_size "
                f"{self.batch_size}, got {state['position']}; the state is damaged"
            )
        self.epoch = state["epoch"]
        self.position = state["position"]
        self.seed = state["seed"]
        self._order = self._shuffle()

    def _shuffle(self) -> np.ndarray:
        return np.random.default_rng(self.seed).permutation(self.count)


def _pool(name: str, tells: re.Pattern[str], max_length: int) -> dict[str, str]:
    """The usable texts of a package; the keys are what makes two texts the same."""
    pool = {}
    for docstring in _package_docstrings(name):
        text = textwrap.shorten(tells.sub("_", docstring), max_length, placeholder="")
        words = _words(text)
        if len(words) >= FEWEST_WORDS:
            pool[" ".join(words)] = text
    return pool


def _package_docstrings(name: str) -> Iterator[str]:
    root = Path(sysconfig.get_path("stdlib"))
    files = sorted((root / name).rglob("*.py")) or [root / f"{name}.py"]
    if not files[0].is_file():
        raise FileNotFoundError(
            f"docstring_packages: {root} has no source of {name!r}; name packages that this "
            "Python ships, or install its standard library with sources"
        )
    for file in files:
        inside = file.relative_to(root).with_suffix("").parts[1:]  # () for a single module
        private = any(part.startswith("_") and part != "__init__" for part in inside)
        if not private and not {"test", "tests"} & set(inside):
            yield from _docstrings(ast.parse(file.read_bytes()))


def _docstrings(node: Any) -> Iterator[str]:
    """Of a module, class or function, then of the public ones that a module or class defines."""
    yield ast.get_docstring(node) or ""
    if isinstance(node, (ast.Module, ast.ClassDef)):
        for child in node.body:
            if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                if not child.name.startswith("_"):
                    yield from _docstrings(child)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.lower())


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


def _check_range(name: str, values: np.ndarray, stop: int) -> None:
    array = np.asarray(values)
    if array is not values or array.ndim != 1 or not array.size or array.dtype.kind not in "iu":
        raise ValueError(
            f"Labelled: {name} must be a NumPy array of integers along one axis, not empty; "
            f"got {type(values).__name__} of shape {array.shape}, dtype {array.dtype}"
        )
    if values.min() < 0 or values.max() >= stop:
        raise ValueError(
            f"Labelled: {name} must lie in [0, {stop}), got {values.min()} to {values.max()}"
        )
