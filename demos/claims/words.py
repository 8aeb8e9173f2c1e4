"""What BERT's paper claims, measured at the scale of a laptop.

    python demos/claims_language.py                   all claims; an interrupted run goes on
    python demos/claims_language.py --only context    or following, pretraining; with commas between
    python demos/claims_language.py --quick           a few steps of everything, to see that it runs

Models, tasks and rates are those of demos/bert.py.  All pre-training takes the same steps on the
same passages; there is one run of each kind, and three of each fine-tuning, which also choose the
labels.  Results are in runs/language; a mean stands with the range over seeds.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from language import (
    JOBS,
    QUICK,
    LeftToRight,
    Results,
    Scale,
    copied,
    new_bert,
    pretraining,
    scores,
    spread,
    wordpiece,
)

from minitx.models.bert import BERT

KINDS: dict[str, dict[str, Any]] = {  # of pre-training
    "both": {},
    "mlm": {"follows": False},
    "ltr": {"follows": False, "causal": True},
}
Scores = dict[str, list[float]]  # what was fine-tuned how -> over seeds


class Lab:
    """What claims share; nothing is trained twice, however often it is asked for."""

    def __init__(self, folder: pathlib.Path, scale: Scale, seeds: int):
        self.folder, self.scale, self.seeds = folder, scale, seeds
        folder.mkdir(parents=True, exist_ok=True)
        self.results = Results(folder / "scores.json")
        self.tokenizer = wordpiece(scale.vocab)
        self.models: dict[str, BERT] = {}

    def pretrained(self, kind: str) -> BERT:
        if kind not in self.models:
            path = self.folder / f"{kind}-{self.scale.steps}.safetensors"
            trainer = pretraining(
                self.scale, self.tokenizer, checkpoint=path, save_every=200, **KINDS[kind]
            )
            if path.exists():
                trainer.resume()
            if not trainer.run(self.scale.steps):
                raise KeyboardInterrupt
            self.models[kind] = trainer.model.bert
        return self.models[kind]

    def scores(self, name: str, start: str, labels: int = 0) -> list[float]:
        """start: a kind of pre-training, or "untrained", or "untrained ltr"."""
        scale = dataclasses.replace(self.scale, labels=labels or self.scale.labels)

        def begin(seed: int) -> BERT:
            if start in KINDS:
                return copied(self.pretrained(start))
            kind = LeftToRight if start.endswith("ltr") else BERT
            return new_bert(scale, self.tokenizer, seed + 1, kind)

        return scores(self.results, begin, self.tokenizer, name, start, scale, self.seeds)


def above(a: list[float], b: list[float]) -> bool:
    """Whether the worst of ``a`` is above the best of ``b``."""
    return min(a) > max(b)


def context(lab: Lab) -> tuple[bool, dict[str, Scores]]:
    """A token's state is better for having seen both sides, with and without pre-training.

    Devlin et al. 2019, section 5.1 ("LTR & no NSP").  The same encoder, whose attention is causal,
    learns the next token instead of gaps; on roles of names and on spans.
    """
    rows = {}
    for name in ("tags", "spans"):
        rows[name] = {
            "both sides": lab.scores(name, "mlm"),
            "left only": lab.scores(name, "ltr"),
            "both sides, untrained": lab.scores(name, "untrained"),
            "left only, untrained": lab.scores(name, "untrained ltr"),
        }
    return all(above(r["both sides"], r["left only"]) for r in rows.values()), rows


def following(lab: Lab) -> tuple[bool, dict[str, Scores]]:
    """Next sentence prediction helps where two texts are compared.

    Devlin et al. 2019, section 5.1 ("no NSP").  Fine-tuned on pairs and choices.
    """
    rows = {
        name: {"with it": lab.scores(name, "both"), "without": lab.scores(name, "mlm")}
        for name in ("pairs", "choices")
    }
    return all(above(r["with it"], r["without"]) for r in rows.values()), rows


def pretrained(lab: Lab) -> tuple[bool, dict[str, Scores]]:
    """Pre-training helps, and the more the fewer labels there are.

    Devlin et al. 2019, sections 1 and 4: its largest gains are on the smallest tasks.
    """
    counts = [lab.scale.labels // 4, lab.scale.labels, lab.scale.labels * 4]
    rows, holds = {}, True
    for name in ("tags", "pairs"):
        gains = []
        for count in counts:
            labels = JOBS[name].labels(dataclasses.replace(lab.scale, labels=count))
            found = {start: lab.scores(name, start, count) for start in ("both", "untrained")}
            rows[f"{name}, {labels} labels"] = found
            holds &= above(found["both"], found["untrained"])
            gains.append(np.mean(found["both"]) - np.mean(found["untrained"]))
        holds &= gains[0] > gains[-1]
    return bool(holds), rows


CLAIMS: dict[str, Callable[[Lab], tuple[bool, dict[str, Scores]]]] = {
    "context": context,
    "following": following,
    "pretraining": pretrained,
}


def report(name: str, holds: bool, rows: dict[str, Scores]) -> str:
    """The claim, whether it holds, and the figures."""
    verdict = "holds" if holds else "does not hold here"
    lines = [f"{name}: {(CLAIMS[name].__doc__ or '').splitlines()[0]}", f"  {verdict}"]
    for row, found in rows.items():
        lines += [f"  {row:<22}{how:<24}{spread(values)}" for how, values in found.items()]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(CLAIMS), metavar="NAMES", help="which claims")
    parser.add_argument("--seeds", type=int, default=3, help="of fine-tuning (default 3)")
    parser.add_argument("--quick", action="store_true", help="the results mean nothing")
    parser.add_argument("--folder", type=pathlib.Path, default="runs/language", help="for results")
    args = parser.parse_args()
    names = args.only.split(",")
    if unknown := sorted(set(names) - set(CLAIMS)):
        parser.error(f"--only: no claim {', '.join(unknown)}; expected some of {', '.join(CLAIMS)}")
    folder = args.folder / "quick" if args.quick else args.folder
    lab = Lab(folder, QUICK if args.quick else Scale(), args.seeds)
    text = "\n\n".join(report(name, *CLAIMS[name](lab)) for name in names)
    rule = "A claim holds if in every row its worst seed is above the other's best one."
    print(f"\n{text}\n\n{rule}")
    (folder / "table.txt").write_text(f"{text}\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nstopped; the same command goes on from here")
