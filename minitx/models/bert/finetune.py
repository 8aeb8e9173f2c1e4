"""BERT's fine-tuning (section 4, figure 4): one small layer on top, and everything is trained.

(a) sentence pairs and (b) single sentences: BERTClassifier; (c) the span that answers a question:
BERTSpans; (d) a tag for each token: BERTTagger; one of several continuations (SWAG, section 4.4):
BERTChoice.  All take ids, types and mask, (B, T) each, as BERT has them.
"""

from __future__ import annotations

import numpy as np

from ... import ops
from ...checkpoint import CheckpointError, Pretrained
from ...nn import Dropout, Linear
from ...tensor import Tensor
from ..official import bert as official
from .model import BERT

PROBLEMS = {  # ours: transformers'
    "classes": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}


class _Head(Pretrained):
    """A body, with or without pooler, and one linear layer after dropout."""

    configs = BERT.configs
    pooled = True  # reads the pooler
    names = official.CLASSIFIER

    def __init__(self, bert: BERT, outputs: int):
        if outputs < 1:
            raise ValueError(f"{type(self).__name__}: {outputs} outputs; expected at least 1")
        self.bert = bert.with_pooler(self.pooled)
        self.dropout = Dropout(bert.config.dropout, bert.rng)
        head = Linear(bert.config.width, outputs, bert.rng)
        self.head = head.astype(bert.tokens.weight.dtype)

    @classmethod
    def from_settings(cls, settings, config, arrays):
        layer = next(row.official for row in cls.names.rows if row.ours == ("head.weight",))
        if layer not in arrays:
            raise CheckpointError(
                f"{cls.__name__}: there is no {layer}; to begin with a new head, load BERT and "
                f"give it to {cls.__name__}"
            )
        return cls._with_outputs(
            BERT.from_settings(settings, config, arrays), len(arrays[layer]), config
        )

    @classmethod
    def _with_outputs(cls, bert, outputs, config):
        return cls(bert, outputs)

    def as_official(self):
        labels = [f"LABEL_{i}" for i in range(len(self.head.weight.data))]
        config = self.bert.official_config() | {
            "id2label": {str(i): label for i, label in enumerate(labels)},
            "label2id": {label: i for i, label in enumerate(labels)},
        }
        return official.CONFIG, self.names, config

    def forward(self, ids: np.ndarray, types=None, mask=None) -> Tensor:
        hidden = self.bert(ids, types, mask)
        return self.head(self.dropout(self.bert.pool(hidden) if self.pooled else hidden))

    def predict(self, ids: np.ndarray, types=None, mask=None) -> np.ndarray:
        """The most likely class; with dropout off.  -> logits' shape without the last axis"""
        with self.evaluating():
            return self(ids, types, mask).data.argmax(axis=-1)


class BERTClassifier(_Head):
    """One decision on a sentence or a pair.  (B, T) -> logits (B, classes)

    problem: "classes", one of them is right; "multilabel", each may be; "regression", numbers.
    """

    def __init__(self, bert: BERT, classes: int, problem: str = "classes"):
        if problem not in PROBLEMS:
            known = ", ".join(PROBLEMS)
            raise ValueError(f"BERTClassifier: problem is {problem!r}; expected one of {known}")
        super().__init__(bert, classes)
        self.problem = problem

    @classmethod
    def _with_outputs(cls, bert, outputs, config):
        given = config.get("problem_type") or PROBLEMS["regression" if outputs == 1 else "classes"]
        problems = {theirs: ours for ours, theirs in PROBLEMS.items()}
        return cls(bert, outputs, problems.get(given, given))

    def as_official(self):
        table, names, config = super().as_official()
        return table, names, config | {"problem_type": PROBLEMS[self.problem]}

    def loss(self, ids: np.ndarray, labels: np.ndarray, types=None, mask=None) -> Tensor:
        """Mean cross-entropy, of each yes or no (multilabel), or mean squared error (regression).

        labels: (B,) classes; (B, classes) numbers from 0 to 1; (B, classes) or, of one, (B,).
        """
        logits = self(ids, types, mask)
        if self.problem == "classes":
            return ops.cross_entropy(logits, labels)
        labels = np.asarray(labels, logits.dtype)
        if labels.shape == logits.shape[:1] and logits.shape[1] == 1:
            labels = labels[:, None]
        if labels.shape != logits.shape:
            raise ValueError(
                f"BERTClassifier: labels have shape {labels.shape}; expected {logits.shape}"
            )
        if self.problem == "regression":
            error = logits - labels
            return (error * error).mean()
        if not ((labels >= 0) & (labels <= 1)).all():
            raise ValueError("BERTClassifier: a label is outside 0 to 1")
        yes_no = ops.log_softmax(
            ops.stack([logits, logits * 0], axis=-1)
        )  # sigmoid is softmax of 2
        return -(yes_no * np.stack([labels, 1 - labels], axis=-1)).sum(axis=-1).mean()

    def predict(self, ids: np.ndarray, types=None, mask=None) -> np.ndarray:
        """Classes (B,); or booleans (B, classes); or numbers (B, classes); with dropout off."""
        if self.problem == "classes":
            return super().predict(ids, types, mask)
        with self.evaluating():
            logits = self(ids, types, mask).data
        return logits > 0 if self.problem == "multilabel" else logits


class BERTTagger(_Head):
    """A decision on each token.  (B, T) -> logits (B, T, classes)"""

    pooled = False
    names = official.TAGGER

    def loss(self, ids: np.ndarray, labels: np.ndarray, types=None, mask=None) -> Tensor:
        """Mean cross-entropy.  labels: (B, T) classes, -100 where none counts (padding, pieces)."""
        return ops.cross_entropy(self(ids, types, mask), labels)


class BERTSpans(_Head):
    """Where the answer to a question begins and ends.  (B, T) -> logits (B, T, 2)"""

    pooled = False
    names = official.SPANS

    def __init__(self, bert: BERT):
        super().__init__(bert, 2)
        self.dropout = Dropout(0.0, bert.rng)  # the authors' has none here

    @classmethod
    def _with_outputs(cls, bert, outputs, config):
        return cls(bert)

    def loss(
        self, ids: np.ndarray, starts: np.ndarray, ends: np.ndarray, types=None, mask=None
    ) -> Tensor:
        """Mean of both ends' cross-entropies over all T positions.

        starts, ends: (B,) first and last token; one at T or beyond was cut off and is not scored.
        """
        logits = self(ids, types, mask)
        T = logits.shape[1]

        def one_end(i, places):
            places = np.asarray(places)
            return ops.cross_entropy(logits[:, :, i], np.where(places >= T, -100, places))

        return (one_end(0, starts) + one_end(1, ends)) * 0.5

    def answer(self, ids: np.ndarray, types=None, mask=None, longest: int = 30) -> np.ndarray:
        """The best start <= end of at most ``longest`` real tokens, dropout off.  -> (B, 2)"""
        with self.evaluating():
            logits = self(ids, types, mask).data
        real = self.bert.real(ids, mask)
        T = real.shape[1]
        ahead = np.arange(T) - np.arange(T)[:, None]
        allowed = (ahead >= 0) & (ahead < longest) & real[:, :, None] & real[:, None, :]
        scores = logits[:, :, None, 0] + logits[:, None, :, 1]  # B T T
        best = np.where(allowed, scores, -np.inf).reshape(-1, T * T).argmax(axis=1)
        return np.stack([best // T, best % T], axis=1)


class BERTChoice(_Head):
    """One of K sequences.  ids, types, mask: (B, K, T) -> logits (B, K)"""

    names = official.CHOICE

    def __init__(self, bert: BERT):
        super().__init__(bert, 1)

    @classmethod
    def _with_outputs(cls, bert, outputs, config):
        return cls(bert)

    def forward(self, ids: np.ndarray, types=None, mask=None) -> Tensor:
        ids = np.asarray(ids)
        if ids.ndim != 3:
            raise ValueError(f"BERTChoice: ids have shape {ids.shape}; expected (B, K, T)")
        B, K, T = ids.shape

        def rows(x):
            return None if x is None else np.reshape(x, (B * K, T))

        scores = super().forward(rows(ids), rows(types), rows(mask))
        return scores.reshape(B, K)  # (B K) 1 -> B K

    def loss(self, ids: np.ndarray, labels: np.ndarray, types=None, mask=None) -> Tensor:
        """Mean cross-entropy.  labels: (B,), which of the K is right."""
        return ops.cross_entropy(self(ids, types, mask), labels)
