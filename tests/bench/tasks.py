"""What is measured: four sizes of training step, attention alone, generation; and how many FLOPs.

Standard library only: a worker reads its task before it imports anything that has threads.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    flops = None  # the least that one step must compute; None where no floor is stated


@dataclass(frozen=True)
class Model(Task):
    """A GPT with a tied head."""

    layers: int
    width: int
    heads: int
    context: int
    batch: int
    vocab: int

    def __str__(self) -> str:
        rest = f"{self.heads}, {self.context}, {self.batch}, {self.vocab}"
        return f"{self.layers} x {self.width}, {rest}"

    @property
    def parameters(self) -> int:
        tables = (self.vocab + self.context) * self.width
        block = 12 * self.width**2 + 13 * self.width
        return tables + self.layers * block + 2 * self.width


@dataclass(frozen=True)
class Training(Model):
    """A fresh batch, forward, backward, clip to norm 1, AdamW, the loss as a float."""

    @property
    def flops(self) -> int:
        products = 6 * self.parameters * self.batch * self.context
        return products + 12 * self.layers * self.width * self.context**2 * self.batch

    def ids(self, rng):
        """Inputs and, one to the right, targets.  rng: a NumPy Generator -> (B, T + 1)"""
        return rng.integers(0, self.vocab, (self.batch, self.context + 1))


@dataclass(frozen=True)
class Generation(Model):
    """``count`` tokens after a prompt of one, with a KV cache, the most likely each time."""

    count: int = 256

    def __str__(self) -> str:
        return f"{super().__str__()}, {self.count} tokens"


@dataclass(frozen=True)
class Attention(Task):
    """Forward and backward of scaled dot-product attention over (B, H, T, D)."""

    batch: int
    heads: int
    context: int
    depth: int
    causal: bool = True

    def __str__(self) -> str:
        return f"{self.shape}{' causal' * self.causal}"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.batch, self.heads, self.context, self.depth


@dataclass(frozen=True)
class Product(Task):
    """A float32 matrix product, (N, N) @ (N, N)."""

    size: int = 2048

    def __str__(self) -> str:
        return f"{self.size}^3"

    @property
    def flops(self) -> int:
        return 2 * self.size**3


KINDS = {kind.__name__: kind for kind in (Training, Generation, Attention, Product)}

# Training: layers x width, heads, context, batch, vocabulary.  Attention: B, H, T, D.
WORKLOADS: dict[str, list[Task]] = {
    "char": [Training(4, 128, 4, 64, 12, 103)],
    "medium": [Training(6, 384, 6, 256, 8, 103)],
    "subword": [Training(4, 256, 8, 128, 8, 8192)],
    "tiny": [Training(2, 64, 2, 32, 4, 64)],
    "attention": [
        Attention(12, 4, 64, 32),
        Attention(8, 6, 256, 64),
        Attention(8, 8, 128, 32),
        Attention(4, 8, 512, 64),
        Attention(2, 8, 1024, 64, causal=False),
        Attention(1, 8, 2048, 64),
    ],
    "generation": [Generation(6, 384, 6, 512, 1, 103)],  # context: 257 positions must fit
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
