"""BERT's two pre-training tasks (section 3.1), learnt at once."""

from __future__ import annotations

import numpy as np

from ... import ops
from ...checkpoint import Pretrained
from ...nn import LayerNorm, Linear, Module, constant
from ...tensor import Tensor
from ..official import bert as official
from .model import BERT


class MaskedLMHead(Module):
    """Scores of every token, by the transposed token table after one more layer.

    (..., C) -> (..., V)
    """

    def __init__(self, bert: BERT):
        c = bert.config
        self.transform = Linear(c.width, c.width, bert.rng, activation=c.activation)
        self.norm = LayerNorm(c.width, c.eps)
        self.bias = constant(0, c.vocab_size)

    def forward(self, hidden: Tensor, table: Tensor) -> Tensor:
        return ops.linear(self.norm(self.transform(hidden)), table, self.bias)


class BERTPretraining(Pretrained):
    """Masked language model and next sentence prediction, or one of them."""

    configs = BERT.configs

    def __init__(self, bert: BERT, mlm: bool = True, nsp: bool = True):
        if not (mlm or nsp):
            raise ValueError("BERTPretraining: neither mlm nor nsp; expected at least one task")
        self.bert = bert.with_pooler(nsp)
        dtype = bert.tokens.weight.dtype
        self.mlm = MaskedLMHead(bert).astype(dtype) if mlm else None
        self.nsp = Linear(bert.config.width, 2, bert.rng).astype(dtype) if nsp else None

    @classmethod
    def from_settings(cls, settings, config, arrays) -> BERTPretraining:
        """With the tasks whose weights are there."""
        mlm, nsp = ("cls.predictions.bias" in arrays, "cls.seq_relationship.weight" in arrays)
        return cls(BERT.from_settings(settings, config, arrays), mlm, nsp)

    def as_official(self):
        tables = {(True, True): official.PRETRAINING, (True, False): official.MASKED_LM}
        names = tables.get((bool(self.mlm), bool(self.nsp)), official.NEXT_SENTENCE)
        return official.CONFIG, names, self.bert.official_config()

    def forward(
        self, ids: np.ndarray, types=None, mask=None
    ) -> tuple[Tensor | None, Tensor | None]:
        """ids, types, mask: (B, T), as BERT has them

        -> logits of the tokens (B, T, V) and of "is next", "is not" (B, 2); None without the task.
        """
        hidden = self.bert(ids, types, mask)
        tokens = self.mlm(hidden, self.bert.tokens.weight) if self.mlm else None
        return tokens, self.nsp(self.bert.pool(hidden)) if self.nsp else None

    def losses(
        self, ids: np.ndarray, targets=None, follows=None, types=None, mask=None
    ) -> dict[str, Tensor]:
        """Mean cross-entropy of each task, by its name.

        targets: (B, T), what stood at masked places, -100 elsewhere.  follows: (B,), 0 where the
        second sentence is the next one, 1 where it is not.  Raises ValueError if those of a task
        are missing.
        """
        for name, head, labels in (("targets", self.mlm, targets), ("follows", self.nsp, follows)):
            if (head is None) != (labels is None):
                what = "missing" if labels is None else "given, but there is no such task"
                raise ValueError(f"BERTPretraining: {name} are {what}")
        hidden = self.bert(ids, types, mask)
        losses = {}
        if self.mlm:
            targets = np.asarray(targets)
            if targets.shape != hidden.shape[:2]:
                raise ValueError(
                    f"BERTPretraining: targets have shape {targets.shape}; "
                    f"expected {hidden.shape[:2]}"
                )
            places = np.nonzero(targets != -100)  # the others need no scores
            tokens = self.mlm(hidden[places], self.bert.tokens.weight)
            losses["mlm"] = ops.cross_entropy(tokens, targets[places])
        if self.nsp:
            losses["nsp"] = ops.cross_entropy(self.nsp(self.bert.pool(hidden)), follows)
        return losses

    def loss(self, ids: np.ndarray, targets=None, follows=None, types=None, mask=None) -> Tensor:
        """The sum of ``losses``, nats."""
        losses = list(self.losses(ids, targets, follows, types, mask).values())
        return losses[0] + losses[1] if len(losses) == 2 else losses[0]
