"""The Transformer: an encoder reads a sentence, a decoder writes another.

Vaswani et al. 2017, "Attention Is All You Need"  https://arxiv.org/abs/1706.03762
Length penalty of the search: Wu et al. 2016, section 7  https://arxiv.org/abs/1609.08144

Where we deviate or choose:
- Options that later models need: pre-norm, final norms (torch.nn.Transformer has them, the paper
  does not), other activations, sinusoids in halves and a bias of the output (MarianMT).
- Dropout is also on the attention probabilities, as in the authors' code.
- The paper does not tell the initial weights.  Ours are normal, with a standard deviation of one
  over the root of the inputs' number, and embeddings such that they have variance 1 once scaled.
- Label smoothing: the paper spreads 0.1 over the vocabulary; three readings are in use, see
  ``SMOOTHINGS``.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from .. import ops
from ..checkpoint import CheckpointError, Pretrained
from ..nn import Block, Dropout, Embedding, Encoder, KVCache, LayerNorm, sinusoids
from ..tensor import Tensor
from .decoding import beam_search, greedy_search
from .official.transformer import MARIAN, MARIAN_CONFIG

# Who gets the e that label smoothing takes from the right token: all V tokens (PyTorch); all but
# the right one (fairseq); all but the right one and padding (the Annotated Transformer, whose loss
# is a KL divergence: it is 0, not the smoothed distribution's entropy, where nothing is wrong).
SMOOTHINGS = ("torch", "fairseq", "annotated")


@dataclass(frozen=True)
class TransformerConfig:
    vocab_size: int  # of both languages together: one table embeds both and scores the output
    layers: int = 6  # N, of the encoder
    heads: int = 8
    width: int = 512  # d_model
    hidden: int = 2048  # d_ff, of the MLPs
    decoder_layers: int | None = None  # as many as the encoder has, unless given
    dropout: float = 0.1
    label_smoothing: float = 0.1
    smoothing: str = "torch"  # one of SMOOTHINGS
    activation: str = "relu"
    norm_first: bool = False  # pre-norm instead of the paper's post-norm
    final_norm: bool = False  # one more norm after encoder and decoder; pre-norm needs it
    eps: float = 1e-5  # of every layer norm
    halves: bool = False  # sinusoids as [sines | cosines] instead of alternating
    output_bias: bool = False  # a constant added to the logits
    pad: int = 0  # id that fills up sentences; its embedding learns nothing but as an output
    start: int = 1  # id that a translation begins with
    end: int = 2  # id that it ends with

    def __post_init__(self):
        for name in ("vocab_size", "layers", "heads", "width", "hidden", "decoder_layers"):
            size = getattr(self, name)
            if size is not None and size < 1:
                raise ValueError(f"TransformerConfig: {name} is {size}; expected at least 1")
        if self.width % self.heads or self.width % 2:
            raise ValueError(
                f"TransformerConfig: width {self.width} is not a multiple of heads {self.heads} "
                "and of 2"
            )
        if not (0 <= self.dropout < 1 and 0 <= self.label_smoothing < 1 and self.eps > 0):
            raise ValueError(
                f"TransformerConfig: dropout {self.dropout}, label_smoothing "
                f"{self.label_smoothing}, eps {self.eps}; expected 0 <= dropout < 1, "
                "0 <= label_smoothing < 1 and eps > 0"
            )
        if self.smoothing not in SMOOTHINGS:
            known = ", ".join(SMOOTHINGS)
            raise ValueError(
                f"TransformerConfig: smoothing is {self.smoothing!r}; expected one of {known}"
            )
        for name in ("pad", "start", "end"):
            if not 0 <= getattr(self, name) < self.vocab_size:
                raise ValueError(
                    f"TransformerConfig: {name} is {getattr(self, name)}; "
                    f"expected an id in [0, {self.vocab_size})"
                )

    @classmethod
    def base(cls, vocab_size: int = 37000) -> TransformerConfig:
        """English to German (table 3): 65 million parameters there, rounded."""
        return cls(vocab_size)

    @classmethod
    def big(cls, vocab_size: int = 37000) -> TransformerConfig:
        return cls(vocab_size, heads=16, width=1024, hidden=4096, dropout=0.3)

    @classmethod
    def tiny(cls, vocab_size: int = 37000) -> TransformerConfig:
        """For a laptop: toy tasks in a minute."""
        return cls(vocab_size, layers=2, heads=4, width=64, hidden=256, dropout=0.0)


class Transformer(Pretrained):
    """``loss(source, inputs, targets)`` to train, ``translate(source)`` to use."""

    configs = (MARIAN_CONFIG,)

    def __init__(self, config: TransformerConfig, rng: np.random.Generator | int = 0):
        c, rng = config, np.random.default_rng(rng)
        self.config = config
        self.rng = rng  # of the initial weights, then of dropout
        self.tokens = Embedding(c.vocab_size, c.width, rng, c.width**-0.5, padding_idx=c.pad)
        self.dropout = Dropout(c.dropout, rng)
        self.encoder = self._stack(c.layers, cross_attention=False)
        self.decoder = self._stack(c.decoder_layers or c.layers, cross_attention=True)
        if c.output_bias:
            self.output_bias = Tensor(np.zeros(c.vocab_size, np.float32))  # not trained

    def _stack(self, layers: int, cross_attention: bool) -> Encoder:
        c = self.config
        blocks = [
            Block(
                c.width,
                c.heads,
                self.rng,
                hidden=c.hidden,
                norm_first=c.norm_first,
                activation=c.activation,
                dropout=c.dropout,
                eps=c.eps,
                cross_attention=cross_attention,
                std=c.width**-0.5,
                output_std=c.hidden**-0.5,
            )
            for _ in range(layers)
        ]
        return Encoder(blocks, LayerNorm(c.width, c.eps) if c.final_norm else None)

    @classmethod
    def from_settings(cls, settings, config, arrays) -> Transformer:
        return cls(TransformerConfig(**settings))

    def as_official(self):
        c = self.config
        settings = dataclasses.asdict(c) | {"decoder_layers": c.decoder_layers or c.layers}
        if not MARIAN_CONFIG.describes(settings):
            raise CheckpointError("Transformer: no official class has a configuration like this")
        return MARIAN_CONFIG, MARIAN, MARIAN_CONFIG.save(settings)

    def embed(self, ids: np.ndarray, first: int = 0) -> Tensor:
        """sqrt(d) * embedding + sinusoid (sections 3.4, 3.5).  ids: (B, T) -> (B, T, C)

        first: the position of the first id.
        """
        C, length = self.config.width, first + ids.shape[1]
        positions = sinusoids(length, C, self.config.halves)[first:]
        x = self.tokens(ids) * math.sqrt(C)
        return self.dropout(x + positions.astype(x.dtype))

    def encode(self, source: np.ndarray) -> Tensor:
        """What the decoder attends to.  source: (B, S) ids -> (B, S, C)

        Padding is not attended to.  Raises ValueError on a sentence that is nothing else.
        """
        source = _check_ids("source", source)
        return self.encoder(self.embed(source), self._key_mask(source))

    def decode(
        self,
        inputs: np.ndarray,
        memory: Tensor,
        source: np.ndarray,
        caches: tuple[list[KVCache], list[KVCache]] | None = None,
    ) -> Tensor:
        """Position t sees inputs up to t and all of the source.  inputs: (B, T) ids -> (B, T, C)

        memory: of ``encode(source)``.  caches: of self- and cross-attention, one per block each;
        then ``inputs`` are what follows the positions that are in them.
        """
        inputs = _check_ids("inputs", inputs)
        own, across = caches or (None, None)
        x = self.embed(inputs, own[0].length if own else 0)
        mask = self._key_mask(source)
        return self.decoder(x, None, True, memory, mask, own, across)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of every token, by the transposed token table: (..., C) -> (..., V)"""
        bias = self.output_bias if self.config.output_bias else None
        return ops.linear(hidden, self.tokens.weight, bias)

    def forward(self, source: np.ndarray, inputs: np.ndarray) -> Tensor:
        """source: (B, S), inputs: (B, T) ids -> logits (B, T, V)"""
        return self.logits(self.decode(inputs, self.encode(source), source))

    def loss(self, source: np.ndarray, inputs: np.ndarray, targets: np.ndarray) -> Tensor:
        """Mean smoothed cross-entropy over the targets that are not padding, in nats per token.

        source: (B, S).  inputs: (B, T), a translation from its start token on; targets: (B, T), the
        same one token later, up to its end token; padding or -100 is not scored.
        """
        c = self.config
        logits = self(source, inputs)
        return smoothed_cross_entropy(logits, targets, c.label_smoothing, c.smoothing, c.pad)

    def translate(
        self,
        source: np.ndarray,
        count: int | None = None,
        *,
        beams: int = 4,
        alpha: float = 0.6,
        use_cache: bool = True,
    ) -> np.ndarray:
        """The translation of each sentence, without the start token; padded after the end token.

        source: (B, S) -> (B, <= count) ids.  count: the most tokens, S + 50 unless given.  beams:
        candidates, 1 for greedy search.  alpha: the length penalty.  beams, alpha and count are the
        paper's (section 6.1).  With dropout off.
        """
        source = _check_ids("source", source)
        B, S = source.shape
        count = S + 50 if count is None else count
        start, c = np.full(B, self.config.start), self.config
        with self.evaluating():
            memory = self.encode(source).data
            if beams > 1:  # each candidate has a row of its own
                memory, source = (np.repeat(x, beams, axis=0) for x in (memory, source))
            step = self._step(Tensor(memory), source, count if use_cache else 0)
            if beams == 1:
                return greedy_search(step, start, c.end, count, c.pad)
            return beam_search(step, start, c.end, count, beams, alpha, c.pad)[0]

    def _step(self, memory: Tensor, source: np.ndarray, capacity: int):
        """What comes next, as the searches ask for it; without caches if the capacity is 0."""
        blocks = len(self.decoder.blocks)
        own = [KVCache(capacity) for _ in range(blocks)]
        across = [KVCache(source.shape[1]) for _ in range(blocks)]

        def step(tokens: np.ndarray, rows: np.ndarray) -> np.ndarray:
            if not capacity:
                hidden = self.decode(tokens, memory, source)
            else:
                if tokens.shape[1] > 1:
                    for cache in own:  # across needs none: candidates of a sentence share it
                        cache.reorder(rows)
                hidden = self.decode(tokens[:, -1:], memory, source, (own, across))
            log_p = ops.log_softmax(self.logits(hidden[:, -1])).data.copy()  # B V
            log_p[:, self.config.pad] = -np.inf  # it is no word, though it has a row in the table
            return log_p

        return step

    def _key_mask(self, source: np.ndarray) -> np.ndarray:
        """Where the source is not padding, (B, S) -> (B, 1, 1, S)."""
        real = np.asarray(source) != self.config.pad
        empty = np.flatnonzero(~real.any(axis=1))
        if empty.size:
            raise ValueError(f"Transformer: source {empty[0]} is nothing but padding")
        return real[:, None, None, :]


def smoothed_cross_entropy(
    logits: Tensor, targets: np.ndarray, e: float, smoothing: str = "torch", pad: int = 0
) -> Tensor:
    """Cross-entropy with a share e for other tokens, by one of ``SMOOTHINGS``; mean of what counts.

    logits: (..., V), targets: (...); a target of ``pad`` or -100 is not scored.
    """
    targets = np.asarray(targets)
    targets, V = np.where(targets == pad, -100, targets), logits.shape[-1]
    if smoothing == "torch" or not e:
        return ops.cross_entropy(logits, targets, label_smoothing=e)
    if smoothing == "fairseq":  # e / (V - 1) each is e V / (V - 1) over all, the right one included
        return ops.cross_entropy(logits, targets, label_smoothing=e * V / (V - 1))
    share = e / (V - 2)
    spread = ops.cross_entropy(logits, targets, label_smoothing=share * V)
    kept = np.flatnonzero(targets != -100)
    rows, right = logits.reshape(-1, V), targets.reshape(-1)[kept]
    swapped = rows[kept, pad] - rows[kept, right]  # what padding has in ``spread`` is the right's
    entropy = -(1 - e) * math.log(1 - e) - e * math.log(share)
    return spread + swapped.sum() * (share / max(1, len(kept))) - entropy


def _check_ids(name: str, ids: np.ndarray) -> np.ndarray:
    ids = np.asarray(ids)
    if ids.ndim != 2 or not ids.shape[1]:
        raise ValueError(
            f"Transformer: {name} has shape {ids.shape}; expected (B, T) with at least one token"
        )
    return ids
