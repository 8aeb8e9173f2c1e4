"""T2T-ViT: tokens that grow out of their neighbours, read by a deep and narrow ViT.

Yuan et al. 2021, "Tokens-to-Token ViT: Training Vision Transformers from Scratch on ImageNet"
    https://arxiv.org/abs/2101.11986
The performer: Choromanski et al. 2020, "Rethinking Attention with Performers"
    https://arxiv.org/abs/2009.14794

Where the paper is silent we do as the authors' code does:
- The layers within the T2T module have one head, an MLP no wider than its tokens, and start their
  residual at the value: the token itself is wider than what the layer makes of it.
- The backbone's positions are fixed, and count the class token as the first place.

Where we deviate or choose:
- Weights start as those of our ViT do.
- The authors' released weights scale the backbone's scores by width^-1/2, not by (width / heads)
  ^-1/2: give the presets ``scale=384**-0.5`` to load them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import ops
from ..nn import MLP, Dropout, LayerNorm, Linear, Module
from ..nn.layers import joined, lay_side_by_side
from ..nn.patches import Images, Pair, check_images
from ..ops.checks import pair
from ..tensor import Tensor
from .vit import ViT, ViTConfig

Split = tuple[int, int, int]  # kernel, stride and padding of a soft split


def deep_narrow(
    image_size: int | Pair, patch: int, layers: int, heads: int, width: int, **fields
) -> ViTConfig:
    """The backbone (section 3.2): many layers, few channels, MLPs three times as wide."""
    fixed: dict[str, Any] = {"positions": "line", "eps": 1e-5, "qkv_bias": False}
    return ViTConfig(image_size, patch, layers, heads, width, 3 * width, **(fixed | fields))


@dataclass(frozen=True)
class T2TViTConfig:
    backbone: ViTConfig  # its patch: the product of the splits' strides
    tokens: str = "performer"  # the layers between splits: "performer" or "transformer"
    token_width: int = 64  # of what they make
    splits: tuple[Split, ...] = ((7, 4, 2), (3, 2, 1), (3, 2, 1))
    features: float = 0.5  # of the performer's kernel, as a share of token_width

    def __post_init__(self):
        if self.tokens not in _LAYERS:
            known = " or ".join(map(repr, _LAYERS))
            raise ValueError(f"T2TViTConfig: tokens is {self.tokens!r}; expected {known}")
        if self.token_width < 1 or not 0 < self.features <= 1 or not self.splits:
            raise ValueError(
                f"T2TViTConfig: token_width {self.token_width}, features {self.features}, "
                f"splits {self.splits}; expected a width, a share of it, and at least one split"
            )
        size = pair("T2TViTConfig", "image_size", self.backbone.image_size)
        for split in self.splits:
            size = _grid(size, split)
        if size != self.backbone.grid:
            raise ValueError(
                f"T2TViTConfig: the splits end with {size} tokens, the backbone's image_size and "
                f"patch with {self.backbone.grid}; its patch is the product of the strides, "
                f"{math.prod(stride for _, stride, _ in self.splits)}"
            )

    @classmethod
    def t2t_vit_14(cls, image_size: int | Pair = 224, **fields) -> T2TViTConfig:
        return cls(deep_narrow(image_size, 16, 14, 6, 384, **fields))

    @classmethod
    def t2t_vit_19(cls, image_size: int | Pair = 224, **fields) -> T2TViTConfig:
        return cls(deep_narrow(image_size, 16, 19, 7, 448, **fields))

    @classmethod
    def t2t_vit_24(cls, image_size: int | Pair = 224, **fields) -> T2TViTConfig:
        return cls(deep_narrow(image_size, 16, 24, 8, 512, **fields))

    @classmethod
    def t2t_vit_t_14(cls, image_size: int | Pair = 224, **fields) -> T2TViTConfig:
        return cls(deep_narrow(image_size, 16, 14, 6, 384, **fields), "transformer")

    @classmethod
    def for_small_images(cls, image_size: int | Pair = 28, **fields) -> T2TViTConfig:
        """Of digits and icons: the first split keeps every pixel, and a token is 4 x 4 of them."""
        splits = ((3, 1, 1), (3, 2, 1), (3, 2, 1))
        return cls(deep_narrow(image_size, 4, 6, 4, 64, **fields), token_width=16, splits=splits)


def _grid(size: Pair, split: Split) -> Pair:
    """How many windows a split has, down and right."""
    kernel, stride, padding = split
    h, w = ((n + 2 * padding - kernel) // stride + 1 for n in size)
    return h, w


class TokenLayer(Module):
    """A Transformer layer from wide tokens to narrow ones.  (B, T, inputs) -> (B, T, width)

    It differs from a Block in its residual, which starts at the value.  bias: of query, key, value.
    """

    def __init__(
        self, inputs: int, width: int, rng: np.random.Generator, bias: bool, dropout: float
    ):
        std = 1 / math.sqrt(width)
        self.norm1 = LayerNorm(inputs)
        self.query = Linear(inputs, width, rng, bias, 1 / math.sqrt(inputs))
        self.key = Linear(inputs, width, rng, bias, 1 / math.sqrt(inputs))
        self.value = Linear(inputs, width, rng, bias, 1 / math.sqrt(inputs))
        self.output = Linear(width, width, rng, std=std)
        self.norm2 = LayerNorm(width)
        self.mlp = MLP(width, width, rng, std=std)
        self.dropout = Dropout(dropout, rng)

    def attend(self, x: Tensor, v: Tensor) -> Tensor:
        """x: (B, T, inputs), from which queries and keys are made, v: (B, T, width) -> like v"""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x)
        v = self.value(x)
        x = v + self.dropout(self.output(self.attend(x, v)))
        return x + self.dropout(self.mlp(self.norm2(x)))


class TokenTransformer(TokenLayer):
    """With softmax attention, of cost T^2; scores over the square root of ``inputs``."""

    def __init__(
        self, inputs: int, width: int, rng: np.random.Generator, features: float, dropout: float
    ):
        super().__init__(inputs, width, rng, bias=False, dropout=dropout)
        self.scale = 1 / math.sqrt(inputs)

    def attend(self, x: Tensor, v: Tensor) -> Tensor:
        q, k, v = (y[:, None] for y in (self.query(x), self.key(x), v))  # B T C -> B 1 T C
        return ops.attend(q, k, v, scale=self.scale)[:, 0]


class TokenPerformer(TokenLayer):
    """With a kernel that is a product of features, so that the cost is linear in T.

    exp(q k^T) is the mean of exp(w q - q^2 / 2) exp(w k - k^2 / 2) over normal w; ``directions``,
    (m, width), are m of them, orthogonal (for less variance), sqrt(m) long and fixed.
    """

    def __init__(
        self, inputs: int, width: int, rng: np.random.Generator, features: float, dropout: float
    ):
        super().__init__(inputs, width, rng, bias=True, dropout=dropout)
        m = max(1, int(width * features))
        orthogonal, _ = np.linalg.qr(rng.standard_normal((width, m)))
        self.directions = Tensor(orthogonal.T * math.sqrt(m), dtype=np.float32)
        lay_side_by_side([self.query, self.key])

    def features(self, x: Tensor) -> Tensor:
        """exp(w x - |x|^2 / 2) / sqrt(m): (..., width) -> (..., m)"""
        return ops.positive_features(ops.linear(x, self.directions), x)

    def attend(self, x: Tensor, v: Tensor) -> Tensor:
        (B, T, C), both = v.shape, ops.linear(x, *joined([self.query, self.key]))
        qk = self.features(both.reshape(B, T, 2, C))  # B T (2 C) -> B T 2 m
        return ops.linear_attend(qk, v)


_LAYERS = {"performer": TokenPerformer, "transformer": TokenTransformer}


class TokensToToken(Module):
    """The T2T module (section 3.1): (B, channels, H, W) -> (B, h, w, width)

    Each soft split joins tokens that overlap, and so halves the grid or more; between splits a
    layer makes the tokens narrow again, and they are laid out as an image.
    """

    def __init__(self, config: T2TViTConfig, rng: np.random.Generator):
        c, inputs = config, []
        channels = c.backbone.channels
        for kernel, _, _ in c.splits:
            inputs.append(channels * kernel * kernel)
            channels = c.token_width
        layer, dropout = _LAYERS[c.tokens], c.backbone.dropout
        self.config = c
        self.layers = [layer(n, c.token_width, rng, c.features, dropout) for n in inputs[:-1]]
        self.project = Linear(inputs[-1], c.backbone.width, rng, std=1 / math.sqrt(inputs[-1]))

    def soft_split(self, image: Images, split: Split) -> Tensor:
        """Overlapping patches as tokens: (B, C, H, W) -> (B, T, C k k)"""
        return ops.unfold(image, *split)

    def restructure(self, tokens: Tensor, grid: Pair) -> Tensor:
        """Tokens as an image again: (B, T, C) -> (B, C, h, w)"""
        B, _, C = tokens.shape
        return tokens.transpose(0, 2, 1).reshape(B, C, *grid)

    def forward(self, images: Images) -> Tensor:
        """Raises TypeError or ValueError on images that do not fit."""
        c = self.config
        check_images("T2TViT", images, c.backbone.channels, c.backbone.patch_size)
        tokens = self.soft_split(images, c.splits[0])
        grid = _grid(images.shape[2:], c.splits[0])
        for layer, split in zip(self.layers, c.splits[1:], strict=True):
            image = self.restructure(layer(tokens), grid)
            tokens, grid = self.soft_split(image, split), _grid(grid, split)
        return self.project(tokens).reshape(images.shape[0], *grid, -1)  # B T C -> B h w C


class T2TViT(ViT):
    """A ViT, ``config.backbone``, whose patches are a T2T module's tokens."""

    def __init__(self, config: T2TViTConfig, rng: np.random.Generator | int = 0):
        rng = np.random.default_rng(rng)
        super().__init__(config.backbone, rng, TokensToToken(config, rng))
