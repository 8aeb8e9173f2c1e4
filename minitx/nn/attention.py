"""Multi-head attention (Vaswani et al. 2017, section 3.2.2) and the cache for generation."""

from __future__ import annotations

import numpy as np

from .. import kernels, ops
from ..observer import no_grad
from ..tensor import Tensor
from .layers import Linear, joined, lay_side_by_side
from .module import Module


class KVCache:
    """The keys and values of the positions seen so far, so that each is computed once.

    ``keys`` and ``values`` are (B, H, capacity, D), filled up to ``length``.
    """

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.length = 0
        self.keys = self.values = np.empty((0, 0, 0, 0))

    def room(self, count: int) -> int:
        """How many positions there are already.  Raises ValueError if ``count`` more do not fit."""
        if (end := self.length + count) > self.capacity:
            raise ValueError(f"KVCache: {end} positions do not fit its capacity of {self.capacity}")
        return self.length

    def append(self, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Add (B, H, T, D) new positions; returns all of them as views, (B, H, length, D).

        Raises ValueError, and adds nothing, if they do not fit.
        """
        B, H, T, D = k.shape
        end = self.room(T) + T
        before = self.keys if self.length else k
        expected = (*before.shape[:2], T, before.shape[3])
        if not k.shape == v.shape == expected or not k.dtype == v.dtype == before.dtype:
            raise ValueError(
                f"KVCache: keys {k.dtype}{k.shape} and values {v.shape} after others that were "
                f"{before.dtype}{expected}; make a new cache for another batch"
            )
        if self.length == 0:
            self.keys = np.empty((B, H, self.capacity, D), k.dtype)
            self.values = np.empty_like(self.keys)
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length = end
        return self.seen()

    def seen(self) -> tuple[np.ndarray, np.ndarray]:
        """Keys and values of the positions so far, as views, (B, H, length, D)."""
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def reorder(self, rows: np.ndarray) -> None:
        """Go on with these rows of the batch, in this order: a beam continues another's past."""
        self.keys, self.values = self.keys[rows], self.values[rows]


class MultiHeadAttention(Module):
    """Each head attends with projections of width / heads of its own; ``output`` mixes the heads.

    bias: of query, key and value.  dropout: on the attention probabilities.  scale: of the scores,
    1 / sqrt(width / heads) unless given.  window: see ``ops.attend``.  context_width: the width of
    what keys and values are made from, in cross-attention; x's own unless given.
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
        if heads < 1 or width % heads:
            raise ValueError(
                f"MultiHeadAttention: width {width} cannot be divided among {heads} heads"
            )
        source = context_width or width
        self.query = Linear(width, width, rng, bias, std)
        self.key = Linear(source, width, rng, bias, std)
        self.value = Linear(source, width, rng, bias, std)
        self.output = Linear(width, width, rng, std=std if output_std is None else output_std)
        if context_width is None:
            lay_side_by_side([self.query, self.key, self.value])
        self.heads = heads
        self.dropout = dropout
        self.scale = scale
        self.window = window
        self.rng = rng

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        mask: np.ndarray | None = None,
        causal: bool = False,
        cache: KVCache | None = None,
    ) -> Tensor:
        """x: (B, T, C), context: (B, S, C') or None for x itself -> (B, T, C)

        mask: four axes, as in ``ops.attend``.  cache: of the positions of x before these; or else,
        with a context, of the context, which is then projected at the first call only.  What is
        cached may not be differentiated: raises RuntimeError where ops are recorded.
        """
        settings = {
            "causal": causal,
            "window": self.window,
            "scale": self.scale,
            "dropout": self.dropout if self.training else 0.0,
            "rng": self.rng,
        }
        B, T, C = x.shape

        def split(y):
            heads = y.reshape(B, -1, self.heads, C // self.heads)
            return heads.transpose(0, 2, 1, 3)  # B T (H D) -> B H T D

        if context is not None:
            q = self.query(x)
            if cache is None:
                k, v = split(self.key(context)), split(self.value(context))
            else:
                _check_constant(q)
                if not cache.length:
                    cache.append(split(self.key(context)).data, split(self.value(context)).data)
                k, v = cache.seen()
            q = split(q)
        else:
            qkv = self._project(x)
            if cache is None:
                return self.output(ops.self_attend(qkv, self.heads, mask, **settings))
            _check_constant(qkv)
            heads = qkv.data.reshape(B, T, 3, self.heads, C // self.heads)
            q, k, v = heads.transpose(2, 0, 3, 1, 4)  # B T 3 H D -> 3 B H T D
            k, v = cache.append(k, v)
        y = ops.attend(q, k, v, mask, **settings)
        return self.output(y.transpose(0, 2, 1, 3).reshape(B, T, C))  # B H T D -> B T (H D)

    def probabilities(
        self, x: Tensor, mask: np.ndarray | None = None, causal: bool = False
    ) -> np.ndarray:
        """The weights of the values, whole and with dropout off, for pictures.

        (B, T, C) -> (B, H, T, T); a query that may see nothing has zeros.
        """
        B, T, C = x.shape
        with no_grad():
            qkv = self._project(x).data.reshape(B, T, 3, self.heads, -1)
        q, k, _ = qkv.transpose(2, 0, 3, 1, 4)  # B T 3 H D -> 3 B H T D
        scale = (C // self.heads) ** -0.5 if self.scale is None else self.scale
        return kernels.probabilities(q, k, mask, causal, self.window, scale)

    def _project(self, x: Tensor) -> Tensor:
        """Queries, keys and values in one product: (B, T, C) -> (B, T, 3 C)"""
        return ops.linear(x, *self.joined())

    def joined(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of queries, keys and values in one: (3 C, C), and (3 C,) or None."""
        return joined([self.query, self.key, self.value])


def _check_constant(x: Tensor) -> None:
    if x.requires_grad:
        raise RuntimeError("MultiHeadAttention: a cache has no gradient; use no_grad()")
