"""What is measured: training steps of every architecture, generation, encoding, attention alone.

Standard library only: a worker reads its task before it imports anything that has threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

CLASSES = 10  # of images: STL-10 has 96 pixels across, CIFAR-10 has 32
BANK = 4  # batches of images that are drawn ahead, and from which every batch takes some
PAD, START, WORDS = 0, 1, 3  # of translation: the words' ids begin after those of the marks
MASK = 1  # of BERT; 0 pads there, too
RATE = 1e-4  # of learning; small, so that rounding, which differs, does not grow from step to step

Batch = dict[str, Any]  # arguments of a model's loss, NumPy arrays


@dataclass(frozen=True)
class Task:
    """``job``: the class that does it, in ``ours`` and in ``theirs``."""

    job = ""


class Model(Task):
    """Has weights, which minitx leaves in the folder for others."""


class Training(Model):
    """A fresh batch, forward, backward, clip to norm 1, AdamW, the loss as a float."""

    job = "Training"

    def batches(self, rng) -> Iterator[Batch]:
        """Without end.  rng: a NumPy Generator"""
        raise NotImplementedError


# ---- language ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Language(Model):
    """Whatever reads ids; the table of tokens is the output's as well."""

    layers: int
    width: int
    heads: int
    context: int
    batch: int
    vocab: int

    def __str__(self) -> str:
        rest = f"{self.heads}, {self.context}, {self.batch}, {self.vocab}"
        return f"{self.layers} x {self.width}, {rest}"


class GPT(Language, Training):
    """Every token from those before it."""

    def batches(self, rng) -> Iterator[Batch]:
        while True:
            ids = rng.integers(0, self.vocab, (self.batch, self.context + 1))
            yield {"inputs": ids[:, :-1], "targets": ids[:, 1:]}


class BERT(Language, Training):
    """Pre-training: 15 % of the tokens are to be found, and whether the second half follows.

    Sequences fill the context, and no dropout is drawn, which two libraries would do differently.
    """

    def batches(self, rng) -> Iterator[Batch]:
        shape = self.batch, self.context
        while True:
            ids = rng.integers(MASK + 1, self.vocab, shape)
            chosen = rng.random(shape).argsort(axis=1) < round(0.15 * self.context)
            inputs, targets, types = ids.copy(), ids.copy(), ids * 0
            inputs[chosen], targets[~chosen], types[:, self.context // 2 :] = MASK, -100, 1
            follows = rng.integers(0, 2, self.batch)
            yield {"ids": inputs, "targets": targets, "follows": follows, "types": types}


class Transformer(Language, Training):
    """Translation, with as many layers in the decoder as in the encoder; labels smoothed by 0.1.

    Sentences fill three quarters of the context or more; the rest is padding.
    """

    def batches(self, rng) -> Iterator[Batch]:
        while True:
            source, target = self._sentences(rng, 0), self._sentences(rng, 1)
            target[:, 0] = START
            yield {"source": source, "inputs": target[:, :-1], "targets": target[:, 1:]}

    def _sentences(self, rng, more: int):
        ids = rng.integers(WORDS, self.vocab, (self.batch, self.context + more))
        lengths = rng.integers(self.context * 3 // 4, self.context + 1, (self.batch, 1)) + more
        ids[(ids * 0 + 1).cumsum(axis=1) > lengths] = PAD
        return ids


@dataclass(frozen=True)
class Generation(Language):
    """``count`` tokens after a prompt of one, with a KV cache, the most likely each time: GPT."""

    count: int = 256
    job = "Generation"

    def __str__(self) -> str:
        return f"{super().__str__()}, {self.count} tokens"


class Encoding(Language):
    """The last states of sentences that fill the context, without a gradient: BERT."""

    job = "Encoding"

    def sentences(self, rng):
        """-> (B, T)"""
        return rng.integers(MASK + 1, self.vocab, (self.batch, self.context))


# ---- images --------------------------------------------------------------------------------------


class Vision(Training):
    """Whatever reads images of ``size`` x ``size`` pixels in three channels."""

    batch: int
    size: int

    def batches(self, rng) -> Iterator[Batch]:
        count = BANK * self.batch
        images = rng.standard_normal((count, 3, self.size, self.size), "float32")
        labels = rng.integers(0, CLASSES, count)
        while True:
            taken = rng.integers(0, count, self.batch)
            yield {"images": images[taken], **self.asked(rng, labels[taken])}

    def asked(self, rng, labels) -> Batch:
        """What the loss takes besides images.  labels: (B,)"""
        return {"targets": labels}


@dataclass(frozen=True)
class ViT(Vision):
    layers: int
    width: int
    heads: int
    size: int
    batch: int
    patch: int = 16

    def __str__(self) -> str:
        rest = f"{self.heads}, {self.size} / {self.patch}, {self.batch}"
        return f"{self.layers} x {self.width}, {rest}"

    @property
    def patches(self) -> int:
        """How many an image has."""
        return (self.size // self.patch) ** 2


@dataclass(frozen=True)
class MAE(ViT):
    """Three quarters of the patches are painted by a decoder half as wide as the encoder.

    The paper's decoder, 8 layers of 512, is for encoders of 768 and more.
    """

    decoder: int = 2  # layers

    def __str__(self) -> str:
        return f"{super().__str__()}, decoder {self.decoder} x {self.width // 2}"

    def asked(self, rng, labels) -> Batch:
        return {"noise": rng.random((self.batch, self.patches))}


class T2TViT(ViT):
    """T2T-ViT's tokens by performers, and MLPs twice as wide as tokens, as in T2T-ViT-7.

    Its soft splits make patches of 16 whose windows overlap.
    """


@dataclass(frozen=True)
class ResNet(Vision):
    """Stages of two 3 x 3 convolutions a block, each twice as wide as the one before.

    The form for small images: a stem of 3 x 3 that does not pool.
    """

    depths: tuple[int, ...]  # blocks of each stage
    width: int  # of the first
    size: int
    batch: int

    def __str__(self) -> str:
        return f"{'+'.join(map(str, self.depths))} x {self.width}, {self.size}, {self.batch}"

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.width * 2**i for i in range(len(self.depths)))

    def asked(self, rng, labels) -> Batch:
        return {"labels": labels}


# ---- parts ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attention(Task):
    """Forward and backward of scaled dot-product attention over (B, H, T, D)."""

    batch: int
    heads: int
    context: int
    depth: int
    causal: bool = True
    job = "Attention"

    def __str__(self) -> str:
        return f"{self.shape}{' causal' * self.causal}"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.batch, self.heads, self.context, self.depth


@dataclass(frozen=True)
class Product(Task):
    """A float32 matrix product, (N, N) @ (N, N)."""

    size: int = 2048
    job = "Product"

    def __str__(self) -> str:
        return f"{self.size}^3"


_ALL = (GPT, BERT, Transformer, Generation, Encoding, ViT, MAE, T2TViT, ResNet, Attention, Product)
KINDS: dict[str, type[Task]] = {kind.__name__: kind for kind in _ALL}

# Language: layers x width, heads, context, batch, vocabulary.  Images: pixels instead of context.
WORKLOADS: dict[str, list[Task]] = {
    "char": [GPT(4, 128, 4, 64, 12, 103)],
    "medium": [GPT(6, 384, 6, 256, 8, 103)],
    "subword": [GPT(4, 256, 8, 128, 8, 8192)],
    "tiny": [GPT(2, 64, 2, 32, 4, 64)],
    "bert": [BERT(4, 256, 4, 128, 8, 8192)],
    "transformer": [Transformer(3, 256, 4, 64, 16, 8192)],
    "vit": [ViT(12, 192, 3, 96, 16)],  # Tiny
    "mae": [MAE(12, 192, 3, 96, 16)],
    "t2t": [T2TViT(7, 256, 4, 96, 16)],
    "resnet": [ResNet((2, 2, 2, 2), 64, 32, 32)],  # 18 layers
    "attention": [
        Attention(12, 4, 64, 32),
        Attention(8, 6, 256, 64),
        Attention(8, 8, 128, 32),
        Attention(4, 8, 512, 64),
        Attention(2, 8, 1024, 64, causal=False),
        Attention(1, 8, 2048, 64),
    ],
    "generation": [Generation(6, 384, 6, 512, 1, 103)],  # context: 257 positions must fit
    "encode": [  # of the size of MiniLM, which turns sentences into vectors
        Encoding(6, 384, 12, 128, 1, 30522),
        Encoding(6, 384, 12, 128, 32, 30522),
    ],
}


def select(names: list[str]) -> dict[str, list[Task]]:
    """The workloads of these names, in the list's order; all if there are none.

    Raises ValueError that lists the known names if one is unknown.
    """
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown:
        raise ValueError(
            f"unknown workload {', '.join(unknown)}; expected some of {', '.join(WORKLOADS)}"
        )
    return {name: tasks for name, tasks in WORKLOADS.items() if name in names or not names}
