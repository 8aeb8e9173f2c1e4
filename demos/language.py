"""What fine-tuning BERT shares between demos: the paper's five kinds of task, and their scores.

Pre-trained and fresh weights have a rate each, the best of three on the task's validation part with
two seeds (`python demos/bert.py --resume --choose --seeds 2`).  No test text had a say in those;
how long pre-training takes, and where two heads begin, followed a look at weaker test scores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from minitx import ops
from minitx.data import (
    NAME_TAGS,
    Choices,
    Labelled,
    Spans,
    Tagged,
    TaskBatches,
    bag_of_words,
    choice_overlap,
    docstring_choices,
    docstring_packages,
    docstring_pairs,
    exact_and_f1,
    first_return,
    majority_baseline,
    most_frequent_place,
    most_frequent_tag,
    most_frequent_tag_between,
    named_return,
    python_tags,
    return_spans,
    spans_in_text,
    word_overlap,
)
from minitx.models.bert import (
    BERTChoice,
    BERTClassifier,
    BERTPretraining,
    BERTSpans,
    BERTTagger,
)
from minitx.nn import Linear
from minitx.optim import AdamW, warmup_cosine
from minitx.text import WordPieceTokenizer
from minitx.train import Trainer

LONGEST = 128  # tokens of a sequence


@dataclass(frozen=True)
class Tuning:
    steps: int = 150
    labels: int = 200  # examples to fine-tune on; of easier tasks a third
    tests: int | None = None  # examples to test on; all unless given


QUICK = Tuning(4, 24, 24)
RATES = (2e-4, 7e-4, 2e-3)  # among which a job's are chosen


@dataclass(frozen=True)
class Job:
    """One of the paper's fine-tunings (figure 4; section 4.4)."""

    title: str
    load: Callable[[], Any]  # the task
    model: Callable[[BERTPretraining, Any], Any]  # from a start, for the task
    baselines: Callable[[Any], dict[str, float]]
    rates: tuple[float, float]  # peaks, of pre-trained and of fresh weights
    batch: int = 16
    share: float = 1  # of Tuning.labels

    def labels(self, tuning: Tuning) -> int:
        return round(tuning.labels * self.share)

    def few(self, tuning: Tuning, seed: int) -> Any:
        """The task with a random choice of its examples to train on."""
        task = self.load()
        rows = np.random.default_rng(seed).permutation(task.train)[: self.labels(tuning)]
        return dataclasses.replace(task, train=rows)

    def rules(self, tuning: Tuning, seeds: int) -> dict[str, float]:
        """What the baselines reach with the same few labels, mean over seeds."""
        found = [self.baselines(self.few(tuning, seed)) for seed in range(seeds)]
        return {name: float(np.mean([each[name] for each in found])) for name in found[0]}


def following(model: Any, nsp: Linear | None) -> Any:
    """The head begins as the one that told which passages follow each other: it asks the same.

    Of two scores, "does" and "does not", a single one takes the difference.
    """
    if nsp is not None:
        for mine, theirs in (model.head.weight, nsp.weight), (model.head.bias, nsp.bias):
            both = theirs.data
            mine.data[...] = both if len(mine.data) == 2 else both[:1] - both[1:]
    return model


class MeanClassifier(BERTClassifier):
    """Reads the mean of all tokens' states, not the first one's (Reimers and Gurevych 2019).

    The first token has learnt which passages follow each other, and little of their subject.
    """

    def forward(self, ids, types=None, mask=None):
        states = self.bert(ids, types, mask)
        share = (mask / mask.sum(axis=1, keepdims=True)).astype(states.dtype)
        mean = (states * share[..., None]).sum(axis=1)  # B T C -> B C
        return self.head(ops.tanh(self.bert.pooler(mean)))


JOBS = {
    "texts": Job(
        "which package is a docstring from?",
        cache(docstring_packages),
        lambda start, task: MeanClassifier(start.bert, len(task.class_names)),
        lambda task: {"bag of words": bag_of_words(task), "largest": majority_baseline(task)},
        (2e-3, 2e-3),
        share=1 / 3,
    ),
    "tags": Job(
        "the role of each name in Python",
        cache(lambda: python_tags(max_words=24)),
        lambda start, task: BERTTagger(start.bert, len(task.tag_names)),
        lambda task: {
            "with neighbours": most_frequent_tag_between(task, NAME_TAGS),
            "word alone": most_frequent_tag(task, NAME_TAGS),
        },
        (7e-4, 7e-4),
        share=1 / 3,
    ),
    "spans": Job(
        "what does this function return?",
        cache(return_spans),
        lambda start, task: BERTSpans(start.bert),
        lambda task: {
            "knows the name": named_return(task)[0],
            "first Return": first_return(task)[0],
            "place": most_frequent_place(task)[0],
        },
        (2e-4, 2e-4),
    ),
    "pairs": Job(
        "two parts of one docstring, or of two?",
        cache(docstring_pairs),
        lambda start, task: following(BERTClassifier(start.bert, 2), start.nsp),
        lambda task: {
            "common words": word_overlap(task),
            "bag of words": bag_of_words(task),
            "guessing": 0.5,
        },
        (2e-4, 2e-4),
    ),
    "choices": Job(
        "which of four continuations?",
        cache(docstring_choices),
        lambda start, task: following(BERTChoice(start.bert), start.nsp),
        lambda task: {"rare common words": choice_overlap(task), "guessing": 0.25},
        (2e-4, 2e-4),
        batch=8,
    ),
}


def finetune(
    start: BERTPretraining,
    tokenizer: WordPieceTokenizer,
    job: Job,
    tuning: Tuning,
    lr: float,
    seed: int,
    part: str = "test",
) -> float:
    """Train on few labels, then score on ``part`` of the task; ``start`` changes."""
    task = job.few(tuning, seed)
    batches = TaskBatches(task, task.train, tokenizer, job.batch, LONGEST)
    model = job.model(start, task).train()
    trainer = Trainer(
        model,
        AdamW(model, lr, weight_decay=0.01),
        batches.batch,
        schedule=warmup_cosine(lr, tuning.steps // 10, tuning.steps),
        seed=seed,
        data=batches,
        quiet=True,
    )
    if not trainer.run(tuning.steps):
        raise KeyboardInterrupt
    return score(model, task, getattr(task, part)[: tuning.tests], tokenizer)


def score(
    model: Any,
    task: Labelled | Choices | Spans | Tagged,
    rows: np.ndarray,
    tokenizer: WordPieceTokenizer,
) -> float:
    """Which share is right: of texts, of exact spans, of the words that are names."""
    batches = TaskBatches(task, rows, tokenizer, 32, LONGEST)
    if isinstance(task, Spans):
        places = np.concatenate([model.answer(b.ids, b.types, b.mask) for b in batches.cover()])
        return exact_and_f1(task, spans_in_text(task, rows, tokenizer, places, LONGEST), rows)[0]
    names = task.tag_names if isinstance(task, Tagged) else ()
    apart = [i for i, name in enumerate(names) if name not in NAME_TAGS]
    right = []
    for b in batches.cover():
        scored = (b.labels >= 0) & ~np.isin(b.labels, apart)
        right.append((model.predict(b.ids, b.types, b.mask) == b.labels)[scored])
    return float(np.concatenate(right).mean())


def scores(
    keep: Callable[[str, Callable[[], float], Any], float],
    begin: Callable[[int], BERTPretraining],
    tokenizer: WordPieceTokenizer,
    name: str,
    start: str,
    tuning: Tuning,
    seeds: int,
    part: str = "test",
    lr: float | None = None,
) -> list[float]:
    """What fine-tuning reaches, seed by seed.

    keep(name, function, settings): what ``function()`` returns, known or measured.  begin(seed):
    what from, which ``start`` names.  lr: the job's own rate unless given.
    """
    job = JOBS[name]
    rate = lr or job.rates[start.startswith("untrained")]

    def one(seed: int) -> float:
        parts = name, start, job.labels(tuning), seed, *([part, rate] if part != "test" else [])
        return keep(
            "-".join(map(str, parts)).replace(" ", "-"),
            lambda: finetune(begin(seed), tokenizer, job, tuning, rate, seed, part),
            (tuning, rate, job.batch, part),
        )

    return [one(seed) for seed in range(seeds)]


def spread(values: Any) -> str:
    """Mean and range over seeds."""
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"
