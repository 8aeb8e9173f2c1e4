"""Layers for images, (B, C, H, W): convolution and batch normalisation."""

from __future__ import annotations

import math

import numpy as np

from .. import ops
from ..tensor import Tensor
from .module import Module, buffer, constant, normal


class Conv2d(Module):
    """Each window times each of the kernels.  (B, inputs, H, W) -> (B, outputs, rows, columns)

    weight: (outputs, inputs / groups, kernel, kernel), starts as N(0, std^2); std: unless given,
    sqrt(2 / (outputs / groups * kernel^2)), which keeps the size of gradients through a ReLU
    (He et al. 2015).  bias: (outputs,), starts at 0, or None.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        rng: np.random.Generator,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        std: float | None = None,
    ):
        if groups < 1 or inputs % groups or outputs % groups:
            raise ValueError(
                f"Conv2d: {inputs} inputs and {outputs} outputs cannot be divided among "
                f"{groups} groups"
            )
        std = math.sqrt(2 * groups / (outputs * kernel**2)) if std is None else std
        self.weight = normal(rng, std, outputs, inputs // groups, kernel, kernel)
        self.bias = constant(0, outputs) if bias else None
        self.options = stride, padding, dilation, groups

    def forward(self, x: Tensor) -> Tensor:
        return ops.conv2d(x, self.weight, self.bias, *self.options)


class ConvTranspose2d(Module):
    """Each pixel paints a kernel, ``stride`` apart.  (B, inputs, H, W) -> (B, outputs, H', W')

    weight: (inputs, outputs, kernel, kernel), starts as N(0, std^2).  bias: (outputs,), starts at
    0.  For H' and W' see ``ops.conv_transpose2d``.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        rng: np.random.Generator,
        *,
        stride: int = 1,
        padding: int = 0,
        std: float = 0.02,
    ):
        self.weight = normal(rng, std, inputs, outputs, kernel, kernel)
        self.bias = constant(0, outputs)
        self.options = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return ops.conv_transpose2d(x, self.weight, self.bias, *self.options)


class BatchNorm2d(Module):
    """Normalise each channel, then scale and shift (Ioffe and Szegedy 2015).  Keeps the shape.

    While training, with the moments of the batch, of which it keeps running means: each batch
    counts ``momentum``, and the variance is the unbiased one.  Otherwise with these.  weight:
    (width,), starts at 1; bias: (width,), starts at 0.  frozen: never with the batch's moments,
    and nothing is trained, as DETR wants it.
    """

    def __init__(
        self, width: int, eps: float = 1e-5, momentum: float = 0.1, *, frozen: bool = False
    ):
        make = buffer if frozen else constant
        self.weight = make(1, width)
        self.bias = make(0, width)
        self.running_mean = buffer(0, width)
        self.running_var = buffer(1, width)
        self.eps = eps
        self.momentum = momentum
        self.frozen = frozen

    def forward(
        self, x: Tensor, residual: Tensor | None = None, activation: str = "identity"
    ) -> Tensor:
        """activation(norm(x) + residual): both are free, in the same pass over memory."""
        running = self.running_mean, self.running_var
        options = residual, activation, self.eps
        if self.frozen or not self.training:
            return ops.batch_norm(
                x, self.weight, self.bias, *options, tuple(z.data for z in running)
            )
        moments = np.empty((2, *self.weight.shape), x.dtype)
        y = ops.batch_norm(x, self.weight, self.bias, *options, moments=moments)
        for old, new in zip(running, moments, strict=True):
            old.data += self.momentum * (new - old.data)
            old.version += 1
        return y
