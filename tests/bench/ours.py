"""minitx's side of each task: the class that the task names, whose ``step()`` is timed."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import minitx as mx  # before NumPy: until that is loaded, its BLAS's core type can be chosen
from minitx import models
from minitx.nn import Module
from minitx.optim import AdamW

from . import tasks

# isort: split
import numpy as np


def _gpt(t: tasks.Language) -> Module:
    return models.GPT(models.GPTConfig(t.vocab, t.context, t.layers, t.heads, t.width))


def _encoder(t: tasks.Language, pooler: bool = False) -> models.BERT:
    sizes = t.vocab, t.context, t.layers, t.heads, t.width
    return models.BERT(models.BERTConfig(*sizes, dropout=0.0), pooler=pooler)


def _bert(t: tasks.BERT) -> Module:
    return models.BERTPretraining(_encoder(t, pooler=True))


def _transformer(t: tasks.Transformer) -> Module:
    sizes = t.vocab, t.layers, t.heads, t.width, 4 * t.width
    return models.Transformer(models.TransformerConfig(*sizes, dropout=0.0))


def _vit(t: tasks.ViT) -> Module:
    sizes = t.size, t.patch, t.layers, t.heads, t.width
    return models.ViT(models.ViTConfig(*sizes, classes=tasks.CLASSES))


def _mae(t: tasks.MAE) -> Module:
    sizes = t.size, t.patch, t.layers, t.heads, t.width
    encoder = models.ViTConfig(*sizes, classes=0, positions="plane")
    return models.MAE(models.MAEConfig(encoder, t.decoder, t.heads, t.width // 2))


def _t2t_vit(t: tasks.T2TViT) -> Module:
    backbone = models.ViTConfig(
        t.size,
        t.patch,
        t.layers,
        t.heads,
        t.width,
        2 * t.width,
        classes=tasks.CLASSES,
        positions="line",
        eps=1e-5,
        qkv_bias=False,
    )
    return models.T2TViT(models.T2TViTConfig(backbone))


def _resnet(t: tasks.ResNet) -> Module:
    sizes: dict[str, Any] = {"stem": t.width, "widths": t.widths, "small": True}
    config = models.ResNetConfig(tuple(t.depths), False, tasks.CLASSES, **sizes)
    return models.ResNet(config)


MODELS: dict[type[tasks.Task], Callable[[Any], Any]] = {
    tasks.GPT: _gpt,
    tasks.BERT: _bert,
    tasks.Transformer: _transformer,
    tasks.Generation: _gpt,
    tasks.Encoding: _encoder,
    tasks.ViT: _vit,
    tasks.MAE: _mae,
    tasks.T2TViT: _t2t_vit,
    tasks.ResNet: _resnet,
}


def build(task: tasks.Model, folder: pathlib.Path) -> Any:
    """The task's model; leaves its weights in the folder, for others to compute the same."""
    model = MODELS[type(task)](task)
    np.savez(folder / "weights.npz", **model.state_dict())
    return model


class Job:
    def flops(self) -> int | None:
        """The least that one step must compute; None where no floor is stated."""
        return None


class Training(Job):
    def __init__(self, task: tasks.Training, folder: pathlib.Path):
        self.model = build(task, folder)
        self.optimizer = AdamW(self.model, lr=tasks.RATE, weight_decay=0.01)
        self.batches = task.batches(np.random.default_rng(0))

    def backward(self) -> mx.Tensor:
        batch = next(self.batches)
        self.optimizer.zero_grad()
        loss = self.model.loss(**batch)
        loss.backward()
        return loss

    def update(self) -> None:
        self.optimizer.step(clip=1.0)

    def step(self) -> float:
        loss = self.backward()
        self.update()
        return loss.item()

    def check(self) -> list[float]:
        """Loss and gradients' norm at the same weights, and the losses that updates lead to."""
        loss, norm = self.backward().item(), self.optimizer.grad_norm()
        self.update()
        return [loss, norm, self.step(), self.step()]

    def flops(self) -> int:
        """Two FLOPs for each multiply-add of forward, and backward has two for each of these.

        (A little less: nobody asks for the gradient with respect to an image.)
        """
        return 3 * 2 * mx.count_multiply_adds(self.model.loss, **next(self.batches)).total()


class Generation(Job):
    def __init__(self, task: tasks.Generation, folder: pathlib.Path):
        self.task = task
        self.model = build(task, folder)

    def step(self) -> np.ndarray:
        prompt = np.zeros((1, 1), np.int64)
        return self.model.generate(prompt, self.task.count, temperature=0)

    def check(self) -> list[float]:
        return self.step()[0, :32].tolist()


class Encoding(Job):
    def __init__(self, task: tasks.Encoding, folder: pathlib.Path):
        self.model = build(task, folder)
        self.rng = np.random.default_rng(0)
        self.ids = task.sentences(self.rng)

    def step(self) -> np.ndarray:
        with self.model.evaluating():
            return self.model(self.ids).data

    def check(self) -> list[float]:
        """States times random numbers: their norm would be a layer norm's, whatever they are."""
        states = self.step()[:4]
        along = self.rng.standard_normal(states.shape, np.float32)
        return (states * along).sum(axis=(1, 2), dtype=np.float64).tolist()

    def flops(self) -> int:
        return 2 * mx.count_multiply_adds(self.model, self.ids).total()


class Attention(Job):
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


class Product(Job):
    def __init__(self, task: tasks.Product, folder: pathlib.Path):
        rng = np.random.default_rng(0)
        self.a, self.b = (rng.random((task.size, task.size), np.float32) for _ in range(2))

    def step(self) -> np.ndarray:
        return mx.matmul(self.a, self.b).data

    def check(self) -> list[float]:
        return [float(self.step().mean(dtype=np.float64))]

    def flops(self) -> int:
        return 2 * mx.count_multiply_adds(mx.matmul, self.a, self.b).total()
