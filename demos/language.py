"""What the demos on language share: BERT's pre-training on Python's documentation, and its tasks.

The rate of fine-tuning was chosen for fresh weights, on the validation part of "texts", and is the
same everywhere; no test text had a say in anything.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

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
    encode_documents,
    exact_and_f1,
    first_return,
    library_passages,
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
from minitx.data.library import words
from minitx.models.bert import (
    BERT,
    BERTChoice,
    BERTClassifier,
    BERTConfig,
    BERTPretraining,
    BERTSpans,
    BERTTagger,
    mask_tokens,
    pack,
    sentence_pairs,
)
from minitx.optim import AdamW, warmup_cosine
from minitx.text import WordPieceTokenizer
from minitx.train import Trainer

CONTEXT = 128  # tokens of a sequence, at most


@dataclass(frozen=True)
class Scale:
    vocab: int = 2000
    layers: int = 2
    width: int = 128
    steps: int = 3000  # of pre-training
    batch: int = 16
    lr: float = 2e-3
    gaps: float = 0.4  # which share of the tokens is hidden
    tuning: int = 150  # steps of each fine-tuning
    tuning_lr: float = 1e-3  # its peak
    labels: int = 300  # examples to fine-tune on; sequences of tags: a third
    tests: int | None = None  # examples to test on; all unless given


QUICK = Scale(400, 1, 32, steps=20, tuning=4, labels=24, tests=24)


# ---- pre-training --------------------------------------------------------------------------------


@cache
def corpus(part: str = "train") -> list[tuple[str, ...]]:
    """Documents, tuples of passages, of one part of the split.

    Without those that begin with a pair or a choice to validate or test on: whether one passage
    follows another is what they ask.
    """
    pairs, choices, passages = JOBS["pairs"].load(), JOBS["choices"].load(), library_passages()
    held = {pairs.texts[i] for i in (*pairs.validation, *pairs.test)}
    held |= {choices.contexts[i] for i in (*choices.validation, *choices.test)}
    begins = tuple(" ".join(words(text)) for text in held)
    documents = [passages.documents[i] for i in getattr(passages, part)]
    return [d for d in documents if not " ".join(words(" ".join(d))).startswith(begins)]


def wordpiece(vocab: int) -> WordPieceTokenizer:
    text = "\n".join(passage for document in corpus() for passage in document)
    return WordPieceTokenizer.train(text, vocab, max_alphabet=100)


class Pairs:
    """Passes over all passages, each with fresh partners and gaps; pairs alike in length together.

    causal: without gaps; each token's target is the next one.  follows: whether to say which pairs
    follow each other.
    """

    def __init__(self, documents, tokenizer, batch_size, gaps=0.15, causal=False, follows=True):
        self.ids = encode_documents(documents, tokenizer)
        self.tokenizer, self.batch_size = tokenizer, batch_size
        self.gaps, self.causal, self.follows = gaps, causal, follows
        self.seed, self.position = 0, 0  # of this pass, and how many of its batches are done

    def batch(self, rng: np.random.Generator) -> tuple[np.ndarray | None, ...]:
        """ids, targets, follows, types, mask"""
        if self.position == 0:
            self.seed = int(rng.integers(2**32))
            self._begin()
        rows = self._batches[self.position]
        self.position = (self.position + 1) % len(self._batches)
        return self._arrays(rows, rng)

    def cover(self, rng: np.random.Generator) -> Iterator[tuple[np.ndarray | None, ...]]:
        """One pass over them all."""
        self._begin()
        return (self._arrays(rows, rng) for rows in self._batches)

    def _begin(self) -> None:
        rng = np.random.default_rng(self.seed)
        self._firsts, self._seconds, self._labels = sentence_pairs(self.ids, rng)
        pairs = zip(self._firsts, self._seconds, strict=True)
        lengths = np.array([len(a) + len(b) for a, b in pairs])
        order = np.argsort(lengths + rng.normal(0, 5, len(lengths)))
        batches = np.split(order, range(self.batch_size, len(order), self.batch_size))
        self._batches = [batches[i] for i in rng.permutation(len(batches))]

    def _arrays(self, rows, rng):
        t = self.tokenizer
        firsts, seconds = ([side[i] for i in rows] for side in (self._firsts, self._seconds))
        special = {"cls": t.cls_id, "sep": t.sep_id, "pad": t.pad_id}
        ids, types, mask = pack(firsts, seconds, **special, length=CONTEXT)
        if self.causal:
            targets = np.full_like(ids, -100)
            targets[:, :-1] = np.where(mask[:, 1:], ids[:, 1:], -100)
        else:
            names = {"mask_id": t.mask_id, "vocab_size": t.vocab_size}
            ids, targets = mask_tokens(
                ids, rng, **names, special=list(special.values()), share=self.gaps
            )
        return ids, targets, self._labels[rows] if self.follows else None, types, mask

    def state(self) -> dict[str, int]:
        return {"seed": self.seed, "position": self.position}

    def load_state(self, state: dict[str, int]) -> None:
        self.seed, self.position = state["seed"], state["position"]
        self._begin()


class LeftToRight(BERT):
    """The same encoder, in which no token sees those after it."""

    def states(self, x, mask=None, causal=False, **options):
        return super().states(x, mask, True, **options)


def new_bert(scale: Scale, tokenizer: WordPieceTokenizer, seed: int, kind: type = BERT) -> BERT:
    heads = max(1, scale.width // 32)
    return kind(
        BERTConfig(
            tokenizer.vocab_size, CONTEXT, scale.layers, heads, scale.width, pad=tokenizer.pad_id
        ),
        seed,
    )


def pretraining(
    scale: Scale,
    tokenizer: WordPieceTokenizer,
    seed: int = 0,
    *,
    causal: bool = False,
    follows: bool = True,
    **options: Any,
) -> Trainer:
    """What pre-trains a new model, ready to ``run(scale.steps)``."""
    model = BERTPretraining(
        new_bert(scale, tokenizer, seed, LeftToRight if causal else BERT), nsp=follows
    )
    pairs = Pairs(corpus(), tokenizer, scale.batch, scale.gaps, causal, follows)
    unseen = Pairs(corpus("validation"), tokenizer, 64, scale.gaps, causal, follows)

    def loss(ids, targets, follows, types, mask):
        return model.loss(ids, targets, follows, types=types, mask=mask)

    def validate() -> dict[str, float]:
        found: dict[str, list[float]] = {}
        for ids, targets, follows, types, mask in unseen.cover(np.random.default_rng(0)):
            losses = model.losses(ids, targets, follows, types=types, mask=mask)
            for name, value in losses.items():
                found.setdefault(name, []).append(value.item())
        means = {name: float(np.mean(values)) for name, values in found.items()}
        return {"loss": sum(means.values())} | means

    return Trainer(
        model,
        AdamW(model, scale.lr, betas=(0.9, 0.98), weight_decay=0.01),
        pairs.batch,
        loss=loss,
        schedule=warmup_cosine(scale.lr, scale.steps // 10, scale.steps, scale.lr / 50),
        seed=seed,
        data=pairs,
        validate=validate,
        validate_every=max(1, scale.steps // 5),
        **options,
    )


def copied(bert: BERT) -> BERT:
    """Another model with the same weights, to fine-tune."""
    twin = type(bert)(bert.config, 0, pooler=bert.pooler is not None)
    twin.load_state_dict(bert.state_dict())
    return twin


# ---- fine-tuning ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One of the paper's fine-tunings (figure 4; section 4.4)."""

    title: str
    load: Callable[[], Any]  # the task
    head: Callable[[BERT, Any], Any]
    baselines: Callable[[Any], dict[str, float]]
    batch: int = 16
    share: float = 1  # of Scale.labels

    def labels(self, scale: Scale) -> int:
        return round(scale.labels * self.share)

    def few(self, scale: Scale, seed: int) -> Any:
        """The task with a random choice of its examples to train on."""
        task = self.load()
        rows = np.random.default_rng(seed).permutation(task.train)[: self.labels(scale)]
        return dataclasses.replace(task, train=rows)

    def rules(self, scale: Scale, seeds: int) -> dict[str, float]:
        """What the baselines reach with the same few labels, mean over seeds."""
        found = [self.baselines(self.few(scale, seed)) for seed in range(seeds)]
        return {name: float(np.mean([each[name] for each in found])) for name in found[0]}


JOBS = {
    "pairs": Job(
        "two parts of one docstring, or of two?",
        cache(docstring_pairs),
        lambda bert, task: BERTClassifier(bert, 2),
        lambda task: {"common words": word_overlap(task), "guessing": 0.5},
    ),
    "texts": Job(
        "which package is a docstring from?",
        cache(docstring_packages),
        lambda bert, task: BERTClassifier(bert, len(task.class_names)),
        lambda task: {"bag of words": bag_of_words(task), "largest": majority_baseline(task)},
    ),
    "spans": Job(
        "what does this function return?",
        cache(return_spans),
        lambda bert, task: BERTSpans(bert),
        lambda task: {
            "knows the name": named_return(task)[0],
            "first Return": first_return(task)[0],
            "place": most_frequent_place(task)[0],
        },
    ),
    "tags": Job(
        "the role of each name in Python",
        cache(python_tags),
        lambda bert, task: BERTTagger(bert, len(task.tag_names)),
        lambda task: {
            "with neighbours": most_frequent_tag_between(task, NAME_TAGS),
            "word alone": most_frequent_tag(task, NAME_TAGS),
        },
        share=1 / 3,
    ),
    "choices": Job(
        "which of four continuations?",
        cache(docstring_choices),
        lambda bert, task: BERTChoice(bert),
        lambda task: {"rare common words": choice_overlap(task), "guessing": 0.25},
        batch=8,
    ),
}


def finetune(
    bert: BERT,
    tokenizer: WordPieceTokenizer,
    job: Job,
    scale: Scale,
    seed: int,
    part: str = "test",
) -> float:
    """Train on few labels, then score on ``part`` of the task; ``bert`` changes."""
    task = job.few(scale, seed)
    batches = TaskBatches(task, task.train, tokenizer, job.batch, CONTEXT)
    model, lr = job.head(bert, task).train(), scale.tuning_lr
    trainer = Trainer(
        model,
        AdamW(model, lr, weight_decay=0.01),
        batches.batch,
        schedule=warmup_cosine(lr, scale.tuning // 10, scale.tuning),
        seed=seed,
        data=batches,
        quiet=True,
    )
    if not trainer.run(scale.tuning):
        raise KeyboardInterrupt
    return score(model, task, getattr(task, part)[: scale.tests], tokenizer)


def score(
    model: Any,
    task: Labelled | Choices | Spans | Tagged,
    rows: np.ndarray,
    tokenizer: WordPieceTokenizer,
) -> float:
    """Which share is right: of texts, of exact spans, of the words that are names."""
    batches = TaskBatches(task, rows, tokenizer, 32, CONTEXT)
    if isinstance(task, Spans):
        places = np.concatenate([model.answer(b.ids, b.types, b.mask) for b in batches.cover()])
        return exact_and_f1(task, spans_in_text(task, rows, tokenizer, places, CONTEXT), rows)[0]
    names = task.tag_names if isinstance(task, Tagged) else ()
    apart = [i for i, name in enumerate(names) if name not in NAME_TAGS]
    right = []
    for b in batches.cover():
        scored = (b.labels >= 0) & ~np.isin(b.labels, apart)
        right.append((model.predict(b.ids, b.types, b.mask) == b.labels)[scored])
    return float(np.concatenate(right).mean())


class Results:
    """A JSON file of what was measured, under names that tell all that it depends on."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.found = json.loads(path.read_text()) if path.exists() else {}

    def measured(self, name: str, function: Callable[[], float]) -> float:
        """What ``function()`` returns, computed once."""
        if name not in self.found:
            start = time.process_time()
            value = function()
            self.found[name] = {"value": value, "cpu": round(time.process_time() - start, 1)}
            unfinished = self.path.with_suffix(".part")
            unfinished.write_text(json.dumps(self.found, indent=1))
            os.replace(unfinished, self.path)
        return self.found[name]["value"]


def scores(
    results: Results,
    begin: Callable[[int], BERT],
    tokenizer: WordPieceTokenizer,
    name: str,
    start: str,
    scale: Scale,
    seeds: int,
) -> list[float]:
    """What fine-tuning reaches, seed by seed.  begin(seed): what from, which ``start`` names."""

    def one(seed: int) -> float:
        key = f"{name}, {start}, {seed}, {scale}"
        return results.measured(
            key, lambda: finetune(begin(seed), tokenizer, JOBS[name], scale, seed)
        )

    return [one(seed) for seed in range(seeds)]


def spread(values: Any) -> str:
    """Mean and range over seeds."""
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"
