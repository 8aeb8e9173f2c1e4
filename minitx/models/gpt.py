"""GPT: a stack of causal Transformer blocks that predicts the next token.

GPT-1: Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training"
    https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf
GPT-2: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"
    https://openai.com/index/better-language-models/
GPT-3: Brown et al. 2020, "Language Models are Few-Shot Learners"  https://arxiv.org/abs/2005.14165

Where we deviate or choose:
- GPT-3's "alternating dense and locally banded sparse" layers (its section 2.1) are dense layers at
  even indices and a sliding window of ``window`` keys at odd ones; the paper does not say how wide,
  we take GPT-Neo's 256.
- GPT-1 starts its residual projections like all other weights; only from GPT-2 on are they scaled
  down.
- Dropout is on embeddings, attention probabilities and residual branches, as in all three; the
  presets leave it off.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .. import kernels, ops
from ..checkpoint import CheckpointError, Pretrained
from ..nn import Block, Dropout, Embedding, Encoder, KVCache, LayerNorm, evaluating
from ..observer import observed
from ..tensor import Tensor
from .official.gpt import FAMILIES
from .sampling import check_sampling, sample


@dataclass(frozen=True)
class GPTConfig:
    vocab_size: int
    context: int  # T, the most positions it can see
    layers: int
    heads: int
    width: int  # C, of embeddings and the residual stream; the MLPs are four times as wide
    dropout: float = 0.0
    norm_first: bool = True  # pre-norm and a final norm (GPT-2, GPT-3); post-norm and none (GPT-1)
    window: int = 0  # keys that odd layers see (GPT-3); 0: all layers are dense
    eps: float = 1e-5  # of every layer norm
    qkv_bias: bool = True  # False in GPT-Neo
    scaled: bool = True  # scores over sqrt(D); False in GPT-Neo
    cross_attention: bool = False  # a second attention, to an encoder's states

    def __post_init__(self):
        for name in ("vocab_size", "context", "layers", "heads", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"GPTConfig: {name} is {getattr(self, name)}; expected at least 1")
        if self.width % self.heads:
            raise ValueError(
                f"GPTConfig: width {self.width} is not a multiple of heads {self.heads}"
            )
        if not (0 <= self.dropout < 1 and self.window >= 0 and self.eps > 0):
            raise ValueError(
                f"GPTConfig: dropout {self.dropout}, window {self.window}, eps {self.eps}; "
                "expected 0 <= dropout < 1, window >= 0 and eps > 0"
            )

    @classmethod
    def gpt1(cls) -> GPTConfig:
        return cls(40478, 512, 12, 12, 768, norm_first=False)

    @classmethod
    def gpt2_small(cls) -> GPTConfig:
        return cls(50257, 1024, 12, 12, 768)

    @classmethod
    def gpt2_medium(cls) -> GPTConfig:
        return cls(50257, 1024, 24, 16, 1024)

    @classmethod
    def gpt2_large(cls) -> GPTConfig:
        return cls(50257, 1024, 36, 20, 1280)

    @classmethod
    def gpt2_xl(cls) -> GPTConfig:
        return cls(50257, 1024, 48, 25, 1600)

    @classmethod
    def gpt3_small(cls) -> GPTConfig:
        return cls(50257, 2048, 12, 12, 768, window=256)

    @classmethod
    def gpt3_175b(cls) -> GPTConfig:
        return cls(50257, 2048, 96, 96, 12288, window=256)

    @classmethod
    def gpt_neo_125m(cls) -> GPTConfig:
        return cls(50257, 2048, 12, 12, 768, window=256, qkv_bias=False, scaled=False)


class GPT(Pretrained, Encoder):
    """``loss(inputs, targets)`` to train, ``generate(prompt, count)`` to write."""

    configs = tuple(table for table, _ in FAMILIES)

    def __init__(self, config: GPTConfig, rng: np.random.Generator | int = 0):
        c, rng = config, np.random.default_rng(rng)
        output_std = 0.02 / math.sqrt(2 * c.layers) if c.norm_first else 0.02
        self.config = config
        self.rng = rng  # of the initial weights, then of dropout
        self.tokens = Embedding(c.vocab_size, c.width, rng)
        self.positions = Embedding(c.context, c.width, rng)
        self.dropout = Dropout(c.dropout, rng)
        blocks = [
            Block(
                c.width,
                c.heads,
                rng,
                norm_first=c.norm_first,
                activation="gelu_tanh",
                dropout=c.dropout,
                eps=c.eps,
                bias=c.qkv_bias,
                scale=None if c.scaled else 1.0,
                window=c.window if i % 2 else 0,
                cross_attention=c.cross_attention,
                output_std=output_std,
            )
            for i in range(c.layers)
        ]
        super().__init__(blocks, LayerNorm(c.width, c.eps) if c.norm_first else None)

    @classmethod
    def from_settings(cls, settings, config, arrays) -> GPT:
        return cls(GPTConfig(**settings))

    def as_official(self):
        settings = dataclasses.asdict(self.config)
        for table, names in FAMILIES:
            if table.describes(settings):
                return table, names, table.save(settings)
        raise CheckpointError("GPT: no official class has a configuration like this one")

    def embed(
        self, ids: np.ndarray, positions: np.ndarray | None = None, types: np.ndarray | None = None
    ) -> Tensor:
        """Token + position (+ token type, from the token table).  ids: (B, T) -> (B, T, C)"""
        ids = np.asarray(ids)
        if ids.ndim != 2:
            raise ValueError(f"GPT: ids have shape {ids.shape}; expected (B, T)")
        if positions is None:
            positions = np.arange(ids.shape[1])
        length = positions.max(initial=-1) + 1
        if length > self.config.context:
            raise ValueError(
                f"GPT: a sequence of {length} positions is longer than the context, "
                f"{self.config.context}"
            )
        x = self.tokens(ids) + self.positions(positions)
        return self.dropout(x if types is None else x + self.tokens(types))

    def hidden_states(
        self,
        ids: np.ndarray,
        *,
        positions: np.ndarray | None = None,
        types: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        encoded: Tensor | None = None,
        encoded_mask: np.ndarray | None = None,
        caches: list[KVCache] | None = None,
    ) -> list[Tensor]:
        """The embedding and every block's output, the last after the final norm: (B, T, C) each.

        ids: (B, T).  mask, encoded_mask: bool (B, S), True at real tokens.  encoded: an encoder's
        states for cross-attention, (B, S', C).  caches: one per block, of the positions before
        these.
        """
        x = self.embed(ids, positions, types)
        return self.states(x, _key_mask(mask), True, encoded, _key_mask(encoded_mask), caches)

    def forward(self, ids: np.ndarray, **options) -> Tensor:
        """The last hidden state, (B, T) -> (B, T, C); options as ``hidden_states`` has them."""
        return self.hidden_states(ids, **options)[-1]

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of every token, by the transposed token table: (..., C) -> (..., V)"""
        return ops.linear(hidden, self.tokens.weight)

    def loss(self, inputs: np.ndarray, targets: np.ndarray, **options) -> Tensor:
        """Mean of -log p(target), in nats per token (GPT-1, equation 1).

        inputs, targets: (B, T); a target of -100 is not scored.
        """
        return ops.cross_entropy(self.logits(self(inputs, **options)), targets)

    def stream(
        self,
        prompt: np.ndarray,
        count: int,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | np.random.Generator = 0,
        mask: np.ndarray | None = None,
        use_cache: bool = True,
    ) -> Iterator[np.ndarray]:
        """``count`` next tokens, (B,) each, one at a time as they are drawn.

        The model sees the last ``context`` tokens; with dropout off.
        prompt: (B, T) ids, T >= 1.  mask: bool (B, T), False at padding on the left.
        temperature, top_k, top_p: see ``sampling.sample``.
        Raises ValueError, at once, on a prompt, mask or setting of sampling that does not fit.
        """
        ids = np.asarray(prompt)
        if ids.ndim != 2 or ids.shape[1] == 0:
            raise ValueError(
                f"GPT.stream: prompt has shape {ids.shape}; expected (B, T) with at least one token"
            )
        seen = np.ones(ids.shape, bool) if mask is None else _boolean(mask)
        if seen.shape != ids.shape or not seen[:, -1].all():
            raise ValueError(
                f"GPT.stream: mask has shape {seen.shape}; expected {ids.shape}, padded on the left"
            )
        check_sampling(temperature, top_k, top_p)
        rng = np.random.default_rng(seed)
        return self._stream(ids, seen, count, use_cache, (rng, temperature, top_k, top_p))

    def _stream(self, ids, seen, count, use_cache, sampling) -> Iterator[np.ndarray]:
        caches: list[KVCache] = []
        modules = list(self.modules())
        for _ in range(count):
            ids, seen = ids[:, -self.config.context :], seen[:, -self.config.context :]
            known = caches[0].length if caches else 0
            if not use_cache or not caches or known >= ids.shape[1]:
                caches, known = [KVCache(self.config.context) for _ in self.blocks], 0
            positions = np.maximum(seen.cumsum(axis=1) - 1, 0)[:, known:]
            mask = None if seen.all() else seen
            with evaluating(modules):
                hidden = self._last_state(ids[:, known:], positions, mask, caches)
                logits = self.logits(hidden).data  # B V
            token = sample(logits, *sampling)
            yield token
            ids = np.concatenate([ids, token[:, None]], axis=1)
            seen = np.concatenate([seen, np.ones_like(token[:, None], bool)], axis=1)

    def _last_state(self, ids, positions, mask, caches) -> Tensor:
        """Of the last position, (B, C); a single one takes the short way, unless somebody looks."""
        single = ids.shape[1] == 1 and caches[0].length and mask is None
        if single and len(ids) <= kernels.FEW_ROWS and not observed():
            return Tensor(self.decode(self.embed(ids, positions).data[:, 0], caches))
        return self(ids, positions=positions, mask=mask, caches=caches)[:, -1]

    def generate(self, prompt: np.ndarray, count: int, **options) -> np.ndarray:
        """The prompt and ``count`` tokens after it, (B, T + count); options as in ``stream``."""
        tokens = self.stream(prompt, count, **options)
        return np.concatenate([prompt, *(t[:, None] for t in tokens)], axis=1)

    def extend_vocabulary(self, count: int, rng: np.random.Generator | int = 0) -> GPT:
        """A copy with ``count`` more tokens, drawn from ``rng``: delimiters for fine-tuning."""
        V, dtype = self.config.vocab_size, self.tokens.weight.dtype
        longer = GPT(dataclasses.replace(self.config, vocab_size=V + count), rng).astype(dtype)
        table = np.concatenate([self.tokens.weight.data, longer.tokens.weight.data[V:]])
        longer.load_state_dict(self.state_dict() | {"tokens.weight": table})
        return longer


def _boolean(mask: np.ndarray) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.dtype.kind not in "biu":
        raise TypeError(f"GPT: a mask has dtype {mask.dtype}; expected bool, True at real tokens")
    return mask.astype(bool)


def _key_mask(mask: np.ndarray | None) -> np.ndarray | None:
    return None if mask is None else _boolean(mask)[:, None, None, :]  # B S -> B 1 1 S
