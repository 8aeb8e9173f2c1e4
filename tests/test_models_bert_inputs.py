"""BERT's inputs: packing, pairs of sentences, and the masking recipe, counted."""

from __future__ import annotations

import numpy as np
import pytest

from minitx.models.bert import (
    BERT,
    BERTConfig,
    BERTPretraining,
    mask_tokens,
    pack,
    sentence_pairs,
)
from minitx.optim import AdamW
from minitx.train import Trainer

CLS, SEP, MASK, PAD = 1, 2, 3, 0


def test_packing_puts_special_tokens_types_and_padding_in_place():
    batch = pack([[5, 6], [7]], [[8], [9, 10, 11]], cls=CLS, sep=SEP)
    np.testing.assert_array_equal(
        batch.ids, [[CLS, 5, 6, SEP, 8, SEP, PAD], [CLS, 7, SEP, 9, 10, 11, SEP]]
    )
    np.testing.assert_array_equal(batch.types, [[0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 1, 1]])
    np.testing.assert_array_equal(batch.mask, batch.ids != PAD)
    alone = pack([[5, 6, 7]], cls=CLS, sep=SEP, length=4)
    np.testing.assert_array_equal(alone.ids, [[CLS, 5, 6, SEP]])
    assert not alone.types.any()


@pytest.mark.parametrize(("a", "b"), [(9, 2), (2, 9), (9, 9), (1, 1), (0, 9), (9, 0)])
def test_the_longer_sentence_is_cut_first(a, b):
    batch = pack([[5] * a], [[6] * b], cls=CLS, sep=SEP, length=10)
    kept = [(batch.ids == 5).sum(), (batch.ids == 6).sum()]
    assert sum(kept) == min(7, a + b) and batch.ids.shape[1] <= 10
    assert kept[0] == a or kept[0] >= min(4, a)
    assert kept[1] == b or kept[1] >= 3


def test_half_of_the_pairs_follow_each_other():
    documents = [[[10 * d + s] for s in range(9)] for d in range(40)]
    firsts, seconds, labels = sentence_pairs(documents, np.random.default_rng(0))
    assert len(firsts) == 40 * 8 and 0.42 < labels.mean() < 0.58
    for (a,), (b,), label in zip(firsts, seconds, labels, strict=True):
        assert (b == a + 1) if label == 0 else (a // 10 != b // 10)


def test_the_masking_recipe_by_counting():
    V, rng = 1000, np.random.default_rng(0)
    ids = rng.integers(5, V, (200, 102))
    ids[:, 0], ids[:, -1] = CLS, SEP
    inputs, targets = mask_tokens(
        ids, rng, mask_id=MASK, vocab_size=V, special=[CLS, SEP, PAD, MASK]
    )
    chosen = targets != -100
    np.testing.assert_array_equal(chosen.sum(axis=1), 15)  # of 100
    assert not chosen[:, [0, -1]].any() and chosen[:, 1:-1].any(axis=0).all()
    np.testing.assert_array_equal(targets[chosen], ids[chosen])
    np.testing.assert_array_equal(inputs[~chosen], ids[~chosen])
    masked, same = inputs[chosen] == MASK, inputs[chosen] == ids[chosen]
    assert abs(masked.mean() - 0.8) < 0.03 and abs(same.mean() - 0.1) < 0.02
    other = inputs[chosen][~masked & ~same]
    assert 400 < other.mean() < 600 and len(np.unique(other)) > 150


def test_words_are_masked_whole():
    rng = np.random.default_rng(1)
    words = np.repeat(np.arange(20), 3)[None]
    words[0, :3] = -1
    ids = rng.integers(5, 100, (50, 60))
    _, targets = mask_tokens(
        ids,
        rng,
        mask_id=MASK,
        vocab_size=100,
        special=[],
        words=np.broadcast_to(words, ids.shape),
    )
    chosen = (targets != -100).reshape(50, 20, 3)
    assert (chosen.all(axis=2) == chosen.any(axis=2)).all()
    assert not chosen[:, 0].any() and (chosen.sum(axis=(1, 2)) == 9).all()  # of 57: 8.55


def test_a_short_row_has_one_gap_and_a_row_of_padding_none():
    ids = np.array([[CLS, 7, SEP, PAD], [PAD] * 4])
    inputs, targets = mask_tokens(
        ids, np.random.default_rng(0), mask_id=MASK, vocab_size=9, special=[CLS, SEP, PAD]
    )
    np.testing.assert_array_equal(targets, [[-100, 7, -100, -100], [-100] * 4])
    np.testing.assert_array_equal(inputs[1], ids[1])


def test_pre_training_on_what_these_make_learns():
    rng = np.random.default_rng(0)
    documents = [[[5 + d, 5 + d, 9], [5 + d, 10, 5 + d], [11, 5 + d]] for d in range(3)]
    model = BERTPretraining(BERT(BERTConfig(12, 12, 1, 2, 16, dropout=0.0), rng))

    def batches(rng):
        firsts, seconds, follows = sentence_pairs(documents, rng)
        ids, types, mask = pack(firsts, seconds, cls=CLS, sep=SEP)
        special = {"mask_id": MASK, "vocab_size": 12, "special": [CLS, SEP, PAD]}
        inputs, targets = mask_tokens(ids, rng, **special)
        return inputs, targets, follows, types, mask

    fixed = batches(rng)
    first = model.loss(*fixed).item()
    trainer = Trainer(model, AdamW(model, 1e-2), batches)
    trainer.run(60)
    assert model.loss(*fixed).item() < 0.8 * first


RNG = np.random.default_rng(0)
OPTIONS = {"mask_id": MASK, "vocab_size": 9, "special": []}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pack([[1]], [], cls=1, sep=2), "1 first and 0 second"),
        (lambda: pack([], cls=1, sep=2), "0 first"),
        (lambda: pack([[1]], cls=1, sep=2, length=2), "no room"),
        (lambda: sentence_pairs([[[1], [2]]], RNG), "1 documents"),
        (lambda: mask_tokens(np.arange(3), RNG, **OPTIONS), r"expected \(B, T\)"),
        (lambda: mask_tokens(np.ones((1, 3), int), RNG, share=1.0, **OPTIONS), "share is 1.0"),
    ],
)
def test_bad_input_gets_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()
