"""The layers of PyTorch's models, under minitx's names.

One product for query, key and value, and scaled_dot_product_attention.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn


def split(x, count: int, heads: int):
    """(B, T, count * H * D) -> count tensors (B, H, T, D)"""
    B, T, _ = x.shape
    return x.view(B, T, count, heads, -1).permute(2, 0, 3, 1, 4)


def join(x):
    """(B, H, T, D) -> (B, T, H * D)"""
    return x.transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int, bias: bool = True):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias)
        self.output = nn.Linear(width, width)

    def forward(self, x, mask=None, causal=False, cache=None, past=0):
        """x: (B, T, C); cache: (2, B, H, context, D), of which ``past`` are filled -> (B, T, C)"""
        T = x.shape[1]
        q, k, v = split(self.qkv(x), 3, self.heads)
        if cache is not None:
            keys, values = cache
            keys[:, :, past : past + T], values[:, :, past : past + T] = k, v
            k, v = keys[:, :, : past + T], values[:, :, : past + T]
        causal = causal and past == 0
        return self.output(join(F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal)))


class CrossAttention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x, context, mask=None):
        """x: (B, T, C), context: (B, S, C), mask: bool (B, 1, 1, S) -> (B, T, C)"""
        (q,) = split(self.query(x), 1, self.heads)
        k, v = split(self.kv(context), 2, self.heads)
        return self.output(join(F.scaled_dot_product_attention(q, k, v, mask)))


def gelu_tanh(x):
    return F.gelu(x, approximate="tanh")


class MLP(nn.Module):
    def __init__(self, width: int, hidden: int, activation=F.gelu):
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.activation = activation

    def forward(self, x):
        return self.down(self.activation(self.up(x)))


class Block(nn.Module):
    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int | None = None,
        *,
        norm_first: bool = True,
        cross: bool = False,
        activation=F.gelu,
        eps: float = 1e-5,
        bias: bool = True,
    ):
        super().__init__()
        self.norm_first = norm_first
        self.norm1, self.norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.attention = SelfAttention(width, heads, bias)
        if cross:
            self.cross_norm = nn.LayerNorm(width, eps)
            self.cross_attention = CrossAttention(width, heads)
        self.mlp = MLP(width, hidden or 4 * width, activation)

    def forward(self, x, context=None, context_mask=None, **options):
        """options: of the attention to x itself"""
        x = self.residual(x, self.norm1, self.attention, **options)
        if context is not None:
            x = self.residual(x, self.cross_norm, self.cross_attention, context, context_mask)
        return self.residual(x, self.norm2, self.mlp)

    def residual(self, x, norm, f, *inputs, **options):
        if self.norm_first:
            return x + f(norm(x), *inputs, **options)
        return norm(x + f(x, *inputs, **options))


class Encoder(nn.Module):
    def __init__(self, blocks, norm=None):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm

    def forward(self, x, **options):
        for block in self.blocks:
            x = block(x, **options)
        return x if self.norm is None else self.norm(x)
