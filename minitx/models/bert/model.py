"""BERT: the Transformer's encoder, pre-trained to fill gaps and to tell what follows what.

Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding"  https://arxiv.org/abs/1810.04805

Where we deviate or choose:
- Initial weights are N(0, 0.02^2); the authors cut that off at two standard deviations.
- ``embed`` is not in the paper: the mean of the last states, as Reimers and Gurevych 2019 have it
  (https://arxiv.org/abs/1908.10084).
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass

import numpy as np

from ... import ops
from ...checkpoint import Pretrained
from ...nn import Block, Dropout, Embedding, Encoder, LayerNorm, Linear
from ...tensor import Tensor
from ..official import bert as official


@dataclass(frozen=True)
class BERTConfig:
    vocab_size: int = 30522
    context: int = 512  # T, the most positions it can see
    layers: int = 12  # L
    heads: int = 12  # A
    width: int = 768  # H, of embeddings and states
    hidden: int | None = None  # of the MLPs; 4 * width unless given
    types: int = 2  # segments: sentence A, sentence B
    dropout: float = 0.1  # of embeddings, attention probabilities, residual branches and heads
    activation: str = "gelu"
    eps: float = 1e-12  # of every layer norm
    pad: int = 0  # id of padding; its embedding learns nothing but as an output

    def __post_init__(self):
        for name in ("vocab_size", "context", "layers", "heads", "width", "types"):
            if getattr(self, name) < 1:
                raise ValueError(f"BERTConfig: {name} is {getattr(self, name)}; expected >= 1")
        if self.width % self.heads:
            raise ValueError(
                f"BERTConfig: width {self.width} is not a multiple of heads {self.heads}"
            )
        if not (0 <= self.dropout < 1 and self.eps > 0 and 0 <= self.pad < self.vocab_size):
            raise ValueError(
                f"BERTConfig: dropout {self.dropout}, eps {self.eps}, pad {self.pad}; expected "
                f"0 <= dropout < 1, eps > 0 and 0 <= pad < {self.vocab_size}"
            )

    @classmethod
    def tiny(cls, vocab_size: int = 30522) -> BERTConfig:
        """The smallest of Turc et al. 2019 (https://arxiv.org/abs/1908.08962), for a laptop."""
        return cls(vocab_size, layers=2, heads=2, width=128)

    @classmethod
    def base(cls) -> BERTConfig:
        return cls()

    @classmethod
    def large(cls) -> BERTConfig:
        return cls(layers=24, heads=16, width=1024)


class BERT(Pretrained, Encoder):
    """States of every token, (B, T, C), each of which has seen the whole sequence.

    pooler: a dense layer with tanh on the first token's state, which sentence-level heads read.
    """

    configs = (official.CONFIG,)

    def __init__(self, config: BERTConfig, rng: np.random.Generator | int = 0, pooler: bool = True):
        c, rng = config, np.random.default_rng(rng)
        self.config = config
        self.rng = rng  # of the initial weights, then of dropout
        self.tokens = Embedding(c.vocab_size, c.width, rng, padding_idx=c.pad)
        self.positions = Embedding(c.context, c.width, rng)
        self.types = Embedding(c.types, c.width, rng)
        self.input_norm = LayerNorm(c.width, c.eps)
        self.dropout = Dropout(c.dropout, rng)
        super().__init__(
            [
                Block(
                    c.width,
                    c.heads,
                    rng,
                    hidden=c.hidden,
                    norm_first=False,
                    activation=c.activation,
                    dropout=c.dropout,
                    eps=c.eps,
                )
                for _ in range(c.layers)
            ]
        )
        self.pooler = Linear(c.width, c.width, rng) if pooler else None

    def with_pooler(self, wanted: bool = True) -> BERT:
        """This model, weights shared, with its pooler (a new one if it has none), or without."""
        if wanted == (self.pooler is not None):
            return self
        twin = copy.copy(self)
        twin.pooler = None
        if wanted:
            C = self.config.width
            twin.pooler = Linear(C, C, self.rng).astype(self.tokens.weight.dtype)
        return twin

    @classmethod
    def from_settings(cls, settings, config, arrays) -> BERT:
        """Without pooler where the files have none, as those of token-level heads."""
        return cls(BERTConfig(**settings), pooler=any("pooler.dense." in name for name in arrays))

    def as_official(self):
        return official.CONFIG, official.MODEL, self.official_config()

    def official_config(self) -> dict:
        """What the body has in ``config.json``."""
        c = self.config
        hidden = c.hidden or 4 * c.width
        return official.CONFIG.save(dataclasses.asdict(c) | {"hidden": hidden})

    def represent(self, ids: np.ndarray, types: np.ndarray | None = None) -> Tensor:
        """Token + position + segment (figure 2), normalised.  ids, types: (B, T) -> (B, T, C)"""
        ids = np.asarray(ids)
        if ids.ndim != 2 or not ids.shape[1]:
            raise ValueError(
                f"BERT: ids have shape {ids.shape}; expected (B, T) with at least one token"
            )
        if ids.shape[1] > self.config.context:
            raise ValueError(
                f"BERT: a sequence of {ids.shape[1]} tokens is longer than the position table, "
                f"{self.config.context}"
            )
        types = np.zeros_like(ids) if types is None else np.asarray(types)
        if types.shape != ids.shape:
            raise ValueError(f"BERT: types have shape {types.shape}; expected {ids.shape}")
        x = self.tokens(ids) + self.positions(np.arange(ids.shape[1])) + self.types(types)
        return self.dropout(self.input_norm(x))

    def hidden_states(
        self, ids: np.ndarray, types: np.ndarray | None = None, mask: np.ndarray | None = None
    ) -> list[Tensor]:
        """The embedding and every block's output, (B, T, C) each.

        ids: (B, T).  types: (B, T), 0 in sentence A and 1 in sentence B; all 0 unless given.
        mask: (B, T), True at real tokens, which alone are attended to; all are unless given.
        """
        x = self.represent(ids, types)
        return self.states(x, None if mask is None else self.real(ids, mask)[:, None, None, :])

    def forward(self, ids: np.ndarray, types=None, mask=None) -> Tensor:
        """The last of ``hidden_states``: (B, T) -> (B, T, C)"""
        return self.hidden_states(ids, types, mask)[-1]

    def pool(self, hidden: Tensor) -> Tensor:
        """The sequence as one vector: (B, T, C) -> (B, C)"""
        if self.pooler is None:
            raise ValueError("BERT: there is no pooler; use with_pooler()")
        return ops.tanh(self.pooler(hidden[:, 0]))

    def embed(self, ids: np.ndarray, types=None, mask=None) -> Tensor:
        """Sentences as vectors of length 1, whose products tell how near they are in meaning.

        The mean of the real tokens' last states: (B, T) -> (B, C)
        """
        hidden = self(ids, types, mask)
        real = self.real(ids, mask)
        share = (real / real.sum(axis=1, keepdims=True)).astype(hidden.dtype)
        mean = (hidden * share[:, :, None]).sum(axis=1)  # B T C -> B C
        return mean / ops.sqrt((mean * mean).sum(axis=1, keepdims=True))

    def real(self, ids: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        """Where the real tokens are, bool (B, T).  Raises on a mask that tells of no such thing."""
        ids = np.asarray(ids)
        real = np.ones(ids.shape, bool) if mask is None else np.asarray(mask)
        if real.dtype.kind not in "biu":
            raise TypeError(
                f"BERT: mask has dtype {real.dtype}; expected bool, True at real tokens"
            )
        if real.shape != ids.shape:
            raise ValueError(f"BERT: mask has shape {real.shape}; expected {ids.shape}")
        real = real.astype(bool)
        empty = np.flatnonzero(~real.any(axis=1))
        if empty.size:
            raise ValueError(f"BERT: row {empty[0]} of the mask is all padding; leave it out")
        return real
