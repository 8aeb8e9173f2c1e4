"""Language tasks as BERT reads them: examples turned into padded arrays of ids, with their labels.

    Labelled  [CLS] text [SEP], or a pair: [CLS] text [SEP] second [SEP]    a label each
    Choices   [CLS] context [SEP] option [SEP], K rows an example           which row is right
    Tagged    [CLS] words [SEP]                                             a tag at each word's
                                                                            first piece
    Spans     [CLS] question [SEP] passage [SEP]                            first and last token

Special tokens that stand in a text, such as "[SEP]", are spelled like any other text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..text.batch import Batch
from ..text.subwords import SubwordTokenizer
from .following import Choices
from .labelled import Labelled
from .shuffled import Shuffled
from .spans import Spans
from .tagged import Tagged
from .text import whole

IGNORED = -100  # a label that no loss counts

Task = Labelled | Choices | Tagged | Spans


class Encoded(NamedTuple):
    """B examples, in the order of a loss's arguments; for choices with an axis of K after B."""

    ids: np.ndarray  # (B, T) int64
    labels: np.ndarray  # (B,) int64; of tags (B, T), -100 where none counts
    types: np.ndarray  # (B, T) int64: 1 in the second text of a pair
    mask: np.ndarray  # (B, T) bool: False at padding


class EncodedSpans(NamedTuple):
    """B questions with their passages, likewise."""

    ids: np.ndarray  # (B, T) int64
    starts: np.ndarray  # (B,) int64: first token of the answer, -100 where it was cut off
    ends: np.ndarray  # (B,) int64: last token, likewise
    types: np.ndarray  # (B, T) int64: 1 in the passage
    mask: np.ndarray  # (B, T) bool: False at padding


class TaskBatches:
    """`batch` draws from shuffled passes over one part of a task, `cover` walks through it once.

    part: the indices to use, such as task.train.  max_length: at most so many ids a row; longer
    texts are cut at their end, of pairs the longer one first, of spans only the passage.

    What they give is what BERT's losses take: ``model.loss(*batch)``.  A Trainer takes `batch` as
    its batches and the object itself as its data, and resumes exactly in the middle of a pass.
    """

    def __init__(
        self,
        task: Task,
        part: np.ndarray,
        tokenizer: SubwordTokenizer,
        batch_size: int,
        max_length: int = 128,
    ):
        """Raises TypeError or ValueError for a bad argument or another kind of task."""
        if not isinstance(task, Task):
            raise TypeError(
                f"TaskBatches: task is a {type(task).__name__}; expected Labelled, Choices, "
                "Tagged or Spans"
            )
        self.task, self.part, self.tokenizer = task, np.asarray(part), tokenizer
        self.max_length = whole("TaskBatches: max_length", max_length)
        self.order = Shuffled(len(self.part), whole("TaskBatches: batch_size", batch_size))

    def batch(self, rng: np.random.Generator) -> Encoded | EncodedSpans:
        """The next examples of a pass; the last ones may be fewer."""
        return encode(self.task, self.part[self.order.next(rng)], self.tokenizer, self.max_length)

    def cover(self, limit: int | None = None) -> Iterator[Encoded | EncodedSpans]:
        """All examples in order, or those of the first `limit` batches."""
        size, stop = self.order.batch_size, self.order.count
        if limit is not None:
            stop = min(stop, size * whole("TaskBatches.cover: limit", limit))
        rows = (self.part[i : min(i + size, stop)] for i in range(0, stop, size))
        return (encode(self.task, row, self.tokenizer, self.max_length) for row in rows)

    def state(self) -> dict[str, Any]:
        """The position in the pass; plain integers, fit for JSON."""
        return self.order.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken.  Raises ValueError, and changes nothing, if it is none."""
        self.order.load_state(state)


def encode(
    task: Task, rows: np.ndarray, tokenizer: SubwordTokenizer, max_length: int | None = None
) -> Encoded | EncodedSpans:
    """The examples ``rows`` of a task, as `TaskBatches` gives them."""
    if isinstance(task, Labelled):
        return _labelled(task, rows, tokenizer, max_length)
    if isinstance(task, Choices):
        return _choices(task, rows, tokenizer, max_length)
    if isinstance(task, Tagged):
        return _tagged(task, rows, tokenizer, max_length)
    return _spans(task, rows, tokenizer, max_length)


def encode_documents(
    documents: Sequence[Sequence[str]], tokenizer: SubwordTokenizer
) -> list[list[np.ndarray]]:
    """The ids of each passage of each document, to make pairs of, or to mask."""
    return [[tokenizer.encode(p, special=False) for p in document] for document in documents]


def spans_in_text(
    task: Spans,
    rows: np.ndarray,
    tokenizer: SubwordTokenizer,
    places: np.ndarray,
    max_length: int | None = None,
) -> np.ndarray:
    """First and last token of answers, (B, 2), -> starts and ends in the passages, (B, 2).

    Where that is no span of the passage, the answer is empty: 0, 0.
    """
    batch = _span_batch(task, rows, tokenizer, max_length)
    row = np.arange(len(rows))
    first, last = np.asarray(places).T
    passage = (batch.types == 1) & ~batch.added
    fits = passage[row, first] & passage[row, last] & (first <= last)
    ends = np.stack([batch.offsets[row, first, 0], batch.offsets[row, last, 1]], axis=1)
    return np.where(fits[:, None], ends, 0)


def _labelled(
    task: Labelled, rows: np.ndarray, tokenizer: SubwordTokenizer, max_length: int | None
) -> Encoded:
    texts = [task.texts[i] for i in rows]
    seconds = None if task.seconds is None else [task.seconds[i] for i in rows]
    batch = tokenizer.batch(texts, seconds, max_length=max_length, special=False)
    return Encoded(batch.ids, task.labels[rows], batch.types, batch.mask)


def _choices(
    task: Choices, rows: np.ndarray, tokenizer: SubwordTokenizer, max_length: int | None
) -> Encoded:
    contexts = [task.contexts[i] for i in rows for _ in task.options[i]]
    options = [option for i in rows for option in task.options[i]]
    batch = tokenizer.batch(contexts, options, max_length=max_length, special=False)
    shape = len(rows), -1, batch.ids.shape[1]  # (B K) T -> B K T
    ids, types, mask = (x.reshape(shape) for x in (batch.ids, batch.types, batch.mask))
    return Encoded(ids, task.labels[rows], types, mask)


def _tagged(
    task: Tagged, rows: np.ndarray, tokenizer: SubwordTokenizer, max_length: int | None
) -> Encoded:
    texts = [" ".join(task.words[i]) for i in rows]
    batch = tokenizer.batch(texts, max_length=max_length, special=False)
    labels = np.full(batch.ids.shape, IGNORED)
    for n, i in enumerate(rows):
        lengths = np.array([len(word) + 1 for word in task.words[i]])
        pieces = np.flatnonzero(~batch.added[n])
        last = batch.offsets[n, pieces, 1] - 1  # its last character tells which word a piece is of
        word = np.searchsorted(lengths.cumsum(), last, side="right")
        found, first = np.unique(word, return_index=True)
        labels[n, pieces[first]] = task.tags[i][found]
    return Encoded(batch.ids, labels, batch.types, batch.mask)


def _spans(
    task: Spans, rows: np.ndarray, tokenizer: SubwordTokenizer, max_length: int | None
) -> EncodedSpans:
    batch = _span_batch(task, rows, tokenizer, max_length)
    start, end = task.starts[rows, None], task.ends[rows, None]
    inside = (batch.types == 1) & ~batch.added
    inside &= (batch.offsets[..., 0] < end) & (batch.offsets[..., 1] > start)
    T = batch.ids.shape[1]
    first, last = inside.argmax(axis=1), T - 1 - inside[:, ::-1].argmax(axis=1)
    reached = inside.any(axis=1) & (batch.offsets[np.arange(len(rows)), last, 1] >= end[:, 0])
    # an answer that was cut off, if only in part, does not count
    starts, ends = (np.where(reached, place, IGNORED) for place in (first, last))
    return EncodedSpans(batch.ids, starts, ends, batch.types, batch.mask)


def _span_batch(
    task: Spans, rows: np.ndarray, tokenizer: SubwordTokenizer, max_length: int | None
) -> Batch:
    return tokenizer.batch(
        [task.questions[i] for i in rows],
        [task.passages[i] for i in rows],
        max_length=max_length,
        truncation="only_second",
        special=False,
    )
