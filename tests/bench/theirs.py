"""PyTorch's side of each task, as one who knows PyTorch writes it.

Gradients set to None, fused AdamW, inference_mode, a cache allocated ahead.  Its models have
minitx's names, and get its weights.
"""

from __future__ import annotations

import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from . import tasks, torch_images, torch_language

MODELS = torch_language.MODELS | torch_images.MODELS
JOINED = {"qkv": ("query", "key", "value"), "kv": ("key", "value")}  # minitx has them apart


def build(task: tasks.Model, folder: pathlib.Path) -> nn.Module:
    """The task's model with the weights, and the buffers, that minitx left in the folder."""
    model = MODELS[type(task)](task)
    with np.load(folder / "weights.npz") as arrays, torch.no_grad():
        unread = set(arrays)
        for name, x in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue
            parts = name.split(".")
            joined = next((part for part in parts if part in JOINED), None)
            names = [name.replace(joined, part) for part in JOINED[joined]] if joined else [name]
            x.copy_(torch.from_numpy(np.concatenate([arrays[name] for name in names])))
            unread -= set(names)
    if unread:
        raise ValueError(f"{type(model).__name__}: nothing is called {', '.join(sorted(unread))}")
    return model


class Training:
    def __init__(self, task: tasks.Training, folder: pathlib.Path):
        self.model = build(task, folder)
        self.loss = self.model.loss
        parameters = list(self.model.parameters())
        groups = [
            {"params": [x for x in parameters if x.ndim >= 2], "weight_decay": 0.01},
            {"params": [x for x in parameters if x.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=tasks.RATE, fused=True)
        self.batches = task.batches(np.random.default_rng(0))

    def backward(self) -> torch.Tensor:
        batch = {name: torch.from_numpy(x) for name, x in next(self.batches).items()}
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(**batch)
        loss.backward()
        return loss

    def update(self) -> None:
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    def step(self) -> float:
        loss = self.backward()
        self.update()
        return loss.item()

    def grad_norm(self) -> float:
        """In float64: over millions of elements, PyTorch's own in float32 errs by 1.5e-4."""
        squares = (x.grad.double().square().sum() for x in self.model.parameters())
        return sum(squares).sqrt().item()

    def check(self) -> list[float]:
        loss, norm = self.backward().item(), self.grad_norm()
        self.update()
        return [loss, norm, self.step(), self.step()]


class Generation:
    def __init__(self, task: tasks.Generation, folder: pathlib.Path):
        self.task = task
        self.model = build(task, folder)

    def step(self):
        return self.model.generate(torch.zeros(1, 1, dtype=torch.int64), self.task.count)

    def check(self) -> list[float]:
        return self.step()[0, :32].tolist()


class Encoding:
    def __init__(self, task: tasks.Encoding, folder: pathlib.Path):
        self.model = build(task, folder).eval()
        self.rng = np.random.default_rng(0)
        self.ids = torch.from_numpy(task.sentences(self.rng))

    @torch.inference_mode()
    def step(self):
        return self.model(self.ids)

    def check(self) -> list[float]:
        states = self.step()[:4]
        along = torch.from_numpy(self.rng.standard_normal(tuple(states.shape), np.float32))
        return (states * along).sum(dim=(1, 2), dtype=torch.float64).tolist()


class Attention:
    def __init__(self, task: tasks.Attention, folder: pathlib.Path):
        rng = np.random.default_rng(0)
        draws = [torch.from_numpy(rng.standard_normal(task.shape, np.float32)) for _ in range(4)]
        self.inputs, self.dy = [x.requires_grad_() for x in draws[:3]], draws[3]
        self.causal = task.causal

    def step(self):
        for x in self.inputs:
            x.grad = None
        y = F.scaled_dot_product_attention(*self.inputs, is_causal=self.causal)
        y.backward(self.dy)
        return y

    def check(self) -> list[float]:
        y = self.step()
        return [x.norm().item() for x in (y.detach(), *(x.grad for x in self.inputs))]


class Product:
    def __init__(self, task: tasks.Product, folder: pathlib.Path):
        rng = np.random.default_rng(0)
        draws = (rng.random((task.size, task.size), np.float32) for _ in range(2))
        self.a, self.b = map(torch.from_numpy, draws)

    def step(self):
        return self.a @ self.b

    def check(self) -> list[float]:
        return [self.step().double().mean().item()]
