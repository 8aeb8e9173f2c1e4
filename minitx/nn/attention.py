"""Multi-head attention (Vaswani et al. 2017, section 3.2.2) and the cache that makes generation
linear.
"""

from __future__ import annotations

import numpy as np

from .. import ops
from ..tensor import Tensor
from .layers import Linear
from .module import Module


class KVCache:
    """The keys and values of the positions seen so far, (B, H, length, D) each, with room for
    ``capacity``.
    """

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.length = 0
        self.keys = self.values = np.empty((0, 0, 0, 0))

    def append(self, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Add (B, H, T, D) new positions; returns all of them as views, (B, H, length, D)."""
        B, H, T, D = k.shape
        if self.length == 0:
            self.keys = np.empty((B, H, self.capacity, D), k.dtype)
            self.values = np.empty_like(self.keys)
        end = self.length + T
        if end > self.capacity:
            raise ValueError(f"KVCache: {end} positions do not fit its capacity of {self.capacity}")
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class MultiHeadAttention(Module):
    """Each head attends with its own projections of width / heads; ``output`` mixes the heads.

    context_width: the width of what keys and values are made from, in cross-attention; otherwise
    x's own.
    scale: of the scores, 1 / sqrt(width / heads) unless given.  window: see ``ops.attend``.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        rng: np.random.Generator,
        *,
        bias: bool = True,
        dropout: float = 0.0,
        scale: float | None = None,
        window: int = 0,
        context_width: int | None = None,
        std: float = 0.02,
        output_std: float | None = None,
    ):
        if width % heads:
            raise ValueError(
                f"MultiHeadAttention: width {width} is not a multiple of its {heads} heads"
            )
        source = context_width or width
        self.query = Linear(width, width, rng, bias, std)
        self.key = Linear(source, width, rng, bias, std)
        self.value = Linear(source, width, rng, bias, std)
        self.output = Linear(width, width, rng, std=std if output_std is None else output_std)
        self.heads, self.dropout, self.scale, self.window, self.rng = (
            heads,
            dropout,
            scale,
            window,
            rng,
        )

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        mask: np.ndarray | None = None,
        causal: bool = False,
        cache: KVCache | None = None,
    ) -> Tensor:
        """x: (B, T, C), context: (B, S, C') or None for x itself, mask: four axes as in
        ``ops.attend`` -> (B, T, C)
        """
        B, T, C = x.shape
        source = x if context is None else context

        def split(y):
            return y.reshape(B, -1, self.heads, C // self.heads).transpose(
                0, 2, 1, 3
            )  # B T (H D) -> B H T D

        q, k, v = split(self.query(x)), split(self.key(source)), split(self.value(source))
        if cache is not None:
            k, v = cache.append(k.data, v.data)
        dropout = self.dropout if self.training else 0.0
        y = ops.attend(
            q,
            k,
            v,
            mask,
            causal=causal,
            window=self.window,
            scale=self.scale,
            dropout=dropout,
            rng=self.rng,
        )
        return self.output(y.transpose(0, 2, 1, 3).reshape(B, T, C))  # B H T D -> B T (H D)
