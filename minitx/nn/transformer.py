"""The Transformer block, in both orders of residual and normalisation, and the stack of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import kernels
from ..observer import no_grad
from ..ops.activation import activation_index
from ..tensor import Tensor
from .attention import KVCache, MultiHeadAttention
from .layers import Dropout, DropPath, LayerNorm, Linear
from .module import Module


class MLP(Module):
    """down(activation(up(x))), position by position (Vaswani et al. 2017, section 3.3)."""

    def __init__(
        self,
        width: int,
        hidden: int,
        rng: np.random.Generator,
        activation: str = "gelu",
        std: float = 0.02,
        output_std: float | None = None,
    ):
        self.up = Linear(width, hidden, rng, std=std, activation=activation)
        self.down = Linear(hidden, width, rng, std=std if output_std is None else output_std)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.up(x))


class Block(Module):
    """Attention, cross-attention if asked for, MLP; each with residual, normalisation and dropout.

    norm_first: x + f(norm(x)) (pre-norm: GPT-2, ViT); otherwise norm(x + f(x)) (post-norm: the
    Transformer, BERT, GPT-1).  hidden: width of the MLP, four times ``width`` unless given.  bias:
    of query, key and value.  scale, window: of the attention's scores; see ``ops.attend``.
    drop_path: the probability with which an example skips a branch in training.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        rng: np.random.Generator,
        *,
        hidden: int | None = None,
        norm_first: bool = True,
        activation: str = "gelu",
        dropout: float = 0.0,
        drop_path: float = 0.0,
        eps: float = 1e-5,
        bias: bool = True,
        scale: float | None = None,
        window: int = 0,
        cross_attention: bool = False,
        std: float = 0.02,
        output_std: float | None = None,
    ):
        common: dict[str, Any] = {
            "bias": bias,
            "dropout": dropout,
            "scale": scale,
            "std": std,
            "output_std": output_std,
        }
        self.norm1 = LayerNorm(width, eps)
        self.attention = MultiHeadAttention(width, heads, rng, window=window, **common)
        if cross_attention:
            self.cross_norm = LayerNorm(width, eps)
            self.cross_attention = MultiHeadAttention(width, heads, rng, **common)
        self.norm2 = LayerNorm(width, eps)
        self.mlp = MLP(width, hidden or 4 * width, rng, activation, std, output_std)
        self.dropout = Dropout(dropout, rng)
        self.drop_path = DropPath(drop_path, rng)
        self.norm_first = norm_first

    def forward(
        self,
        x: Tensor,
        mask: np.ndarray | None = None,
        causal: bool = False,
        context: Tensor | None = None,
        context_mask: np.ndarray | None = None,
        cache: KVCache | None = None,
        context_cache: KVCache | None = None,
    ) -> Tensor:
        """x: (B, T, C), context: (B, S, C), masks: four axes as in ``ops.attend`` -> (B, T, C)

        cache, context_cache: of the two attentions; see ``MultiHeadAttention``.
        """
        if context is not None and not hasattr(self, "cross_attention"):
            raise ValueError("Block: given a context, but built without cross_attention=True")

        def attend(y):
            return self.attention(y, mask=mask, causal=causal, cache=cache)

        def attend_across(y):
            return self.cross_attention(y, context, context_mask, cache=context_cache)

        x = self._residual(x, self.norm1, attend)
        if context is not None:
            x = self._residual(x, self.cross_norm, attend_across)
        return self._residual(x, self.norm2, self.mlp)

    def decode(self, x: np.ndarray, cache: KVCache) -> np.ndarray:
        """``forward`` of the one position after those in the cache, causal: (B, C) -> (B, C)

        One kernel does it all.  Dropout is off, and nothing is recorded.  Raises ValueError on a
        cache that is empty, full, or of another batch or dtype.
        """
        attention, mlp, known = self.attention, self.mlp, cache.seen()[0]
        if not cache.length or len(x) != len(known) or x.dtype != known.dtype:
            raise ValueError(
                f"Block.decode: x is {x.dtype}{x.shape} after keys {known.dtype}{known.shape}; "
                "expected the same batch and dtype, and at least one position before it"
            )
        length, width = cache.room(1), known.shape[3]
        pairs = [
            (self.norm1.weight, self.norm1.bias),
            attention.joined(),
            (attention.output.weight, attention.output.bias),
            (self.norm2.weight, self.norm2.bias),
            (mlp.up.weight, mlp.up.bias),
            (mlp.down.weight, mlp.down.bias),
        ]
        weights = [None if w is None else w.data for pair in pairs for w in pair]
        activation = activation_index("Block", mlp.up.activation)
        scale = width**-0.5 if attention.scale is None else attention.scale
        settings = self.norm_first, activation, self.norm1.eps, attention.window, scale
        y = kernels.decode(x, weights, cache.keys, cache.values, length, *settings)
        cache.length = length + 1
        return y

    def probabilities(
        self, x: Tensor, mask: np.ndarray | None = None, causal: bool = False
    ) -> np.ndarray:
        """How much each query looks at each key, dropout off: (B, T, C) -> (B, H, T, T)"""
        y = self.norm1(x) if self.norm_first else x
        return self.attention.probabilities(y, mask, causal)

    def _residual(self, x: Tensor, norm: LayerNorm, f: Callable[[Tensor], Tensor]) -> Tensor:
        if self.norm_first:
            return x + self.drop_path(self.dropout(f(norm(x))))
        return norm(x + self.drop_path(self.dropout(f(x))))


class Encoder(Module):
    """Blocks one after another, then a final norm if there is one (pre-norm).

    A model that is such a stack derives from this class, and so names its parameters
    ``blocks.{}...`` and ``norm...``.  Without an encoder's states it is a decoder as well (GPT).
    """

    def __init__(self, blocks: list[Block], norm: LayerNorm | None = None):
        self.blocks = blocks
        self.norm = norm

    def states(
        self,
        x: Tensor,
        mask: np.ndarray | None = None,
        causal: bool = False,
        context: Tensor | None = None,
        context_mask: np.ndarray | None = None,
        caches: list[KVCache] | None = None,
        context_caches: list[KVCache] | None = None,
    ) -> list[Tensor]:
        """x and every block's output, the last after the final norm: (B, T, C) each.

        Arguments as Block has them; caches, context_caches: one per block.
        """
        states = [x]
        for i, block in enumerate(self.blocks):
            pair = (each[i] if each else None for each in (caches, context_caches))
            states.append(block(states[-1], mask, causal, context, context_mask, *pair))
        if self.norm is not None:
            states[-1] = self.norm(states[-1])
        return states

    def forward(self, *args: Any, **options: Any) -> Any:
        """The last of ``states``: (B, T, C) -> (B, T, C)"""
        return self.states(*args, **options)[-1]

    def decode(self, x: np.ndarray, caches: list[KVCache]) -> np.ndarray:
        """The last of ``states`` for one more position, as ``Block.decode`` has it: (B, C)"""
        with no_grad():
            for block, cache in zip(self.blocks, caches, strict=True):
                x = block.decode(x, cache)
            return x if self.norm is None else self.norm(x).data

    def probabilities(
        self, x: Tensor, mask: np.ndarray | None = None, causal: bool = False
    ) -> list[np.ndarray]:
        """Every block's attention probabilities, (B, H, T, T) each, with dropout off."""
        with self.evaluating():
            states = self.states(x, mask, causal)
        pairs = zip(self.blocks, states, strict=False)  # what the last block made, no block sees
        return [block.probabilities(state, mask, causal) for block, state in pairs]
