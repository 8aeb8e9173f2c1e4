"""A Transformer learns to read dates as people write them: "Samstag, 3. März '07" -> 2007-03-03.

    python demos/transformer.py                               train, in about a minute
    python demos/transformer.py --resume                      go on after Ctrl-C
    python demos/transformer.py --translate "3 March 2024"    only translate, with what was trained

Characters are the tokens.  There are eight languages and nine layouts; some languages meet some
layouts only in the test (see minitx/data/dates.py).  As in the paper there are label smoothing, a
learning rate that warms up, and beam search with a length penalty.  Two things differ, to be done
in a minute: normalisation comes first in a branch (pre-norm), which bears a larger rate, and the
rate falls along a cosine instead of 1 / sqrt(step).

Everything it makes is in runs/transformer: the checkpoint, the log (one JSON object a step), and,
where matplotlib is installed, a picture of which characters each character of the answer looks at.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys
import time

import numpy as np

import minitx as mx
from minitx.checkpoint import load_safetensors, read_metadata
from minitx.data import DATE_VOCAB, date_batch, date_ids, date_text, dates, numbers_only
from minitx.models.transformer import Transformer, TransformerConfig
from minitx.optim import AdamW, warmup_cosine
from minitx.train import Trainer

LENGTH = 11  # of an answer: ten characters and the end
SHOWN = ["Samstag, 3. März '07", "March 3rd, 2007 (Saturday)", "3 de março de 2007", "3/24/2007"]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--steps", type=int, default=1600, help="training steps (default 1600)")
    add("--batch", type=int, default=64, help="dates in a step (default 64)")
    add("--lr", type=float, default=5e-3, help="peak learning rate (default 0.005)")
    add("--beams", type=int, default=4, help="candidates of the search (default 4)")
    add("--test", type=int, default=1000, help="dates to test on (default 1000)")
    add("--seed", type=int, default=0, help="of weights and batches (default 0)")
    add("--resume", action="store_true", help="go on from the checkpoint")
    add("--translate", metavar="DATE", nargs="+", help="only read these, with the trained model")
    add("--folder", type=pathlib.Path, default="runs/transformer", help="(default %(default)s)")
    args = parser.parse_args()
    if min(args.steps, args.batch, args.beams, args.test) < 1:
        parser.error("expected --steps, --batch, --beams and --test of at least 1")
    return args


def translate(model: Transformer, texts: list[str], beams: int) -> list[str]:
    return [date_text(row) for row in model.translate(date_ids(texts), LENGTH, beams=beams)]


def exact(model: Transformer, texts: list[str], answers: list[str], beams: int) -> float:
    """Which share is right in every character; a hundred at a time."""
    hundreds = (texts[i : i + 100] for i in range(0, len(texts), 100))
    found = [text for some in hundreds for text in translate(model, some, beams)]
    return share_right(found, answers)


def share_right(found: list[str], answers: list[str]) -> float:
    return float(np.mean([a == b for a, b in zip(found, answers, strict=True)]))


def load(checkpoint: pathlib.Path) -> Transformer:
    """The trained model, from the checkpoint alone."""
    metadata = read_metadata(checkpoint)
    if "config" not in metadata:
        raise ValueError(f"{checkpoint} is not a checkpoint of this demo")
    model, prefix = Transformer(TransformerConfig(**json.loads(metadata["config"]))), "model/"
    arrays = load_safetensors(checkpoint).items()
    model.load_state_dict({k.removeprefix(prefix): x for k, x in arrays if k.startswith(prefix)})
    return model


def train(args: argparse.Namespace, checkpoint: pathlib.Path) -> Transformer | None:
    """Learn from ever new dates.  Returns None if Ctrl-C came first."""
    config = dataclasses.replace(
        TransformerConfig.tiny(DATE_VOCAB), decoder_layers=1, norm_first=True, final_norm=True
    )
    model = Transformer(config, args.seed)
    texts, answers = dates(200, np.random.default_rng(1), "validation")
    held_out = date_batch(200, np.random.default_rng(1), "validation")  # the same as ids

    def validate() -> dict[str, float]:
        return {"loss": model.loss(*held_out).item(), "exact": exact(model, texts, answers, 1)}

    def show(step: int, loss: float) -> None:
        """A few dates, others each time, and how they are read so far."""
        few = [(step // every * 3 + i) % len(texts) for i in range(3)]
        for i, found in zip(few, translate(model, [texts[i] for i in few], 1), strict=True):
            print(f"    {texts[i]:>32}  {found}{'' if found == answers[i] else '  wrong'}")

    every = max(1, args.steps // 8)
    trainer = Trainer(
        model,
        AdamW(model, args.lr, betas=(0.9, 0.98), weight_decay=0.01),
        lambda rng: date_batch(args.batch, rng),
        schedule=warmup_cosine(args.lr, min(100, args.steps // 2), args.steps, args.lr / 100),
        seed=args.seed,
        validate=validate,
        validate_every=every,
        on_validate=show,
        checkpoint=checkpoint,
        save_every=100,
        log=args.folder / "log.jsonl",
        metadata={"config": json.dumps(dataclasses.asdict(config))},
    )
    print(f"{model.count():,} parameters; what it reads as it learns:")
    if args.resume:
        trainer.resume()
        print(f"resumed at step {trainer.step}")
    start = time.process_time()
    if not trainer.run(args.steps):
        print(f"\nstopped and saved at step {trainer.step}; go on with --resume")
        return None
    print(f"trained in {time.process_time() - start:.0f} s of CPU")
    return model


def cross_attention(model: Transformer, text: str, answer: str) -> np.ndarray:
    """What each character of the answer looks at, by the trace: (layers, heads, 10, S)."""
    inputs = np.concatenate([[[model.config.start]], date_ids([answer])[:, :-1]], axis=1)
    with model.evaluating(), mx.trace(model) as t:
        model(date_ids([text]), inputs)
    looks = t["decoder.blocks.*.cross_attention.attend"]
    return np.concatenate([look.unfold()["attend.prob"] for look in looks])


def draw_attention(model: Transformer, picture: pathlib.Path) -> None:
    """Mean over the heads of the last layer, for a few dates."""
    try:
        import matplotlib
    except ImportError:
        print("(no picture: matplotlib is not installed; pip install matplotlib)")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(11, 6.4), layout="constrained")
    for axis, text, answer in zip(axes.flat, SHOWN, translate(model, SHOWN, 4), strict=True):
        axis.imshow(cross_attention(model, text, answer)[-1].mean(axis=0), cmap="Blues", vmin=0)
        axis.set_xticks(range(len(text)), text, family="monospace")
        axis.set_yticks(range(len(answer)), answer, family="monospace")
        axis.tick_params(length=0)
    figure.suptitle("where each character of the answer (rows) looks in the date (columns)")
    figure.savefig(picture, dpi=110)
    print(f"picture: {picture}")


def main() -> int:
    args = options()
    checkpoint = args.folder / "checkpoint.safetensors"
    if args.translate:
        found = translate(load(checkpoint), args.translate, args.beams)
        for text, answer in zip(args.translate, found, strict=True):
            print(f"{text}  ->  {answer}")
        return 0
    model = train(args, checkpoint)
    if model is None:
        return 130
    texts, answers = dates(args.test, np.random.default_rng(2), "test")
    guesses = [numbers_only(text) for text in texts]
    rows = {
        f"beam search, {args.beams} candidates": exact(model, texts, answers, args.beams),
        "greedy search": exact(model, texts, answers, 1),
        "digits, the month always January": share_right(guesses, answers),
    }
    print(
        f"\n{len(texts)} dates in pairs of language and layout that did not train; exact answers:"
    )
    for name, value in rows.items():
        print(f"  {name:<34}{value:.4f}")
    draw_attention(model, args.folder / "attention.png")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, ValueError, FloatingPointError) as error:
        sys.exit(f"transformer.py: {error}")
