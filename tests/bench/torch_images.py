"""PyTorch's models that read images, (B, C, H, W)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from . import tasks
from .torch_layers import MLP, Block, Encoder


class PatchEmbedding(nn.Conv2d):
    def __init__(self, width: int, patch: int):
        super().__init__(3, width, patch, stride=patch)

    def forward(self, images):
        """(B, 3, H, W) -> (B, T, C)"""
        return super().forward(images).flatten(2).transpose(1, 2)


class ViT(Encoder):
    def __init__(
        self,
        task: tasks.ViT,
        patches=None,
        *,
        hidden: int | None = None,
        eps: float = 1e-6,
        bias: bool = True,
        fixed: bool = False,  # positions
        head: bool = True,
    ):
        width, settings = task.width, {"eps": eps, "bias": bias}
        blocks = [Block(width, task.heads, hidden, **settings) for _ in range(task.layers)]
        super().__init__(blocks, nn.LayerNorm(width, eps))
        self.patches = patches or PatchEmbedding(width, task.patch)
        self.cls = nn.Parameter(torch.empty(width))
        positions = torch.empty(1 + task.patches, width)
        if fixed:
            self.register_buffer("positions", positions)
        else:
            self.positions = nn.Parameter(positions)
        if head:
            self.head = nn.Linear(width, tasks.CLASSES)

    def embed(self, images):
        x = self.patches(images)
        cls = self.cls.expand(len(x), 1, -1)
        return torch.cat([cls, x], dim=1) + self.positions

    def loss(self, images, targets):
        return F.cross_entropy(self.head(self(self.embed(images))[:, 0]), targets)


class MAE(nn.Module):
    def __init__(self, task: tasks.MAE):
        super().__init__()
        width = task.width // 2
        self.patch, self.visible = task.patch, task.patches // 4
        self.encoder = ViT(task, fixed=True, head=False)
        self.embed = nn.Linear(task.width, width)
        self.mask = nn.Parameter(torch.empty(width))
        self.register_buffer("positions", torch.empty(1 + task.patches, width))
        blocks = [Block(width, task.heads, eps=1e-6) for _ in range(task.decoder)]
        self.decoder = Encoder(blocks, nn.LayerNorm(width, 1e-6))
        self.predict = nn.Linear(width, 3 * task.patch**2)

    def encode(self, images, kept):
        """kept: (B, K) -> (B, 1 + K, C)"""
        vit = self.encoder
        x = vit.patches(images) + vit.positions[1:]
        x = x.gather(1, kept[..., None].expand(-1, -1, x.shape[2]))
        cls = (vit.cls + vit.positions[0]).expand(len(x), 1, -1)
        return vit(torch.cat([cls, x], dim=1))

    def decode(self, encoded, restore):
        """restore: (B, N) -> (B, N, p p 3)"""
        x = self.embed(encoded)
        masks = self.mask.expand(len(x), restore.shape[1] - self.visible, -1)
        patches = torch.cat([x[:, 1:], masks], dim=1)
        patches = patches.gather(1, restore[..., None].expand(-1, -1, x.shape[2]))
        x = torch.cat([x[:, :1], patches], dim=1) + self.positions
        return self.predict(self.decoder(x)[:, 1:])

    def target(self, images):
        """Pixels of each patch, channels last, normalised: (B, N, p p 3)"""
        B, C, H, W = images.shape
        p = self.patch
        x = images.view(B, C, H // p, p, W // p, p).permute(0, 2, 4, 3, 5, 1)  # B h w p p 3
        x = x.reshape(B, -1, p * p * C)
        var, mean = torch.var_mean(x, dim=-1, keepdim=True)
        return (x - mean) / (var + 1e-6).sqrt()

    def loss(self, images, noise):
        shuffle = noise.argsort(dim=1)
        restore = shuffle.argsort(dim=1)
        predicted = self.decode(self.encode(images, shuffle[:, : self.visible]), restore)
        errors = ((predicted - self.target(images)) ** 2).mean(dim=-1)
        removed = restore >= self.visible
        return (errors * removed).sum() / removed.sum()


class TokenPerformer(nn.Module):
    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(inputs), nn.LayerNorm(width)
        self.qkv = nn.Linear(inputs, 3 * width)
        self.output = nn.Linear(width, width)
        self.mlp = MLP(width, width)
        self.register_buffer("directions", torch.empty(width // 2, width))

    def features(self, x):
        """(B, T, C) -> (B, T, m)"""
        along, length = F.linear(x, self.directions), (x * x).sum(dim=-1, keepdim=True)
        return torch.exp(along - length / 2) / len(self.directions) ** 0.5

    def forward(self, x):
        """(B, T, inputs) -> (B, T, C)"""
        q, k, v = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        q, k = self.features(q), self.features(k)
        weights = q @ k.sum(dim=1)[..., None]  # B T 1
        y = q @ (k.transpose(1, 2) @ v) / (weights + 1e-8)
        x = v + self.output(y)
        return x + self.mlp(self.norm2(x))


class TokensToToken(nn.Module):
    splits = (7, 4, 2), (3, 2, 1), (3, 2, 1)  # kernel, stride and padding

    def __init__(self, width: int, token_width: int = 64):
        super().__init__()
        (k1, *_), (k2, *_), (k3, *_) = self.splits
        inner = [TokenPerformer(n, token_width) for n in (3 * k1**2, token_width * k2**2)]
        self.layers = nn.ModuleList(inner)
        self.project = nn.Linear(token_width * k3**2, width)

    def forward(self, x):
        """(B, 3, H, W) -> (B, T, C)"""
        for i, (kernel, stride, padding) in enumerate(self.splits):
            B, _, H, _ = x.shape
            side = (H + 2 * padding - kernel) // stride + 1
            x = F.unfold(x, kernel, stride=stride, padding=padding).transpose(1, 2)
            if i < len(self.layers):
                x = self.layers[i](x).transpose(1, 2).reshape(B, -1, side, side)
        return self.project(x)


class T2TViT(ViT):
    def __init__(self, task: tasks.T2TViT):
        settings = {"hidden": 2 * task.width, "eps": 1e-5, "bias": False, "fixed": True}
        super().__init__(task, TokensToToken(task.width), **settings)


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()

        def conv(inputs, kernel, stride=1):
            return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)

        self.conv1, self.norm1 = conv(inputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = conv(outputs, 3), nn.BatchNorm2d(outputs)
        self.projects = inputs != outputs or stride != 1
        if self.projects:
            self.shortcut, self.shortcut_norm = conv(inputs, 1, stride), nn.BatchNorm2d(outputs)

    def forward(self, x):
        shortcut = self.shortcut_norm(self.shortcut(x)) if self.projects else x
        x = F.relu(self.norm1(self.conv1(x)), inplace=True)
        x = self.norm2(self.conv2(x))
        x += shortcut
        return F.relu(x, inplace=True)


class ResNet(nn.Module):
    def __init__(self, task: tasks.ResNet):
        super().__init__()
        inputs = task.width
        self.stem = nn.Conv2d(3, inputs, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(inputs)
        self.stages = nn.ModuleList()
        for width, depth in zip(task.widths, task.depths, strict=True):
            blocks = []
            for _ in range(depth):
                stride = 2 if width > task.width and not blocks else 1
                blocks.append(Residual(inputs, width, stride))
                inputs = width
            self.stages.append(nn.Sequential(*blocks))
        self.head = nn.Linear(inputs, tasks.CLASSES)

    def loss(self, images, labels):
        x = F.relu(self.stem_norm(self.stem(images)), inplace=True)
        for stage in self.stages:
            x = stage(x)
        return F.cross_entropy(self.head(x.mean(dim=(2, 3))), labels)


MODELS = {tasks.ViT: ViT, tasks.MAE: MAE, tasks.T2TViT: T2TViT, tasks.ResNet: ResNet}
