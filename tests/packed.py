"""A small model for optimizers to pack."""

from __future__ import annotations

import numpy as np

from minitx import ops
from minitx.nn import LayerNorm, Linear, Module


class Net(Module):
    """Decayed and undecayed parameters in turn, one frozen, one tied."""

    def __init__(self, dtype=np.float64, seed=0):
        rng = np.random.default_rng(seed)
        self.norm = LayerNorm(5)
        self.one = Linear(5, 4, rng, std=0.5)
        self.frozen = Linear(2, 2, rng)
        for x in self.frozen.parameters():
            x.requires_grad = False
        self.two = Linear(4, 3, rng, std=0.5)
        self.tied = self.two.weight
        self.astype(dtype)

    def loss(self, x, y):
        difference = self.two(ops.tanh(self.one(self.norm(x)))) - y
        return (difference * difference).mean()


NAMES = ["norm.weight", "norm.bias", "one.weight", "one.bias", "two.weight", "two.bias"]
PACKED = ["one.weight", "two.weight", "norm.weight", "norm.bias", "one.bias", "two.bias"]


def set_gradients(model, rng, size=1.0):
    for x in model.parameters():
        x.grad[...] = rng.normal(0, size, x.shape)


def values(model):
    return {name: x.data.astype(np.float64) for name, x in model.named_parameters()}


def gradients(model):
    return {name: x.grad.astype(np.float64) for name, x in model.named_parameters()}
