"""A program: trains a small GPT for 50 steps, with the reference kernels and on 1, 2, 4 threads.

Prints the losses.
Started by test_fifty_steps.py with ``NUMBA_NUM_THREADS=4``, which holds for a whole process.
"""

from __future__ import annotations

import json

import numpy as np

import minitx as mx
from minitx.models import GPT, GPTConfig


def losses(steps=50):
    """Of 50 steps in float32, wide and long enough that every kernel has several blocks of work."""
    config = GPTConfig(vocab_size=71, context=100, layers=2, heads=2, width=64, dropout=0.1)
    model = GPT(config, 0)
    optimizer = mx.optim.AdamW(model, lr=1e-3)
    rng, out = np.random.default_rng(1), []
    for _ in range(steps):
        ids = rng.integers(0, 71, size=(3, 101))
        optimizer.zero_grad()
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        loss.backward()
        optimizer.step(clip=1.0)
        out.append(loss.item())
    return out


def main():
    with mx.use_kernels("ref"):
        told = {"ref": losses()}
    for threads in (1, 2, 4):
        mx.set_threads(threads)
        told[str(threads)] = losses()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
