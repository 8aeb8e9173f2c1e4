"""PyTorch's side of each task, as one who knows PyTorch writes it.

One product for query, key and value, scaled_dot_product_attention, gradients set to None, fused
AdamW, inference_mode, a cache allocated ahead.  The model has minitx's names, and gets its weights.
"""

from __future__ import annotations

import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from . import tasks


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x, cache=None, past=0):
        """x: (B, T, C); cache: (2, B, H, context, D), of which ``past`` are filled -> (B, T, C)"""
        B, T, C = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # 3 B H T D
        if cache is not None:
            keys, values = cache
            keys[:, :, past : past + T], values[:, :, past : past + T] = k, v
            k, v = keys[:, :, : past + T], values[:, :, : past + T]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=past == 0)
        return self.output(y.transpose(1, 2).reshape(B, T, C))


class MLP(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x):
        return self.down(F.gelu(self.up(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.mlp = MLP(width)

    def forward(self, x, cache=None, past=0):
        x = x + self.attention(self.norm1(x), cache, past)
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, task: tasks.Model):
        super().__init__()
        self.task = task
        self.tokens = nn.Embedding(task.vocab, task.width)
        self.positions = nn.Embedding(task.context, task.width)
        self.blocks = nn.ModuleList([Block(task.width, task.heads) for _ in range(task.layers)])
        self.norm = nn.LayerNorm(task.width)

    def forward(self, ids, caches=None, past=0):
        """ids: (B, T) -> (B, T, C)"""
        positions = torch.arange(past, past + ids.shape[1])
        x = self.tokens(ids) + self.positions(positions)
        for i, block in enumerate(self.blocks):
            x = block(x, None if caches is None else caches[i], past)
        return self.norm(x)

    def logits(self, hidden):
        return F.linear(hidden, self.tokens.weight)

    def loss(self, inputs, targets):
        scores = self.logits(self(inputs)).flatten(0, 1)  # (B T) V
        return F.cross_entropy(scores, targets.flatten())

    @torch.inference_mode()
    def generate(self, prompt, count: int):
        """prompt: (B, T) -> (B, T + count), the most likely token each time"""
        B, task = len(prompt), self.task
        caches = torch.empty(task.layers, 2, B, task.heads, task.context, task.width // task.heads)
        written, past, ids = [prompt], 0, prompt
        for _ in range(count):
            hidden = self(ids, caches, past)[:, -1]
            past += ids.shape[1]
            ids = self.logits(hidden).argmax(dim=-1, keepdim=True)
            written.append(ids)
        return torch.cat(written, dim=1)


def build(task: tasks.Model, folder: pathlib.Path) -> GPT:
    """A GPT with the weights that minitx left in the folder."""
    model = GPT(task)
    with np.load(folder / "weights.npz") as arrays, torch.no_grad():
        for name, x in model.named_parameters():
            parts = ("query", "key", "value") if "qkv" in name else ("qkv",)
            values = [arrays[name.replace("qkv", part)] for part in parts]
            x.copy_(torch.from_numpy(np.concatenate(values)))
    return model


class Training:
    def __init__(self, task: tasks.Training, folder: pathlib.Path):
        self.task = task
        self.model = build(task, folder)
        self.loss = self.model.loss
        parameters = list(self.model.parameters())
        groups = [
            {"params": [x for x in parameters if x.ndim >= 2], "weight_decay": 0.01},
            {"params": [x for x in parameters if x.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3, fused=True)
        self.rng = np.random.default_rng(0)

    def step(self) -> float:
        ids = torch.from_numpy(self.task.ids(self.rng))
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(ids[:, :-1], ids[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

    def check(self) -> list[float]:
        return [self.step() for _ in range(3)]


class Generation:
    def __init__(self, task: tasks.Generation, folder: pathlib.Path):
        self.task = task
        self.model = build(task, folder)

    def step(self):
        return self.model.generate(torch.zeros(1, 1, dtype=torch.int64), self.task.count)

    def check(self) -> list[float]:
        return self.step()[0, :32].tolist()


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
