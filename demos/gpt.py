"""A GPT on real text, both stages of the GPT-1 paper: pre-train, look at what it writes, fine-tune.

    python demos/gpt.py                          train on the documentation that ships with Python
    python demos/gpt.py --text my.txt            train on your own text (UTF-8)
    python demos/gpt.py --resume                 go on after Ctrl-C
    python demos/gpt.py --sample "The import "   only write, with the model trained last

Everything it makes is in runs/gpt: the checkpoint, the log (one JSON object a step), and a loss
curve if matplotlib is there.  The second stage fine-tunes the trained model, and a twin with fresh
weights, to tell which package a docstring of the standard library comes from, and prints both
accuracies beside those of two simple baselines.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys

import numpy as np

from minitx.checkpoint import load_safetensors, read_metadata
from minitx.data import (
    Shuffled,
    Windows,
    bag_of_words,
    docstring_packages,
    majority_baseline,
    python_topics,
    read_text,
    split,
)
from minitx.models.gpt import GPT, GPTConfig
from minitx.models.gpt_finetune import GPTClassifier, InputForms
from minitx.optim import AdamW, warmup_cosine
from minitx.text import CharTokenizer, StreamDecoder, Tokenizer, tokenizer_from_state
from minitx.train import Trainer


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--text", metavar="FILE", help="train on this file instead of Python's documentation")
    add("--steps", type=int, default=2000, help="training steps (default 2000)")
    add("--batch", type=int, default=12, help="windows in a step (default 12)")
    add("--lr", type=float, default=3e-3, help="peak learning rate (default 0.003)")
    add("--resume", action="store_true", help="go on from the checkpoint")
    add("--sample", metavar="PROMPT", help="write after PROMPT with the trained model, and stop")
    add("--length", type=int, default=600, help="characters in the last sample (default 600)")
    add("--temperature", type=float, default=0.8, help="of sampling; 0 is greedy (default 0.8)")
    add("--seed", type=int, default=0, help="of weights, batches and samples (default 0)")
    add("--seeds", type=int, default=3, help="fine-tuning runs; 0 leaves them out (default 3)")
    add("--folder", type=pathlib.Path, default="runs/gpt", help="for results (default runs/gpt)")
    args = parser.parse_args()
    if args.steps < 1 or args.batch < 1 or args.seeds < 0:
        parser.error("expected --steps and --batch of at least 1, --seeds of at least 0")
    return args


# ---- writing ----


def write(model: GPT, tokenizer: Tokenizer, prompt: str, length: int, **sampling) -> None:
    """Print a continuation of ``prompt`` as it is drawn."""
    decoder = StreamDecoder(tokenizer)
    print(prompt, end="", flush=True)
    for token in model.stream(tokenizer.encode(prompt)[None], length, top_p=0.95, **sampling):
        print(decoder.push(int(token[0])), end="", flush=True)
    print(decoder.flush())


def load(checkpoint: pathlib.Path) -> tuple[GPT, Tokenizer]:
    """The trained model and its tokenizer, from the checkpoint alone."""
    metadata = read_metadata(checkpoint)
    if not {"config", "tokenizer"} <= metadata.keys():
        raise ValueError(f"{checkpoint} is not a checkpoint of this demo")
    model = GPT(GPTConfig(**json.loads(metadata["config"])))
    arrays = load_safetensors(checkpoint)
    prefix = "model/"
    model.load_state_dict(
        {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}
    )
    return model, tokenizer_from_state(json.loads(metadata["tokenizer"]))


# ---- stage one: pre-training (GPT-1, section 3.1) ----


def pretrain(args: argparse.Namespace, checkpoint: pathlib.Path) -> tuple[GPT, Tokenizer] | None:
    """Train to predict the next character.  Returns None if Ctrl-C came first."""
    text = read_text(args.text) if args.text else python_topics()
    tokenizer = CharTokenizer.train(text)
    training, held_out = split(tokenizer.encode(text), held_out=0.1)
    config = GPTConfig(tokenizer.vocab_size, context=64, layers=4, heads=4, width=128)
    model = GPT(config, args.seed)
    unseen = tokenizer.decode(held_out)
    opening = unseen[unseen.find("\n\n") + 2 :][:40]  # of a paragraph, which the samples continue
    windows = Windows(training, config.context, args.batch)
    validation = Windows(held_out, config.context, 64)

    def validate() -> float:
        losses = [(model.loss(x, y).item(), y.size) for x, y in validation.cover()]
        return float(np.average([loss for loss, _ in losses], weights=[n for _, n in losses]))

    def show(step: int, loss: float) -> None:
        if step < args.steps:
            write(model, tokenizer, opening, 160, temperature=args.temperature, seed=step)
            print()

    optimizer = AdamW(model, args.lr, betas=(0.9, 0.99), weight_decay=0.1)
    trainer = Trainer(
        model,
        optimizer,
        windows.batch,
        schedule=warmup_cosine(args.lr, min(100, args.steps // 2), args.steps, args.lr / 10),
        seed=args.seed,
        validate=validate,
        validate_every=max(1, args.steps // 8),
        on_validate=show,
        checkpoint=checkpoint,
        save_every=100,
        log=args.folder / "log.jsonl",
        metadata={
            "config": json.dumps(dataclasses.asdict(config)),
            "tokenizer": json.dumps(tokenizer.state()),
            "opening": opening,
        },
    )
    print(
        f"{len(training):,} characters to train on, {len(held_out):,} held out, "
        f"{tokenizer.vocab_size} different; {model.count():,} parameters"
    )
    if args.resume:
        trainer.resume()
        print(f"resumed at step {trainer.step}")
    if not trainer.run(args.steps):
        print(
            f"\nstopped and saved at step {trainer.step}; go on with the same command and --resume"
        )
        return None
    return model, tokenizer


def draw_loss_curve(log: pathlib.Path, picture: pathlib.Path) -> None:
    """Training and validation loss by step, where matplotlib is installed."""
    try:
        import matplotlib
    except ImportError:
        print("(no loss curve: matplotlib is not installed; pip install matplotlib)")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    entries = [json.loads(line) for line in log.read_text().splitlines()]
    steps, losses = [e["step"] for e in entries], np.array([e["loss"] for e in entries])
    checks = [e for e in entries if "validation" in e]
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(steps, losses, color="#c8d3e6", linewidth=0.8)
    window = min(50, len(losses))
    smooth = np.convolve(losses, np.ones(window) / window, "valid")
    axes.plot(steps[window - 1 :], smooth, color="#2f5aa8", label=f"training, mean of {window}")
    axes.plot(
        [e["step"] for e in checks],
        [e["validation"] for e in checks],
        "o-",
        color="#c2571a",
        label="validation",
    )
    axes.set(xlabel="step", ylabel="loss, nats per character", ylim=(0, losses[0] * 1.05))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(picture, dpi=150)
    print(f"loss curve: {picture}")


# ---- stage two: supervised fine-tuning (GPT-1, sections 3.2 and 3.3) ----


def finetune(args: argparse.Namespace, model: GPT, tokenizer: Tokenizer) -> None:
    """Which package is a docstring from?  The pre-trained model against an untrained twin."""
    task = docstring_packages()
    known = set(tokenizer.decode(np.arange(tokenizer.vocab_size)))
    texts = ["".join(c for c in text if c in known) for text in task.texts]
    ids = [tokenizer.encode(text) for text in texts]
    classes = len(task.class_names)
    print(
        f"\nwhich of {classes} packages is a docstring from ({', '.join(task.class_names)})?  "
        f"{len(task.train)} labelled to train on, {len(task.test)} to test"
    )
    accuracies: dict[str, list[float]] = {"fine-tuned": [], "untrained twin": []}
    for seed in range(args.seeds):
        for name, start in (("fine-tuned", model), ("untrained twin", GPT(model.config, seed + 1))):
            classifier, forms = GPTClassifier.from_pretrained(start, classes, rng=seed)
            train_classifier(classifier, forms, ids, task, seed)
            accuracies[name].append(accuracy(classifier, forms, ids, task.labels, task.test))
            print(f"seed {seed}  {name:<15} {accuracies[name][-1]:.3f}", flush=True)
    print("\ntest accuracy (mean over seeds, range)")
    for name, values in accuracies.items():
        print(f"  {name:<22} {np.mean(values):.3f}  ({min(values):.3f} to {max(values):.3f})")
    print(f"  {'bag of words':<22} {bag_of_words(task):.3f}")
    print(f"  {'largest class':<22} {majority_baseline(task):.3f}")


def train_classifier(classifier: GPTClassifier, forms: InputForms, ids, task, seed: int) -> None:
    order = Shuffled(len(task.train), 16)

    def batch(rng):
        rows = task.train[order.next(rng)]
        return forms.classification([ids[i] for i in rows]), task.labels[rows]

    steps = 240
    optimizer = AdamW(classifier, 1e-3, weight_decay=0.1)
    schedule = warmup_cosine(1e-3, 20, steps)
    trainer = Trainer(
        classifier, optimizer, batch, schedule=schedule, seed=seed, data=order, quiet=True
    )
    if not trainer.run(steps):
        raise KeyboardInterrupt


def accuracy(classifier: GPTClassifier, forms: InputForms, ids, labels, rows) -> float:
    predicted = classifier.predict(forms.classification([ids[i] for i in rows]))
    return float((predicted == labels[rows]).mean())


def main() -> int:
    args = options()
    checkpoint = args.folder / "checkpoint.safetensors"
    sampling = {"temperature": args.temperature, "seed": args.seed}
    if args.sample is not None:
        write(*load(checkpoint), args.sample or "\n", args.length, **sampling)
        return 0
    trained = pretrain(args, checkpoint)
    if trained is None:
        return 130
    model, tokenizer = trained
    print("\n---- what it writes ----")
    write(model, tokenizer, read_metadata(checkpoint)["opening"], args.length, **sampling)
    print("------------------------")
    draw_loss_curve(args.folder / "log.jsonl", args.folder / "loss.png")
    if args.seeds:
        finetune(args, model, tokenizer)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, ValueError, FloatingPointError) as error:
        sys.exit(f"gpt.py: {error}")
