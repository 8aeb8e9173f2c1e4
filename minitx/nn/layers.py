"""The layers that everything else is made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import ops
from ..ops.activation import activation_index
from ..tensor import Tensor
from .module import Module, constant, normal, side_by_side


class Linear(Module):
    """activation(x @ weight.T + bias).  (..., inputs) -> (..., outputs)

    weight: (outputs, inputs), starts as N(0, std^2).  bias: (outputs,), starts at 0, or None.
    activation: one that ``ops.linear`` knows.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        rng: np.random.Generator,
        bias: bool = True,
        std: float = 0.02,
        activation: str = "identity",
    ):
        activation_index("Linear", activation)  # better to fail now than at the first step
        self.weight = normal(rng, std, outputs, inputs)
        self.bias = constant(0, outputs) if bias else None
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return ops.linear(x, self.weight, self.bias, self.activation)


def lay_side_by_side(layers: Sequence[Linear]) -> None:
    """Move the weights of layers of one input, and their biases, so that ``joined`` copies none."""
    side_by_side([layer.weight for layer in layers])
    if biases := [layer.bias for layer in layers if layer.bias is not None]:
        side_by_side(biases)


def joined(layers: Sequence[Linear]) -> tuple[Tensor, Tensor | None]:
    """Layers of one input as one: weight (all outputs, inputs), and bias (all outputs,) or None."""
    biases = [layer.bias for layer in layers if layer.bias is not None]
    weight = ops.concatenate([layer.weight for layer in layers])
    return weight, ops.concatenate(biases) if biases else None


class Embedding(Module):
    """Rows of a table.  ids: (...) -> (..., width)

    weight: (count, width), starts as N(0, std^2).  padding_idx: a row that gets no gradient here.
    """

    def __init__(
        self,
        count: int,
        width: int,
        rng: np.random.Generator,
        std: float = 0.02,
        padding_idx: int | None = None,
    ):
        self.weight = normal(rng, std, count, width)
        self.padding_idx = padding_idx

    def forward(self, ids: np.ndarray) -> Tensor:
        return ops.embedding(self.weight, ids, self.padding_idx)


class LayerNorm(Module):
    """Normalise the last axis, then scale and shift (Ba et al. 2016).

    (..., width) -> (..., width).  weight: (width,), starts at 1; bias: (width,), starts at 0.
    """

    def __init__(self, width: int, eps: float = 1e-5):
        self.weight = constant(1, width)
        self.bias = constant(0, width)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return ops.layer_norm(x, self.weight, self.bias, self.eps)


class Dropout(Module):
    """Zero elements with probability p while training, drawing from the model's Generator."""

    def __init__(self, p: float, rng: np.random.Generator):
        self.p = p
        self.rng = rng

    def forward(self, x: Tensor) -> Tensor:
        return ops.dropout(x, self.p, self.rng) if self.training and self.p else x


class DropPath(Module):
    """Stochastic depth: drop the branch of whole examples in training (Huang et al. 2016).

    (B, ...) -> (B, ...), zero with probability p for each of the B, the others over 1 - p.
    """

    def __init__(self, p: float, rng: np.random.Generator):
        if not 0 <= p < 1:
            raise ValueError(f"DropPath: probability is {p}; expected 0 <= p < 1")
        self.p = p
        self.rng = rng

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.p):
            return x
        kept = self.rng.random(len(x.data)) >= self.p
        scale = kept.reshape(-1, *(1,) * (x.ndim - 1)) / (1 - self.p)
        return x * scale.astype(x.dtype)
