"""BERT's pre-training in small: the text, its pairs with gaps, the model, and the trainer.

The text is what ships with Python and with the packages that this one runs on: documentation,
comments, and code.  Whatever shares a run of eight words with a text that the tasks validate or
test on is left out; of code there are only files that no task takes anything from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain, pairwise
from typing import Any

import numpy as np

from minitx.data import (
    docstring_choices,
    docstring_packages,
    docstring_pairs,
    encode_documents,
    library_passages,
    return_spans,
    without,
)
from minitx.data.sources import code, prose
from minitx.models.bert import (
    BERT,
    BERTConfig,
    BERTPretraining,
    mask_tokens,
    pack,
    sentence_pairs,
)
from minitx.nn import Linear
from minitx.optim import AdamW, warmup_cosine
from minitx.text import WordPieceTokenizer
from minitx.train import Trainer

CONTEXT = 128  # positions of the model
NEAR = 16  # documents among which false partners are drawn
Document = tuple[str, ...]  # passages in order


@dataclass(frozen=True)
class Scale:
    vocab: int = 2000
    layers: int = 3
    width: int = 128
    steps: int = 30000
    batch: int = 16
    length: int = 64  # tokens of a pair, at most
    lr: float = 1.5e-3
    gaps: float = 0.3  # which share of the tokens is hidden
    every: int = 1  # how many files share one that is read


QUICK = Scale(400, 1, 32, steps=20, every=40)


# ---- the text ------------------------------------------------------------------------------------


@cache
def held() -> frozenset[str]:
    """What the tasks on texts validate and test on."""
    pairs, choices, packages, spans = (
        docstring_pairs(),
        docstring_choices(),
        docstring_packages(),
        return_spans(),
    )
    found: set[str] = set()
    for part in ("validation", "test"):
        found |= {side[i] for i in getattr(pairs, part) for side in (pairs.texts, pairs.seconds)}
        found |= {choices.contexts[i] for i in getattr(choices, part)}
        found |= {option for i in getattr(choices, part) for option in choices.options[i]}
        found |= {packages.texts[i] for i in getattr(packages, part)}
        found |= {spans.passages[i] for i in getattr(spans, part)}
    return frozenset(found)


@cache
def corpus(every: int = 1) -> dict[str, list[Document]]:
    """Documents to train and to validate on: texts of a kind, a file and a package together.

    Of files beside the library's every twentieth validates; of each third one there is code.
    """
    passages = library_passages(max_length=120)
    texts, sources = prose(every=every), code(every=3 * every)
    files = sorted({*texts, *sources})
    found = {}
    for part in ("train", "validation"):
        mine = [file for i, file in enumerate(files) if (i % 20 == 0) == (part == "validation")]
        documents = [passages.documents[i] for i in getattr(passages, part)]
        documents += [text for file in mine for text in texts.get(file, [])]
        documents += [text for file in mine for text in sources.get(file, [])]
        found[part] = without(documents, held())
    return found


def wordpiece(scale: Scale) -> WordPieceTokenizer:
    text = "\n".join(chain(*corpus(scale.every)["train"]))
    return WordPieceTokenizer.train(text, scale.vocab, max_alphabet=100)


def by_frequency(scale: Scale, tokenizer: WordPieceTokenizer) -> float:
    """The loss on the validation part's tokens of knowing how often each occurs, nats."""

    def ids(part: str) -> np.ndarray:
        return np.concatenate([*chain(*encode_documents(corpus(scale.every)[part], tokenizer))])

    seen, unseen = ids("train"), ids("validation")
    counts = np.bincount(seen, minlength=tokenizer.vocab_size) + 1
    return float(-np.log(counts / counts.sum())[unseen].mean())


# ---- batches -------------------------------------------------------------------------------------


class Pairs:
    """Passes over all passages, each with fresh partners and gaps; pairs alike in length together.

    A false partner comes from the same NEAR documents, which stand together in the corpus and so
    are mostly from the same file or package: the subject alone does not decide.
    causal: without gaps; each token's target is the next one.  follows: whether to say which pairs
    follow each other.
    """

    def __init__(self, documents, tokenizer, batch_size, scale, causal=False, follows=True):
        self.ids = encode_documents(documents, tokenizer)
        self.tokenizer, self.batch_size, self.scale = tokenizer, batch_size, scale
        self.causal, self.follows = causal, follows
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
        count = max(1, len(self.ids) // NEAR)
        bounds = np.linspace(0, len(self.ids), count + 1).astype(int)
        groups = [sentence_pairs(self.ids[a:b], rng) for a, b in pairwise(bounds)]
        firsts, seconds, labels = zip(*groups, strict=True)
        self._firsts, self._seconds = [*chain(*firsts)], [*chain(*seconds)]
        self._labels = np.concatenate(labels)
        pairs = zip(self._firsts, self._seconds, strict=True)
        lengths = np.array([min(len(a) + len(b), self.scale.length) for a, b in pairs])
        order = np.argsort(lengths + rng.normal(0, 5, len(lengths)))
        batches = np.split(order, range(self.batch_size, len(order), self.batch_size))
        self._batches = [batches[i] for i in rng.permutation(len(batches))]

    def _arrays(self, rows, rng):
        t = self.tokenizer
        firsts, seconds = ([side[i] for i in rows] for side in (self._firsts, self._seconds))
        special = {"cls": t.cls_id, "sep": t.sep_id, "pad": t.pad_id}
        ids, types, mask = pack(firsts, seconds, **special, length=self.scale.length)
        if self.causal:
            targets = np.full_like(ids, -100)
            targets[:, :-1] = np.where(mask[:, 1:], ids[:, 1:], -100)
        else:
            names = {"mask_id": t.mask_id, "vocab_size": t.vocab_size}
            ids, targets = mask_tokens(
                ids, rng, **names, special=list(special.values()), share=self.scale.gaps
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
    """Fresh weights, of which two kinds do not begin as BERT's, for training is short.

    Those of linear layers are larger by sqrt(768 / width), so that a layer passes on as much of
    what it gets as one of BERT base.  Keys begin equal to queries, so that a token looks first at
    those like itself (Trockman and Kolter 2023, https://arxiv.org/abs/2305.09828).
    """
    C = scale.width
    heads = max(1, C // 32)
    config = BERTConfig(
        tokenizer.vocab_size, CONTEXT, scale.layers, heads, C, dropout=0.0, pad=tokenizer.pad_id
    )
    model = kind(config, seed)
    for layer in model.modules():
        if isinstance(layer, Linear):
            layer.weight.data *= (768 / C) ** 0.5
    for block in model.blocks:
        block.attention.key.weight.data[...] = block.attention.query.weight.data
    return model


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
    pairs = Pairs(corpus(scale.every)["train"], tokenizer, scale.batch, scale, causal, follows)
    unseen = Pairs(corpus(scale.every)["validation"], tokenizer, 64, scale, causal, follows)

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
        validate_every=max(1, scale.steps // 10),
        metadata={"scale": repr(scale)},
        **options,
    )


def copied(model: BERTPretraining, length: int) -> BERTPretraining:
    """Another model with the same weights, to fine-tune on texts of up to CONTEXT tokens.

    Of its positions those beyond ``length``, which pre-training has not seen, begin as the first
    ones do (as Beltagy et al. 2020 lengthen a model, https://arxiv.org/abs/2004.05150).
    """
    twin = BERTPretraining(type(model.bert)(model.bert.config, 0), nsp=model.nsp is not None)
    twin.load_state_dict(model.state_dict())
    table = twin.bert.positions.weight.data
    table[length:] = table[np.arange(length, len(table)) % length]
    return twin
