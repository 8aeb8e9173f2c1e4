"""GPT's second stage: supervised fine-tuning (GPT-1, sections 3.2 and 3.3, figure 1).

Every task becomes token sequences that the pre-trained model reads unchanged, between three new
tokens; a linear layer reads the last state at the extract token.  The loss is L3 = L2 (task) +
lambda * L1 (language model on the same text).

Where we deviate or choose:
- The paper's softmax over classes for similarity has two outputs; we keep that, rather than a
  regression.
- Sequences are padded on the right; under causal attention no real token can see the padding.
- A text too long for the context is cut at its end (the first text of a pair first), never the
  special tokens.
- The classifier's dropout (section 4.1) has the rate of the pre-trained model's, 0.1 in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass

import numpy as np

from .. import ops
from ..nn import Dropout, Linear, Module
from ..tensor import Tensor
from .gpt import GPT

Ids = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class Batch:
    """Examples as one array of sequences: N examples with K sequences each, padded to length T."""

    ids: np.ndarray  # (N, K, T) token ids
    last: np.ndarray  # (N, K), where each sequence's extract token is
    real: np.ndarray  # bool (N, K, T), False at padding
    types: np.ndarray | None = None  # (N, K, T) ids of further tokens, whose embeddings are added


class InputForms:
    """The paper's four input transformations.

    start, delimiter, extract: the ids of the three new tokens.  context: the longest sequence.
    A text is a sequence of token ids.  Raises ValueError on parts of different lengths.
    """

    def __init__(self, start: int, delimiter: int, extract: int, context: int):
        if context < 5:
            raise ValueError(
                f"InputForms: a context of {context} has no room for a pair of texts; "
                "expected 5 or more"
            )
        self.start, self.delimiter, self.extract, self.context = start, delimiter, extract, context

    def classification(self, texts: Sequence[Ids]) -> Batch:
        """start, text, extract: one sequence per example."""
        return self._batch([[self._single(text)] for text in texts])

    def entailment(self, premises: Sequence[Ids], hypotheses: Sequence[Ids]) -> Batch:
        """start, premise, delimiter, hypothesis, extract: one sequence per example."""
        _check_lengths("entailment", premises=premises, hypotheses=hypotheses)
        pairs = zip(premises, hypotheses, strict=True)
        return self._batch([[self._pair(premise, hypothesis)] for premise, hypothesis in pairs])

    def similarity(self, firsts: Sequence[Ids], seconds: Sequence[Ids]) -> Batch:
        """Both orders of a pair, for neither text comes first: two sequences per example."""
        _check_lengths("similarity", firsts=firsts, seconds=seconds)
        pairs = zip(firsts, seconds, strict=True)
        return self._batch([[self._pair(a, b), self._pair(b, a)] for a, b in pairs])

    def multiple_choice(self, contexts: Sequence[Ids], answers: Sequence[Sequence[Ids]]) -> Batch:
        """start, context, delimiter, answer, extract: one sequence for each of K answers."""
        _check_lengths("multiple_choice", contexts=contexts, answers=answers)
        counts = sorted({len(options) for options in answers})
        if len(counts) > 1 or 0 in counts:
            raise ValueError(
                f"multiple_choice: examples have {' or '.join(map(str, counts))} answers; "
                "expected the same number, at least 1"
            )
        questions = zip(contexts, answers, strict=True)
        return self._batch([[self._pair(c, a) for a in options] for c, options in questions])

    def _single(self, text: Ids) -> list[int]:
        return [self.start, *text[: self.context - 2], self.extract]

    def _pair(self, a: Ids, b: Ids) -> list[int]:
        room = self.context - 3
        b = b[: max(room - len(a), room // 2)]
        return [self.start, *a[: room - len(b)], self.delimiter, *b, self.extract]

    def _batch(self, examples: list[list[list[int]]]) -> Batch:
        if not examples:
            raise ValueError("InputForms: no examples")
        longest = max(len(sequence) for example in examples for sequence in example)
        shape = (len(examples), len(examples[0]), longest)
        ids, last = np.full(shape, self.extract), np.empty(shape[:2], np.int64)
        for n, example in enumerate(examples):
            for k, sequence in enumerate(example):
                ids[n, k, : len(sequence)] = sequence
                last[n, k] = len(sequence) - 1
        return Batch(ids, last, np.arange(longest) <= last[..., None])


class GPTClassifier(Module):
    """A GPT with a linear layer on the state at the extract token.

    classes: outputs of that layer.  With one output, each of an example's K sequences gets a score
    and the scores compete (multiple choice); with more, the states of an example's sequences are
    added first (classification, entailment, similarity).
    """

    def __init__(self, gpt: GPT, classes: int, lm_weight: float = 0.5):
        if classes < 1:
            raise ValueError(f"GPTClassifier: classes is {classes}; expected at least 1")
        self.gpt = gpt
        self.dropout = Dropout(gpt.config.dropout, gpt.rng)
        self.head = Linear(gpt.config.width, classes, gpt.rng).astype(gpt.tokens.weight.dtype)
        self.lm_weight = lm_weight  # lambda, 0.5 in the paper

    @classmethod
    def from_pretrained(
        cls,
        gpt: GPT,
        classes: int,
        lm_weight: float = 0.5,
        rng: np.random.Generator | int = 0,
    ) -> tuple[GPTClassifier, InputForms]:
        """A classifier on a copy of ``gpt`` with three more tokens, and the forms that use them.

        rng: what the new tokens and the head are drawn from, and later dropout.
        """
        V = gpt.config.vocab_size
        forms = InputForms(V, V + 1, V + 2, gpt.config.context)
        return cls(gpt.extend_vocabulary(3, rng), classes, lm_weight), forms

    def forward(self, batch: Batch) -> Tensor:
        """Logits of the classes, (N, classes), or of the K choices, (N, K)."""
        return self._read(self._hidden(batch), batch)

    def loss(self, batch: Batch, labels: np.ndarray) -> Tensor:
        """L3 (equation 5), nats.  labels: (N,) classes or choices.

        Mean cross-entropy of the labels + lm_weight * mean cross-entropy of the next tokens.
        """
        hidden = self._hidden(batch)
        task = ops.cross_entropy(self._read(hidden, batch), labels)
        return task + self._language(hidden, batch) * self.lm_weight if self.lm_weight else task

    def predict(self, batch: Batch) -> np.ndarray:
        """The most likely class or choice, (N,); with dropout off."""
        with self.evaluating():
            return self(batch).data.argmax(axis=-1)

    def _hidden(self, batch: Batch) -> Tensor:
        T = batch.ids.shape[-1]
        types = None if batch.types is None else batch.types.reshape(-1, T)
        return self.gpt(batch.ids.reshape(-1, T), types=types)  # N K T -> (N K) T C

    def _read(self, hidden: Tensor, batch: Batch) -> Tensor:
        N, K = batch.last.shape
        states = hidden[np.arange(N * K), batch.last.reshape(-1)]  # (N K) T C -> (N K) C
        states = self.dropout(states).reshape(N, K, -1)  # (N K) C -> N K C
        if self.head.weight.shape[0] == K == 1:
            raise ValueError("GPTClassifier: one class and one sequence leave nothing to choose")
        if self.head.weight.shape[0] == 1:
            return self.head(states).reshape(N, K)
        return self.head(states.sum(axis=1))

    def _language(self, hidden: Tensor, batch: Batch) -> Tensor:
        T = batch.ids.shape[-1]
        targets = np.where(batch.real, batch.ids, -100).reshape(-1, T)[:, 1:]
        return ops.cross_entropy(self.gpt.logits(hidden[:, :-1]), targets)


def _check_lengths(form: str, **parts: Sized) -> None:
    if len({len(part) for part in parts.values()}) > 1:
        told = ", ".join(f"{len(part)} {name}" for name, part in parts.items())
        raise ValueError(f"{form}: {told}; expected as many of each")
