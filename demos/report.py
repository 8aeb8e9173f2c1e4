"""A page to look into one step of a GPT: graph, gradients, attention, times and sources.

python demos/report.py                    train for 600 steps, then write runs/report.html
python demos/report.py --steps 0          the untrained model
"""

from __future__ import annotations

import argparse
import pathlib

import numpy as np

import minitx as mx
from minitx.data import Windows, python_topics
from minitx.models.gpt import GPT, GPTConfig
from minitx.optim import AdamW, warmup_cosine
from minitx.text import CharTokenizer
from minitx.train import Trainer


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=600, help="of training (default 600)")
    parser.add_argument("--layers", type=int, default=6, help="of the model (default 6)")
    parser.add_argument("--page", type=pathlib.Path, default="runs/report.html")
    args = parser.parse_args()

    text = python_topics()
    tokenizer = CharTokenizer.train(text)
    config = GPTConfig(tokenizer.vocab_size, context=64, layers=args.layers, heads=6, width=96)
    model = GPT(config)
    windows = Windows(tokenizer.encode(text), config.context, 12)
    schedule = warmup_cosine(3e-3, min(100, args.steps // 2), max(1, args.steps), 3e-4)
    optimizer = AdamW(model, 3e-3, betas=(0.9, 0.99), weight_decay=0.1)
    Trainer(model, optimizer, windows.batch, schedule=schedule).run(args.steps)

    ids, targets = windows.batch(np.random.default_rng(1))
    model.zero_grad()
    with mx.trace(model) as t:
        model.loss(ids, targets).backward()
    args.page.parent.mkdir(parents=True, exist_ok=True)
    tokens = [[tokenizer.decode([i]) for i in row] for row in ids[:2]]
    print(f"open {mx.report(t, args.page, tokens=tokens, examples=2).resolve()}")


if __name__ == "__main__":
    main()
