"""ViT: an image is a sentence of patches, and the Transformer's encoder reads it.

Dosovitskiy et al. 2020, "An Image is Worth 16x16 Words: Transformers for Image Recognition at
    Scale"  https://arxiv.org/abs/2010.11929
Tiny and Small are those of Touvron et al. 2020 (DeiT)  https://arxiv.org/abs/2012.12877

Where we deviate or choose:
- Dropout is on embeddings, attention probabilities and residual branches, but not between the two
  layers of an MLP; the presets leave it off.
- Matrices start as Glorot and Bengio 2010 would have an MLP's, but normally distributed, and the
  head starts like them; where a new head replaces another, it starts at zero (section 3.2).
- With ``pool="mean"`` the mean is over patches, not the class token, and is normalised after it, as
  most descendants do; the paper (appendix D.3) has no class token then.
- Stochastic depth (Huang et al. 2016), for the descendants: rates rise from 0 at the first block.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from .. import ops
from ..nn import (
    Block,
    Dropout,
    Encoder,
    LayerNorm,
    Linear,
    Module,
    PatchEmbedding,
    normal,
    sinusoids,
)
from ..nn.patches import Images, Pair, resize_grid, sinusoids_in_plane
from ..ops.checks import pair
from ..tensor import Tensor


@dataclass(frozen=True)
class ViTConfig:
    image_size: int | Pair  # pixels down and right; other sizes resize the positions
    patch: int | Pair  # pixels that one token stands for
    layers: int
    heads: int
    width: int  # C, of tokens
    hidden: int = 0  # width of the MLPs; 0: four times as wide as tokens
    channels: int = 3  # of the images
    classes: int = 1000  # 0: no head, the model gives features
    pool: str = "cls"  # what represents the image: the class token or the "mean" of the others
    positions: str = "learned"  # or fixed: "plane" sinusoids (MAE), sinusoids in "line" (T2T-ViT)
    dropout: float = 0.0
    drop_path: float = 0.0  # stochastic depth, of the last block
    eps: float = 1e-6  # of every layer norm
    qkv_bias: bool = True
    scale: float | None = None  # of scores; 1 / sqrt(C / heads) unless given
    head_hidden: int = 0  # the head's tanh layer in pre-training (section 3.1); 0: none

    def __post_init__(self):
        name = type(self).__name__
        for field in ("layers", "heads", "width", "channels"):
            if getattr(self, field) < 1:
                raise ValueError(f"{name}: {field} is {getattr(self, field)}; expected at least 1")
        if min(self.classes, self.hidden, self.head_hidden) < 0:
            raise ValueError(
                f"{name}: classes {self.classes}, hidden {self.hidden}, "
                f"head_hidden {self.head_hidden}; expected 0 or more"
            )
        if self.width % self.heads:
            raise ValueError(f"{name}: width {self.width} is not a multiple of heads {self.heads}")
        H, W = pair(name, "image_size", self.image_size)
        p, q = pair(name, "patch", self.patch)
        if H % p or W % q:
            raise ValueError(
                f"{name}: image_size {H} x {W} does not divide into patches of {p} x {q}"
            )
        for field, known in (("pool", ("cls", "mean")), ("positions", tuple(_TABLES))):
            if getattr(self, field) not in known:
                expected = " or ".join(map(repr, known))
                raise ValueError(
                    f"{name}: {field} is {getattr(self, field)!r}; expected {expected}"
                )
        if not (0 <= self.dropout < 1 and 0 <= self.drop_path < 1 and self.eps > 0):
            raise ValueError(
                f"{name}: dropout {self.dropout}, drop_path {self.drop_path}, eps {self.eps}; "
                "expected 0 <= dropout, drop_path < 1 and eps > 0"
            )

    @property
    def patch_size(self) -> Pair:
        """Pixels of a patch, down and right."""
        return pair("ViTConfig", "patch", self.patch)

    @property
    def grid(self) -> Pair:
        """Tokens of an image, down and right."""
        (H, W), (p, q) = pair("ViTConfig", "image_size", self.image_size), self.patch_size
        return H // p, W // q

    @classmethod
    def tiny(cls, image_size: int | Pair = 224, patch: int | Pair = 16, **fields) -> ViTConfig:
        return cls(image_size, patch, 12, 3, 192, **fields)

    @classmethod
    def small(cls, image_size: int | Pair = 224, patch: int | Pair = 16, **fields) -> ViTConfig:
        return cls(image_size, patch, 12, 6, 384, **fields)

    @classmethod
    def base(cls, image_size: int | Pair = 224, patch: int | Pair = 16, **fields) -> ViTConfig:
        return cls(image_size, patch, 12, 12, 768, **fields)

    @classmethod
    def large(cls, image_size: int | Pair = 224, patch: int | Pair = 16, **fields) -> ViTConfig:
        return cls(image_size, patch, 24, 16, 1024, **fields)

    @classmethod
    def huge(cls, image_size: int | Pair = 224, patch: int | Pair = 14, **fields) -> ViTConfig:
        return cls(image_size, patch, 32, 16, 1280, **fields)


_TABLES = {  # of fixed positions, the class token's first; a learned one starts as noise
    "learned": None,
    "plane": lambda grid, width: np.pad(sinusoids_in_plane(grid, width), ((1, 0), (0, 0))),
    "line": lambda grid, width: sinusoids(1 + grid[0] * grid[1], width),
}


class HybridEmbedding(Module):
    """Tokens from a convolutional network's features (section 3.1, "Hybrid Architecture").

    stem: (B, C', H, W) images -> (B, channels, h, w) features; patches of ``patch`` of its places.
    """

    def __init__(
        self,
        stem: Module,
        channels: int,
        width: int,
        rng: np.random.Generator,
        patch: int | Pair = 1,
    ):
        self.stem = stem
        self.patches = PatchEmbedding(channels, width, patch, rng)

    def forward(self, images: Images) -> Tensor:
        return self.patches(self.stem(images))


class ViT(Encoder):
    """``loss(images, targets)`` to train, ``predict(images)`` to classify.

    Images are float arrays or tensors, (B, channels, H, W), of any size that patches divide.
    patches: what makes a grid of tokens of them, (B, h, w, width); a PatchEmbedding unless given.
    """

    def __init__(
        self,
        config: ViTConfig,
        rng: np.random.Generator | int = 0,
        patches: Module | None = None,
    ):
        c, rng = config, np.random.default_rng(rng)
        hidden = c.hidden or 4 * c.width
        std = math.sqrt(2 / (c.width + hidden))
        self.config = c
        self.rng = rng  # of the initial weights, then of dropout
        self.patches = patches or PatchEmbedding(c.channels, c.width, c.patch, rng)
        self.cls = normal(rng, 0.02, c.width)
        self.positions = self._first_positions(c, rng)
        self.dropout = Dropout(c.dropout, rng)
        blocks = [
            Block(
                c.width,
                c.heads,
                rng,
                hidden=hidden,
                dropout=c.dropout,
                drop_path=c.drop_path * i / max(1, c.layers - 1),
                eps=c.eps,
                bias=c.qkv_bias,
                scale=c.scale,
                std=std,
            )
            for i in range(c.layers)
        ]
        norm, cls_token = LayerNorm(c.width, c.eps), c.pool == "cls"
        super().__init__(blocks, norm if cls_token else None)
        self.pooled_norm = None if cls_token else norm
        inputs = c.head_hidden or c.width
        self.head_hidden = Linear(c.width, inputs, rng, std=std) if c.head_hidden else None
        self.head = Linear(inputs, c.classes, rng, std=std) if c.classes else None

    @staticmethod
    def _first_positions(config: ViTConfig, rng: np.random.Generator) -> Tensor:
        (h, w), table = config.grid, _TABLES[config.positions]
        if table is None:
            return normal(rng, 0.02, 1 + h * w, config.width)
        return Tensor(table(config.grid, config.width), dtype=np.float32)

    def positions_in(self, grid: Pair) -> Tensor:
        """The table for a grid of tokens, the class token's row first: (1 + h w, C)

        Resized if the grid is not the one of the config (section 3.2).
        """
        if grid == self.config.grid:
            return self.positions
        resized = resize_grid(self.positions[1:], self.config.grid, grid)
        return ops.concatenate([self.positions[:1], resized])

    def embed(self, images: Images) -> Tensor:
        """Class token and patches, plus positions (equation 1): (B, channels, H, W) -> (B, T, C)"""
        x = self.patches(images)
        B, h, w, C = x.shape
        x = x.reshape(B, h * w, C)  # B h w C -> B (h w) C
        x = ops.concatenate([ops.broadcast_to(self.cls, (B, 1, C)), x], axis=1)
        return self.dropout(x + self.positions_in((h, w)))

    def hidden_states(self, images: Images) -> list[Tensor]:
        """The embedding and every block's output (equations 2 and 3): (B, T, C) each.

        The last is after the final norm, if it is the class token that represents the image.
        """
        return self.states(self.embed(images))

    def features(self, images: Images) -> Tensor:
        """What represents the image (equation 4): (B, channels, H, W) -> (B, C)"""
        x = self.hidden_states(images)[-1]
        return x[:, 0] if self.pooled_norm is None else self.pooled_norm(x[:, 1:].mean(axis=1))

    def forward(self, images: Images) -> Tensor:
        """Logits of the classes, (B, classes); features where there is no head."""
        x = self.features(images)
        if self.head_hidden is not None:
            x = ops.tanh(self.head_hidden(x))
        return x if self.head is None else self.head(x)

    def loss(self, images: Images, targets: np.ndarray, label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy, nats.  targets: (B,) classes or (B, classes) floats, probabilities.

        label_smoothing: the share of probability spread evenly over all classes.
        """
        if self.head is None:
            raise ValueError(f"{type(self).__name__}.loss: there are no classes; see ``adapted``")
        soft = np.asarray(targets).dtype.kind == "f"
        cross_entropy = ops.soft_cross_entropy if soft else ops.cross_entropy
        return cross_entropy(self(images), targets, label_smoothing=label_smoothing)

    def predict(self, images: Images) -> np.ndarray:
        """The most likely class, (B,); with dropout off."""
        with self.evaluating():
            return self(images).data.argmax(axis=-1)

    def attention_maps(self, images: Images) -> list[np.ndarray]:
        """Each block's attention probabilities, (B, heads, T, T); with dropout off.

        Row i: what token i looks at.  Token 0 is the class token, then patches row by row.
        """
        with self.evaluating():
            return self.probabilities(self.embed(images))

    def adapted(self, rng: np.random.Generator | int = 0, **fields) -> ViT:
        """A copy with some fields of the config changed, to fine-tune (section 3.2).

        A new head starts at zero; to another ``image_size`` the positions are resized; what else is
        new is drawn from ``rng``.  All that fits is kept, always what makes tokens of images.
        """
        if fixed := fields.keys() & {"patch", "channels", "width"}:
            raise ValueError(f"{type(self).__name__}.adapted: {', '.join(fixed)} cannot change")
        config = dataclasses.replace(self.config, **fields)
        model = ViT(config, rng, copy.deepcopy(self.patches)).astype(self.cls.dtype)
        own, state = self.state_dict(), model.state_dict()
        own["positions"] = self.positions_in(config.grid).data
        for name, x in state.items():
            if name in own and own[name].shape == x.shape:
                state[name] = own[name]
            elif name.startswith("head."):
                state[name] = np.zeros_like(x)
        model.load_state_dict(state)
        return model
