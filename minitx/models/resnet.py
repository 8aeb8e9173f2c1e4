"""ResNet: layers that learn what to add to their input, so that a hundred of them can be trained.

He et al. 2016, "Deep Residual Learning for Image Recognition"  https://arxiv.org/abs/1512.03385

Where we deviate or choose:
- Bottlenecks halve the image in their 3 x 3 convolution, not in the 1 x 1 before it ("version
  1.5", which torchvision, transformers and timm have, and which is more accurate).
- A shortcut whose shape changes is a 1 x 1 convolution (the paper's option B) in the forms for
  small images, too, where the paper pads with zeros (option A).
- ``small`` forms begin with a 3 x 3 convolution and do not pool, as in the paper's section 4.2.
- Batch normalisation, the shortcut's addition and ReLU are one pass over memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import ops
from ..nn import BatchNorm2d, Conv2d, Linear, Module
from ..tensor import Tensor


@dataclass(frozen=True)
class ResNetConfig:
    depths: tuple[int, ...]  # blocks in each stage; all stages but the first halve the image
    bottleneck: bool  # blocks of three convolutions, 1 x 1, 3 x 3 and 1 x 1, not of two 3 x 3
    classes: int = 1000
    channels: int = 3  # of the images
    stem: int = 64  # channels after the first convolution
    widths: tuple[int, ...] = (64, 128, 256, 512)  # channels of each stage's 3 x 3 convolutions
    expansion: int = 4  # how many times as many channels a bottleneck puts out
    small: bool = False  # the stem keeps the image's size; otherwise it divides it by four
    frozen_norm: bool = False  # normalise with stored statistics, and train none of it
    eps: float = 1e-5  # of every batch normalisation

    def __post_init__(self):
        if not self.depths or len(self.depths) != len(self.widths):
            raise ValueError(
                f"ResNetConfig: depths {self.depths} and widths {self.widths}; "
                "expected one of each for every stage"
            )
        numbers = self.classes, self.channels, self.stem, self.expansion
        if min(*self.depths, *self.widths, *numbers) < 1 or self.eps <= 0:
            raise ValueError(f"ResNetConfig: {self}; expected numbers of at least 1, and eps > 0")

    @property
    def reduction(self) -> int:
        """How many pixels of the image, across, one pixel of the last stage stands for."""
        return (1 if self.small else 4) * 2 ** (len(self.depths) - 1)

    @property
    def outputs(self) -> tuple[int, ...]:
        """Channels that each stage puts out."""
        return tuple(w * (self.expansion if self.bottleneck else 1) for w in self.widths)

    @classmethod
    def resnet18(cls, **changes: Any) -> ResNetConfig:
        return cls((2, 2, 2, 2), False, **changes)

    @classmethod
    def resnet34(cls, **changes: Any) -> ResNetConfig:
        return cls((3, 4, 6, 3), False, **changes)

    @classmethod
    def resnet50(cls, **changes: Any) -> ResNetConfig:
        return cls((3, 4, 6, 3), True, **changes)

    @classmethod
    def resnet101(cls, **changes: Any) -> ResNetConfig:
        return cls((3, 4, 23, 3), True, **changes)

    @classmethod
    def resnet152(cls, **changes: Any) -> ResNetConfig:
        return cls((3, 8, 36, 3), True, **changes)

    @classmethod
    def cifar(cls, n: int = 3, width: int = 16, **changes: Any) -> ResNetConfig:
        """The paper's 6 n + 2 layers for images of 32 x 32 pixels (section 4.2), or fewer."""
        widths = width, 2 * width, 4 * width
        settings: dict[str, Any] = {"classes": 10, "stem": width, "widths": widths, "small": True}
        return cls((n, n, n), False, **settings | changes)


class Residual(Module):
    """relu(shortcut(x) + f(x)), f being two or three convolutions (He et al. 2016, figure 5).

    (B, inputs, H, W) -> (B, outputs, H / stride, W / stride)
    """

    def __init__(self, c: ResNetConfig, stage: int, inputs: int, stride: int, rng):
        width, outputs = c.widths[stage], c.outputs[stage]

        def conv(inputs, outputs, kernel, stride=1):
            padding = kernel // 2
            return Conv2d(inputs, outputs, kernel, rng, stride=stride, padding=padding, bias=False)

        def norm(width):
            return BatchNorm2d(width, c.eps, frozen=c.frozen_norm)

        if c.bottleneck:
            self.conv1, self.norm1 = conv(inputs, width, 1), norm(width)
            self.conv2, self.norm2 = conv(width, width, 3, stride), norm(width)
            self.conv3, self.norm3 = conv(width, outputs, 1), norm(outputs)
        else:
            self.conv1, self.norm1 = conv(inputs, width, 3, stride), norm(width)
            self.conv2, self.norm2 = conv(width, outputs, 3), norm(outputs)
        self.bottleneck = c.bottleneck
        self.projects = inputs != outputs or stride != 1
        if self.projects:
            self.shortcut, self.shortcut_norm = conv(inputs, outputs, 1, stride), norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut_norm(self.shortcut(x)) if self.projects else x
        x = self.norm1(self.conv1(x), activation="relu")
        if self.bottleneck:
            x = self.norm2(self.conv2(x), activation="relu")
            return self.norm3(self.conv3(x), shortcut, "relu")
        return self.norm2(self.conv2(x), shortcut, "relu")


class ResNet(Module):
    """``loss(images, labels)`` to train, ``model(images)`` for logits, ``features`` for others."""

    def __init__(self, config: ResNetConfig, rng: np.random.Generator | int = 0):
        c, rng = config, np.random.default_rng(rng)
        self.config = config
        kernel, stride = (3, 1) if c.small else (7, 2)
        self.stem = Conv2d(
            c.channels, c.stem, kernel, rng, stride=stride, padding=kernel // 2, bias=False
        )
        self.stem_norm = BatchNorm2d(c.stem, c.eps, frozen=c.frozen_norm)
        self.stages = []
        inputs = c.stem
        for stage, depth in enumerate(c.depths):
            blocks = []
            for i in range(depth):
                stride = 2 if stage and i == 0 else 1
                blocks.append(Residual(c, stage, inputs, stride, rng))
                inputs = c.outputs[stage]
            self.stages.append(blocks)
        self.head = Linear(inputs, c.classes, rng, std=0.01)

    def features(self, images: Tensor | np.ndarray) -> list[Tensor]:
        """What each stage puts out, from fine to coarse.

        images: (B, channels, H, W) floats, normalised -> (B, outputs, H / r, W / r) each, r twice
        as large from stage to stage, from 4 (1 if ``small``) up to ``config.reduction``.
        """
        self._check(images)
        x = self.stem_norm(self.stem(images), activation="relu")
        if not self.config.small:
            x = ops.max_pool2d(x, 3, 2, 1)
        stages = []
        for blocks in self.stages:
            for block in blocks:
                x = block(x)
            stages.append(x)
        return stages

    def forward(self, images: Tensor | np.ndarray) -> Tensor:
        """Logits: (B, channels, H, W) -> (B, classes)"""
        pooled = self.features(images)[-1].mean(axis=(2, 3))  # B C H W -> B C
        return self.head(pooled)

    def loss(
        self, images: Tensor | np.ndarray, labels: np.ndarray, label_smoothing: float = 0.0
    ) -> Tensor:
        """Mean of -log p(label), in nats.  labels: (B,) integers in [0, classes)"""
        return ops.cross_entropy(self(images), labels, label_smoothing=label_smoothing)

    def _check(self, images: Tensor | np.ndarray) -> None:
        c, shape = self.config, np.shape(images)
        if len(shape) != 4 or shape[1] != c.channels:
            raise ValueError(f"ResNet: images {shape}; expected (B, {c.channels}, H, W)")
        if images.dtype.kind != "f":
            raise TypeError(
                f"ResNet: images have dtype {images.dtype}; expected floats, normalised: "
                "subtract the data set's mean and divide by its standard deviation"
            )
        if min(shape[2:]) < c.reduction:
            raise ValueError(
                f"ResNet: images of {shape[2]} x {shape[3]} pixels are too small; "
                f"expected at least {c.reduction} x {c.reduction}"
            )
