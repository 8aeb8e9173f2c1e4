"""BERT in small: pre-trained on what Python ships with, then fine-tuned in all of the paper's ways.

    python demos/bert.py                                   both stages, in less than an hour
    python demos/bert.py --resume                          go on after Ctrl-C
    python demos/bert.py --fill "Return a [MASK] object."  only fill gaps, with what was trained
    python demos/bert.py --resume --choose                 how rates of fine-tuning were chosen
    python demos/bert.py --quick                           a few steps of everything, to see it run

Pre-training learns both tasks at once, to fill gaps and to tell which passages follow each other,
on documentation, comments and code; its WordPiece vocabulary is learnt from the same text.  Three
tenths of the tokens are gaps, not the paper's 15 %, because training is short (Wettig et al. 2022,
https://arxiv.org/abs/2202.08005), and there is no dropout.  Fine-tuning (figure 4) takes few
labels, and begins once with these weights and once with fresh ones; what simple rules reach stands
beside.

Everything it makes is in runs/bert: the checkpoint, the log, the scores, and the folder "model",
with weights and vocabulary, which transformers can read as well.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from language import JOBS, RATES, Tuning, scores, spread
from language import QUICK as QUICK_TUNING
from pretraining import QUICK, Scale, by_frequency, copied, new_bert, pretraining, wordpiece
from results import measured

from minitx.models.bert import BERTPretraining
from minitx.text import WordPieceTokenizer, load_tokenizer

GAPS = ("Return [MASK] if the file exists.", "Raise a [MASK] if the argument is not a string.")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--steps", type=int, default=0, help=f"of pre-training (default {Scale.steps})")
    add("--labels", type=int, default=0, help=f"to fine-tune on (default {Tuning.labels})")
    add("--seeds", type=int, default=3, help="fine-tuning runs; 0 leaves them out (default 3)")
    add("--choose", action="store_true", help="what each rate of fine-tuning does in validation")
    add("--seed", type=int, default=0, help="of pre-training (default 0)")
    add("--resume", action="store_true", help="go on from the checkpoint")
    add("--fill", metavar="TEXT", help="fill the gaps of a text, with the trained model, and stop")
    add("--quick", action="store_true", help="a few steps; the scores mean nothing")
    add("--folder", type=pathlib.Path, help="for results (default runs/bert)")
    args = parser.parse_args()
    if min(args.steps, args.labels, args.seeds) < 0:
        parser.error("expected --steps, --labels and --seeds of at least 0")
    args.folder = args.folder or pathlib.Path("runs/bert/quick" if args.quick else "runs/bert")
    args.scale, args.tuning = (QUICK, QUICK_TUNING) if args.quick else (Scale(), Tuning())
    if args.steps:
        args.scale = dataclasses.replace(args.scale, steps=args.steps)
    if args.labels:
        args.tuning = dataclasses.replace(args.tuning, labels=args.labels)
    return args


def fill(model: BERTPretraining, tokenizer: WordPieceTokenizer, text: str, most: int = 5) -> None:
    """Print the likeliest pieces for each [MASK] of a text."""
    batch = tokenizer.batch([text])
    with model.evaluating():
        scores = model(batch.ids, batch.types, batch.mask)[0].data
    print(f"    {text}")
    for place in np.flatnonzero(batch.ids[0] == tokenizer.mask_id):
        p = np.exp(scores[0, place] - scores[0, place].max())
        best = np.argsort(-p)[:most]
        print("        " + "  ".join(f"{tokenizer.tokens[i]} {p[i] / p.sum():.2f}" for i in best))


def pretrain(args: argparse.Namespace, tokenizer: WordPieceTokenizer) -> BERTPretraining | None:
    """Both tasks at once (section 3.1).  Returns None if Ctrl-C came first."""
    trainer = pretraining(
        args.scale,
        tokenizer,
        args.seed,
        checkpoint=args.folder / "checkpoint.safetensors",
        save_every=200,
        log=args.folder / "log.jsonl",
        on_validate=lambda step, loss: [fill(trainer.model, tokenizer, gap) for gap in GAPS[:1]],
    )
    model = trainer.model
    print(
        f"{len(trainer.data.ids):,} documents, {tokenizer.vocab_size:,} pieces of words; "
        f"{model.count():,} parameters; how often each piece occurs scores "
        f"{by_frequency(args.scale, tokenizer):.3f}"
    )
    if args.resume:
        trainer.resume()
        print(f"resumed at step {trainer.step}")
    if not trainer.run(args.scale.steps):
        print(f"\nstopped and saved at step {trainer.step}; go on with --resume")
        return None
    model.save_pretrained(args.folder / "model")
    tokenizer.save(args.folder / "model")
    return model


class Finetuning:
    """All tasks, from pre-trained and from fresh weights; what was measured is kept."""

    def __init__(self, args: argparse.Namespace, model: BERTPretraining, tokenizer):
        self.args, self.tuning, self.tokenizer = args, args.tuning, tokenizer
        self.begin = {
            "pre-trained": lambda seed: copied(model, args.scale.length),
            "untrained": lambda seed: BERTPretraining(new_bert(args.scale, tokenizer, seed + 1)),
        }

    def keep(self, name: str, function: Callable[[], float], settings: Any) -> float:
        path = self.args.folder / "scores" / f"{name}.json"
        settings = self.args.seed, self.args.scale, settings
        return measured(path, function, settings, quiet=True)

    def scores(self, task: str, start: str, **options: Any) -> list[float]:
        begin, seeds = self.begin[start], self.args.seeds
        return scores(self.keep, begin, self.tokenizer, task, start, self.tuning, seeds, **options)

    def choose(self) -> None:
        """Print what each rate reaches on the validation parts."""
        print(f"\n{'':<24}" + "".join(f"{rate:<24}" for rate in RATES))
        for name in JOBS:
            for start in self.begin:
                found = [self.scores(name, start, part="validation", lr=lr) for lr in RATES]
                columns = "".join(f"{spread(x):<24}" for x in found)
                print(f"{name + ', ' + start:<24}{columns}", flush=True)

    def compare(self) -> None:
        """Print what is reached on the test parts."""
        tuning, seeds = self.tuning, self.args.seeds
        lifted: dict[bool, list[str]] = {True: [], False: []}
        print(f"\n{'':<46}{'labels':>6}  {'pre-trained':<24}{'untrained':<24}simple rules")
        for name, job in JOBS.items():
            pre, new = (self.scores(name, start) for start in self.begin)
            rules = ", ".join(f"{rule} {x:.3f}" for rule, x in job.rules(tuning, seeds).items())
            columns = f"{job.labels(tuning):>6}  {spread(pre):<24}{spread(new):<24}{rules}"
            print(f"{name + ': ' + job.title:<46}{columns}", flush=True)
            lifted[min(pre) > max(new)].append(name)
        print(
            "\nMean and range over seeds, which also choose the labels, for the rules too; spans: "
            "the exact answers;\ntags: words that are names.  A task is lifted if its worst seed "
            "with pre-training is above the best without.\n"
            f"Lifted: {', '.join(lifted[True]) or 'none'}.  "
            f"Not lifted at this scale: {', '.join(lifted[False]) or 'none'}."
        )


def main() -> int:
    args = options()
    if args.fill is not None:
        folder = args.folder / "model"
        fill(BERTPretraining.from_pretrained(folder), load_tokenizer(folder), args.fill)
        return 0
    tokenizer = wordpiece(args.scale)
    model = pretrain(args, tokenizer)
    if model is None:
        return 130
    print("\n---- gaps filled ----")
    for gap in GAPS:
        fill(model, tokenizer, gap)
    if args.seeds:
        tasks = Finetuning(args, model, tokenizer)
        tasks.choose() if args.choose else tasks.compare()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nstopped; go on with the same command and --resume")
    except (OSError, ValueError, FloatingPointError) as error:
        sys.exit(f"bert.py: {error}")
