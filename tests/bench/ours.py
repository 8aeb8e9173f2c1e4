"""minitx's side of each task: a class of the same name, whose ``step()`` is timed."""

from __future__ import annotations

import pathlib

import minitx as mx  # before NumPy: until that is loaded, its BLAS's core type can be chosen
from minitx.models import GPT, GPTConfig
from minitx.optim import AdamW

from . import tasks

# isort: split
import numpy as np


def build(task: tasks.Model, folder: pathlib.Path) -> GPT:
    """A GPT; leaves its weights in the folder, for others to compute the same."""
    model = GPT(GPTConfig(task.vocab, task.context, task.layers, task.heads, task.width))
    np.savez(folder / "weights.npz", **model.state_dict())
    return model


class Training:
    def __init__(self, task: tasks.Training, folder: pathlib.Path):
        self.task = task
        self.model = build(task, folder)
        self.optimizer = AdamW(self.model, lr=1e-3, weight_decay=0.01)
        self.rng = np.random.default_rng(0)

    def step(self) -> float:
        ids = self.task.ids(self.rng)
        self.optimizer.zero_grad()
        loss = self.model.loss(ids[:, :-1], ids[:, 1:])
        loss.backward()
        self.optimizer.step(clip=1.0)
        return loss.item()

    def check(self) -> list[float]:
        return [self.step() for _ in range(3)]


class Generation:
    def __init__(self, task: tasks.Generation, folder: pathlib.Path):
        self.task = task
        self.model = build(task, folder)

    def step(self) -> np.ndarray:
        prompt = np.zeros((1, 1), np.int64)
        return self.model.generate(prompt, self.task.count, temperature=0)

    def check(self) -> list[float]:
        return self.step()[0, :32].tolist()


class Attention:
    def __init__(self, task: tasks.Attention, folder: pathlib.Path):
        rng = np.random.default_rng(0)
        draws = [rng.standard_normal(task.shape, np.float32) for _ in range(4)]
        self.inputs = [mx.Tensor(x, requires_grad=True) for x in draws[:3]]
        self.dy = draws[3]
        self.causal = task.causal

    def step(self) -> mx.Tensor:
        for x in self.inputs:
            x.grad = None
        y = mx.attend(*self.inputs, causal=self.causal)
        y.backward(self.dy)
        return y

    def check(self) -> list[float]:
        y = self.step()
        return [float(np.linalg.norm(x)) for x in (y.data, *(x.grad for x in self.inputs))]


class Product:
    def __init__(self, task: tasks.Product, folder: pathlib.Path):
        rng = np.random.default_rng(0)
        self.a, self.b = (rng.random((task.size, task.size), np.float32) for _ in range(2))

    def step(self) -> np.ndarray:
        return mx.matmul(self.a, self.b).data

    def check(self) -> list[float]:
        return [float(self.step().mean(dtype=np.float64))]
