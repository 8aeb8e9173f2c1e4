"""PyTorch's models that read ids."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from . import tasks
from .torch_layers import Block, Encoder, gelu_tanh


class GPT(nn.Module):
    def __init__(self, task: tasks.Language):
        super().__init__()
        self.task, width = task, task.width
        self.tokens = nn.Embedding(task.vocab, width)
        self.positions = nn.Embedding(task.context, width)
        blocks = [Block(width, task.heads, activation=gelu_tanh) for _ in range(task.layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width)

    def forward(self, ids, caches=None, past=0):
        """ids: (B, T) -> (B, T, C)"""
        positions = torch.arange(past, past + ids.shape[1])
        x = self.tokens(ids) + self.positions(positions)
        for i, block in enumerate(self.blocks):
            cache = None if caches is None else caches[i]
            x = block(x, causal=True, cache=cache, past=past)
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


class BERT(Encoder):
    eps = 1e-12

    def __init__(self, task: tasks.Language):
        width, settings = task.width, {"norm_first": False, "eps": self.eps}
        super().__init__([Block(width, task.heads, **settings) for _ in range(task.layers)])
        self.tokens = nn.Embedding(task.vocab, width, padding_idx=tasks.PAD)
        self.positions = nn.Embedding(task.context, width)
        self.types = nn.Embedding(2, width)
        self.input_norm = nn.LayerNorm(width, self.eps)

    def forward(self, ids, types=None):
        """ids, types: (B, T) -> (B, T, C)"""
        types = torch.zeros_like(ids) if types is None else types
        positions = torch.arange(ids.shape[1])
        x = self.tokens(ids) + self.positions(positions) + self.types(types)
        return super().forward(self.input_norm(x))


class MaskedLMHead(nn.Module):
    def __init__(self, width: int, vocab: int, eps: float):
        super().__init__()
        self.transform = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps)
        self.bias = nn.Parameter(torch.zeros(vocab))

    def forward(self, hidden, table):
        return F.linear(self.norm(F.gelu(self.transform(hidden))), table, self.bias)


class BERTPretraining(nn.Module):
    def __init__(self, task: tasks.BERT):
        super().__init__()
        self.bert = BERT(task)
        self.bert.pooler = nn.Linear(task.width, task.width)
        self.mlm = MaskedLMHead(task.width, task.vocab, self.bert.eps)
        self.nsp = nn.Linear(task.width, 2)

    def loss(self, ids, targets, follows, types):
        """Scores of masked tokens alone, as minitx has them."""
        hidden, targets = self.bert(ids, types), targets.flatten()
        places = (targets != -100).nonzero().squeeze(1)
        masked = hidden.flatten(0, 1).index_select(0, places)
        mlm = F.cross_entropy(self.mlm(masked, self.bert.tokens.weight), targets[places])
        pooled = torch.tanh(self.bert.pooler(hidden[:, 0]))
        return mlm + F.cross_entropy(self.nsp(pooled), follows)


class Transformer(nn.Module):
    def __init__(self, task: tasks.Transformer):
        super().__init__()
        self.tokens = nn.Embedding(task.vocab, task.width, padding_idx=tasks.PAD)
        settings = {"norm_first": False, "activation": F.relu}

        def stack(cross):
            blocks = (Block(task.width, task.heads, cross=cross, **settings) for _ in layers)
            return Encoder(blocks)

        layers = range(task.layers)
        self.encoder, self.decoder = stack(False), stack(True)
        self.scale = math.sqrt(task.width)
        angles = torch.arange(task.context)[:, None] / 10000 ** (
            torch.arange(0, task.width, 2) / task.width
        )
        waves = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
        self.register_buffer("waves", waves, persistent=False)

    def embed(self, ids):
        """ids: (B, T) -> (B, T, C)"""
        return self.tokens(ids) * self.scale + self.waves[: ids.shape[1]]

    def loss(self, source, inputs, targets):
        mask = (source != tasks.PAD)[:, None, None, :]  # B S -> B 1 1 S
        memory = self.encoder(self.embed(source), mask=mask)
        hidden = self.decoder(
            self.embed(inputs), causal=True, context=memory, context_mask=mask
        ).flatten(0, 1)
        scores, targets = F.linear(hidden, self.tokens.weight), targets.flatten()
        return F.cross_entropy(scores, targets, ignore_index=tasks.PAD, label_smoothing=0.1)


MODELS = {
    tasks.GPT: GPT,
    tasks.BERT: BERTPretraining,
    tasks.Transformer: Transformer,
    tasks.Generation: GPT,
    tasks.Encoding: BERT,
}
