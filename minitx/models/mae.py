"""MAE: a ViT learns to see by painting the three quarters of an image that it was not shown.

He et al. 2021, "Masked Autoencoders Are Scalable Vision Learners"
    https://arxiv.org/abs/2111.06377

The encoder runs on the visible patches alone, so that pre-training is several times cheaper than
its length; a light decoder gets what it made of them, and one and the same mask token in all other
places.  ``MAE.encoder`` is a ViT: ``mae.encoder.adapted(classes=10, pool="mean")`` is ready to be
fine-tuned, and ``LinearProbe`` reads its features as they are.

Where we deviate or choose:
- Matrices start as those of our ViT do, rather than uniformly.
- As in the authors' code, patches keep their normalisation's epsilon under the root: 1e-6, next to
  the unbiased variance.
- The presets' decoder is the paper's (8 layers, 512 wide, 16 heads), for encoders of any size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .. import ops
from ..nn import Block, Encoder, LayerNorm, Linear, Module, constant, normal
from ..nn.patches import Images, sinusoids_in_plane
from ..tensor import Tensor
from .vit import ViT, ViTConfig

_EPS = 1e-6  # beside the variance of a patch


@dataclass(frozen=True)
class MAEConfig:
    encoder: ViTConfig  # without a head
    layers: int = 8  # of the decoder, like all below
    heads: int = 16
    width: int = 512
    hidden: int = 0  # width of the MLPs; 0: four times as wide as tokens
    mask_ratio: float = 0.75  # the share of patches that is removed
    normalised: bool = True  # to predict: pixels less their patch's mean, over its deviation
    mask_in_encoder: bool = False  # ablation (table 1c): the encoder runs on mask tokens as well

    def __post_init__(self):
        if self.encoder.classes or self.encoder.pool != "cls":
            raise ValueError(
                f"MAEConfig: the encoder has {self.encoder.classes} classes and pool "
                f"{self.encoder.pool!r}; expected classes=0 and pool='cls'"
            )
        if min(self.layers, self.heads, self.width) < 1 or self.width % self.heads:
            raise ValueError(
                f"MAEConfig: a decoder of {self.layers} layers, width {self.width}, "
                f"{self.heads} heads; expected at least 1 each, and heads that divide the width"
            )
        if not 0 < self.mask_ratio < 1 or not 0 < self.visible < self.patches:
            raise ValueError(
                f"MAEConfig: mask_ratio {self.mask_ratio} of {self.patches} patches; expected "
                "a share between 0 and 1 that removes at least one and leaves at least one"
            )

    @property
    def patches(self) -> int:
        """N, of an image."""
        return math.prod(self.encoder.grid)

    @property
    def visible(self) -> int:
        """K, how many of them the encoder sees."""
        return int(self.patches * (1 - self.mask_ratio))

    @classmethod
    def base(cls, **fields) -> MAEConfig:
        return cls(ViTConfig.base(classes=0, positions="plane"), **fields)

    @classmethod
    def large(cls, **fields) -> MAEConfig:
        return cls(ViTConfig.large(classes=0, positions="plane"), **fields)

    @classmethod
    def huge(cls, **fields) -> MAEConfig:
        return cls(ViTConfig.huge(classes=0, positions="plane"), **fields)


class MAE(Module):
    """``loss(images)`` to pre-train, ``reconstruct(images)`` to look at; then use ``encoder``."""

    def __init__(self, config: MAEConfig, rng: np.random.Generator | int = 0):
        c, rng = config, np.random.default_rng(rng)
        hidden = c.hidden or 4 * c.width
        std = math.sqrt(2 / (c.width + hidden))
        p, q = c.encoder.patch_size
        table = sinusoids_in_plane(c.encoder.grid, c.width)
        self.config = c
        self.rng = rng  # of the initial weights, then of what is removed
        self.encoder = ViT(c.encoder, rng)
        self.embed = Linear(c.encoder.width, c.width, rng, std=std)
        self.mask = normal(rng, 0.02, c.encoder.width if c.mask_in_encoder else c.width)
        self.positions = Tensor(np.pad(table, ((1, 0), (0, 0))), dtype=np.float32)
        blocks = [
            Block(c.width, c.heads, rng, hidden=hidden, eps=c.encoder.eps, std=std)
            for _ in range(c.layers)
        ]
        self.decoder = Encoder(blocks, LayerNorm(c.width, c.encoder.eps))
        self.predict = Linear(c.width, p * q * c.encoder.channels, rng, std=std)

    def patchify(self, images: Images) -> Tensor:
        """The pixels of each patch, their channels last: (B, C, H, W) -> (B, N, p q C)"""
        (h, w), (p, q) = self.config.encoder.grid, self.config.encoder.patch_size
        B, C = images.shape[:2]
        x = ops.reshape(images, B, C, h, p, w, q).transpose(0, 2, 4, 3, 5, 1)  # B h w p q C
        return x.reshape(B, h * w, p * q * C)

    def unpatchify(self, patches: Images) -> Tensor:
        """The inverse: (B, N, p q C) -> (B, C, H, W)"""
        (h, w), (p, q) = self.config.encoder.grid, self.config.encoder.patch_size
        x = ops.reshape(patches, patches.shape[0], h, w, p, q, -1).transpose(0, 5, 1, 3, 2, 4)
        return x.reshape(*x.shape[:2], h * p, w * q)  # B C h p w q -> B C (h p) (w q)

    def random_masking(self, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which patches stay: those with the least noise, shuffled (the paper's section 3).

        noise: (B, N) -> kept (B, K), the patches in shuffled order; restore (B, N), where in that
        order each patch is; removed (B, N), bool.
        """
        shuffle = np.argsort(noise, axis=1, kind="stable")
        restore = np.argsort(shuffle, axis=1)
        return shuffle[:, : self.config.visible], restore, restore >= self.config.visible

    def encode(self, images: Images, noise: np.ndarray) -> Tensor:
        """The encoder on visible patches: (B, C, H, W) -> (B, 1 + K, C'), in shuffled order."""
        vit, (kept, _, removed) = self.encoder, self.random_masking(noise)
        x = vit.patches(images)
        B, h, w, C = x.shape
        x = x.reshape(B, h * w, C)  # B h w C -> B (h w) C
        if self.config.mask_in_encoder:
            x = ops.where(removed[..., None], self.mask, x) + vit.positions[1:]
        else:
            x = _take(x + vit.positions[1:], kept)
        cls = ops.broadcast_to(vit.cls + vit.positions[0], (B, 1, C))
        return vit.states(ops.concatenate([cls, x], axis=1))[-1]

    def decode(self, encoded: Tensor, noise: np.ndarray) -> Tensor:
        """The decoder on all places: (B, 1 + K, C') -> (B, N, p q C), each patch's pixels."""
        x, (_, restore, _) = self.embed(encoded), self.random_masking(noise)
        B, _, C = x.shape
        if not self.config.mask_in_encoder:
            rest = self.config.patches - self.config.visible
            masks = ops.broadcast_to(self.mask, (B, rest, C))
            patches = _take(ops.concatenate([x[:, 1:], masks], axis=1), restore)
            x = ops.concatenate([x[:, :1], patches], axis=1)
        return self.predict(self.decoder(x + self.positions)[:, 1:])

    def forward(self, images: Images, noise: np.ndarray | None = None) -> tuple[Tensor, np.ndarray]:
        """Predicted patches (B, N, p q C), and which were removed, bool (B, N).

        noise: (B, N), ranks the patches (see ``random_masking``); drawn if not given.
        """
        noise = self._noise(images, noise)
        return self.decode(self.encode(images, noise), noise), self.random_masking(noise)[2]

    def loss(self, images: Images, noise: np.ndarray | None = None) -> Tensor:
        """Mean squared error of the removed patches' pixels; the others do not count."""
        predicted, removed = self(images, noise)
        errors = ((predicted - self._target(images)) ** 2).mean(axis=-1)  # B N
        return (errors * removed.astype(errors.dtype)).sum() / removed.sum()

    def reconstruct(
        self, images: Images, noise: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images whose removed patches are painted, (B, C, H, W), and where, bool (B, 1, H, W).

        Where the model predicts normalised pixels, the true mean and deviation are lent to it.
        """
        with self.evaluating():
            predicted, removed = self(images, noise)
            seen, painted = self.patchify(images).data, predicted.data
            if self.config.normalised:
                var = seen.var(axis=-1, ddof=1, keepdims=True)
                painted = painted * np.sqrt(var + _EPS) + seen.mean(axis=-1, keepdims=True)
            where = np.broadcast_to(removed[..., None], seen.shape)
            image = self.unpatchify(np.where(where, painted, seen)).data
            return image, self.unpatchify(where).data[:, :1]

    def _target(self, images: Images) -> Tensor:
        """What to predict, (B, N, p q C): pixels, normalised within their patch.

        That is (x - mean) / sqrt(unbiased variance + eps).  A layer norm has the biased variance,
        which is less by the factor (n - 1) / n.
        """
        x = self.patchify(images)
        if not self.config.normalised:
            return x
        n = x.shape[-1]
        weight, bias = np.full(n, math.sqrt((n - 1) / n), x.dtype), np.zeros(n, x.dtype)
        return ops.layer_norm(x, weight, bias, _EPS * (n - 1) / n)

    def _noise(self, images: Images, noise: np.ndarray | None) -> np.ndarray:
        (h, w), (p, q) = self.config.encoder.grid, self.config.encoder.patch_size
        size = tuple(images.shape[2:])
        if size != (h * p, w * q):
            raise ValueError(
                f"MAE: images of {' x '.join(map(str, size))} pixels; "
                f"expected {h * p} x {w * q}, the config's image_size"
            )
        expected = images.shape[0], h * w
        noise = self.rng.random(expected) if noise is None else np.asarray(noise)
        if noise.shape != expected:
            raise ValueError(f"MAE: noise has shape {noise.shape}; expected (B, N) = {expected}")
        return noise


def _take(x: Tensor, ids: np.ndarray) -> Tensor:
    """Each image's tokens at its ``ids``: (B, N, C), (B, K) -> (B, K, C)"""
    B, N, C = x.shape
    return ops.embedding(x.reshape(B * N, C), ids + N * np.arange(B)[:, None])


class LinearProbe(Module):
    """A linear classifier of fixed features, normalised over the batch (appendix A.1).

    features: (B, width), as ``encoder.features(images)`` gives them, with ``encoder.evaluating()``,
    once for all epochs.  The normalisation has no parameters; outside training it is by running
    averages, which a step moves by a tenth.
    """

    def __init__(self, width: int, classes: int, rng: np.random.Generator | int = 0):
        self.mean = Tensor(np.zeros(width, np.float32))
        self.var = Tensor(np.ones(width, np.float32))
        self.weight = normal(np.random.default_rng(rng), 0.01, classes, width)
        self.bias = constant(0, classes)

    def forward(self, features: np.ndarray) -> Tensor:
        """Logits, (B, classes)."""
        x = features.data if isinstance(features, Tensor) else features
        mean, var = self.mean.data, self.var.data
        if self.training:
            mean, var = x.mean(axis=0), x.var(axis=0)
            unbiased = var * x.dtype.type(len(x) / max(1, len(x) - 1))
            for running, now in ((self.mean, mean), (self.var, unbiased)):
                running.data = running.data + (now - running.data) * x.dtype.type(0.1)
        x = (x - mean) / np.sqrt(var + x.dtype.type(1e-6))
        return ops.linear(x, self.weight, self.bias)

    def loss(self, features: np.ndarray, targets: np.ndarray) -> Tensor:
        """Mean cross-entropy, nats.  targets: (B,) classes."""
        return ops.cross_entropy(self(features), targets)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The most likely class, (B,)."""
        with self.evaluating():
            return self(features).data.argmax(axis=-1)
