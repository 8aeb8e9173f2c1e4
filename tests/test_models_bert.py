"""BERT against independent implementations, published sizes, and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from golden import Golden

import minitx
from minitx.gradcheck import gradcheck
from minitx.jit import use_kernels
from minitx.models.bert import (
    BERT,
    BERTChoice,
    BERTClassifier,
    BERTConfig,
    BERTPretraining,
    BERTSpans,
    BERTTagger,
)
from minitx.models.official import bert as tables
from minitx.nn import Module, shapes_only
from minitx.tensor import Tensor

HEADS = {  # variant: our model on a body, the table of names
    "model": (lambda bert, c: bert, tables.MODEL),
    "pretraining": (lambda bert, c: BERTPretraining(bert), tables.PRETRAINING),
    "mlm": (lambda bert, c: BERTPretraining(bert, nsp=False), tables.MASKED_LM),
    "nsp": (lambda bert, c: BERTPretraining(bert, mlm=False), tables.NEXT_SENTENCE),
    "seqcls": (lambda bert, c: BERTClassifier(bert, c), tables.CLASSIFIER),
    "multilabel": (lambda bert, c: BERTClassifier(bert, c, "multilabel"), tables.CLASSIFIER),
    "regression": (lambda bert, c: BERTClassifier(bert, c, "regression"), tables.CLASSIFIER),
    "tokcls": (lambda bert, c: BERTTagger(bert, c), tables.TAGGER),
    "qa": (lambda bert, c: BERTSpans(bert), tables.SPANS),
    "mc": (lambda bert, c: BERTChoice(bert), tables.CHOICE),
}


def build(golden: Golden, variant: str) -> Module:
    """Our model of a fixture's configuration, with its weights, in float64."""
    c = golden.config
    config = BERTConfig(
        vocab_size=c["vocab_size"],
        context=c["max_position_embeddings"],
        layers=c["num_hidden_layers"],
        heads=c["num_attention_heads"],
        width=c["hidden_size"],
        hidden=c["intermediate_size"],
        types=c["type_vocab_size"],
        dropout=c["hidden_dropout_prob"],
        eps=c["layer_norm_eps"],
        pad=c["pad_token_id"],
    )
    make, table = HEADS[variant]
    model = make(BERT(config), c["num_labels"]).astype(np.float64)
    shapes = {name: x.shape for name, x in model.state_dict().items()}
    model.load_state_dict(table.load(golden.state, shapes))
    return model


def outputs_and_loss(variant: str, model: Module, x: dict) -> tuple[dict, Tensor]:
    """What the fixture has, by its names, and the loss it differentiates."""
    ids, options = x["input_ids"], {"types": x["token_type_ids"], "mask": x["attention_mask"]}
    if variant == "model":
        hidden = model(ids, **options)
        pooled = model.pool(hidden)
        loss = (hidden * x["w_hidden"]).sum() + (pooled * x["w_pool"]).sum()
        return {"last_hidden_state": hidden, "pooler_output": pooled}, loss
    out = model(ids, **options)
    if variant == "pretraining":
        named = {"prediction_logits": out[0], "seq_relationship_logits": out[1]}
        return named, model.loss(ids, x["labels"], x["next_sentence_label"], **options)
    if variant == "mlm":
        return {"logits": out[0]}, model.loss(ids, x["labels"], **options)
    if variant == "nsp":
        return {"logits": out[1]}, model.loss(ids, follows=x["labels"], **options)
    if variant == "qa":
        named = {"start_logits": out[:, :, 0], "end_logits": out[:, :, 1]}
        return named, model.loss(ids, x["start_positions"], x["end_positions"], **options)
    return {"logits": out}, model.loss(ids, x["labels"], **options)


@pytest.mark.parametrize("kernels", ["ref", "jit"])
@pytest.mark.parametrize("variant", HEADS)
def test_outputs_and_gradients_equal_the_reference(variant, kernels):
    golden = Golden(f"bert__{variant}")
    model, x = build(golden, variant), golden.inputs
    bert = model if variant == "model" else model.bert
    T = x["input_ids"].shape[-1]
    flat = [x[name].reshape(-1, T) for name in ("input_ids", "token_type_ids", "attention_mask")]
    real = x["attention_mask"].astype(bool)
    with use_kernels(kernels):
        for i, state in enumerate(bert.hidden_states(*flat)):
            golden.check_output(f"hidden_{i}", state.data, real.reshape(-1, T))
        outputs, loss = outputs_and_loss(variant, model, x)
        for name, ours in outputs.items():
            a_token_each = ours.shape[: real.ndim] == real.shape
            golden.check_output(name, ours.data, real if a_token_each else None)
        golden.check_loss(loss.item())
        loss.backward()
    golden.check_grads(HEADS[variant][1].save({n: p.grad for n, p in model.named_parameters()}))


def test_both_losses_of_pre_training_equal_the_reference():
    golden = Golden("bert__pretraining")
    model, x = build(golden, "pretraining"), golden.inputs
    losses = model.losses(
        x["input_ids"],
        x["labels"],
        x["next_sentence_label"],
        types=x["token_type_ids"],
        mask=x["attention_mask"],
    )
    for name, loss in losses.items():
        golden.check_loss(loss.item(), name)


@pytest.mark.parametrize("variant", HEADS)
def test_official_states_survive_a_round_trip(variant):
    golden = Golden(f"bert__{variant}")
    saved = HEADS[variant][1].save(build(golden, variant).state_dict())
    assert saved.keys() == golden.state.keys()
    for key, x in golden.state.items():
        np.testing.assert_array_equal(saved[key], x)


def test_a_body_loads_from_any_class_with_old_names_and_buffers():
    golden = Golden("bert__pretraining")
    expected = build(golden, "pretraining").bert.state_dict()
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): x
        for name, x in golden.state.items()
    }
    old["bert.embeddings.position_ids"] = np.arange(24)[None]
    for state in (old, {name.removeprefix("bert."): x for name, x in old.items()}):
        loaded = tables.MODEL.load(state, {name: x.shape for name, x in expected.items()})
        for name, x in expected.items():
            np.testing.assert_array_equal(loaded[name], x)


PUBLISHED = {
    ("base", "model"): 109_482_240,
    ("base", "pretraining"): 110_106_428,
    ("base", "seqcls"): 109_483_778,
    ("base", "tokcls"): 108_893_186,
    ("base", "qa"): 108_893_186,
    ("base", "mc"): 109_483_009,
    ("large", "model"): 335_141_888,
    ("large", "pretraining"): 336_226_108,
    ("tiny", "model"): 4_385_920,
}


@pytest.mark.parametrize(("preset", "variant"), PUBLISHED)
def test_presets_have_the_published_parameter_counts(preset, variant):
    with shapes_only():
        model = HEADS[variant][0](BERT(getattr(BERTConfig, preset)()), 2)
    assert model.count() == model.count(trainable=True) == PUBLISHED[preset, variant]


def tiny(variant: str, **changes) -> Module:
    """A small float64 model in which every weight and bias matters."""
    rng = np.random.default_rng(0)
    settings = {"context": 7, "layers": 1, "heads": 2, "width": 8, "hidden": 12, "dropout": 0.0}
    config = BERTConfig(11, **(settings | changes))
    model = HEADS[variant][0](BERT(config, rng), 3 if variant != "regression" else 1)
    model = model.astype(np.float64)
    for _, x in model.named_parameters():
        x.data = x.data + rng.normal(0, 0.3, x.shape)
    return model


IDS = np.array([[2, 5, 3, 7, 9], [2, 4, 8, 0, 0]])
TYPES = np.array([[0, 0, 1, 1, 1], [0, 0, 0, 0, 0]])
OPTIONS = {"types": TYPES, "mask": IDS != 0}
TARGETS = np.array([[-100, 6, -100, 7, -100], [-100, -100, 3, -100, -100]])
LABELS = {
    "pretraining": (TARGETS, [0, 1]),
    "mlm": (TARGETS,),
    "nsp": (None, [1, 0]),
    "seqcls": ([2, 0],),
    "multilabel": ([[1, 0, 1], [0, 0, 1]],),
    "regression": ([0.3, -1.2],),
    "tokcls": ([[0, 1, 2, 2, 1], [1, 1, 0, -100, -100]],),
    "qa": ([1, 2], [3, 9]),
    "mc": ([0],),
}


@pytest.mark.parametrize("kernels", ["ref", "jit"])
@pytest.mark.parametrize("variant", HEADS)
def test_whole_model_equals_finite_differences(variant, kernels):
    model = tiny(variant)
    bert = model if variant == "model" else model.bert
    bert.tokens.padding_idx = None  # differences see that the pad row reaches QA's scores

    def loss():
        if variant == "model":
            return model.embed(IDS, **OPTIONS), model.pool(model(IDS, **OPTIONS))
        if variant == "mc":
            one = {name: x[None] for name, x in OPTIONS.items()}
            return model.loss(IDS[None], *LABELS[variant], **one)
        return model.loss(IDS, *LABELS[variant], **OPTIONS)

    with use_kernels(kernels):
        report = gradcheck(loss, parameters=model)
    assert report.checks.keys() == dict(model.named_parameters()).keys()


def test_dropout_equals_finite_differences():
    model = tiny("seqcls", dropout=0.2)

    def loss():
        model.bert.rng.bit_generator.state = np.random.default_rng(3).bit_generator.state
        return model.loss(IDS[:1], [2], types=TYPES[:1])

    gradcheck(loss, parameters=model)


def test_padding_changes_nothing_but_both_sides_are_seen():
    bert = tiny("model")
    together, alone = bert(IDS, **OPTIONS).data, bert(IDS[1:, :3]).data
    np.testing.assert_allclose(together[1:, :3], alone, atol=1e-12)
    changed = np.where(np.arange(5) == 4, 6, IDS)
    assert not np.allclose(bert(IDS).data[:, 0], bert(changed).data[:, 0])


def test_sentence_embeddings_have_length_one_and_ignore_padding():
    bert = tiny("model")
    vectors = bert.embed(IDS, **OPTIONS).data
    np.testing.assert_allclose((vectors**2).sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(vectors[1:], bert.embed(IDS[1:, :3]).data, atol=1e-12)
    mean = bert(IDS[1:, :3]).data.mean(axis=1)
    np.testing.assert_allclose(vectors[1:], mean / np.linalg.norm(mean), atol=1e-12)


def test_predictions_have_the_right_form():
    assert tiny("seqcls").predict(IDS, **OPTIONS).shape == (2,)
    assert tiny("multilabel").predict(IDS, **OPTIONS).dtype == bool
    assert tiny("regression").predict(IDS, **OPTIONS).shape == (2, 1)
    assert tiny("tokcls").predict(IDS, **OPTIONS).shape == (2, 5)
    assert tiny("mc").predict(IDS[None], TYPES[None], IDS[None] != 0).shape == (1,)


def test_answers_are_the_best_real_span():
    model = tiny("qa")
    logits = model(IDS, **OPTIONS).data
    for row, (start, end) in enumerate(model.answer(IDS, **OPTIONS, longest=2)):
        length = int((IDS[row] != 0).sum())
        spans = [(a, b) for a in range(length) for b in range(a, min(a + 2, length))]
        best = max(spans, key=lambda s: logits[row, s[0], 0] + logits[row, s[1], 1])
        assert (start, end) == best


def test_heads_share_their_body_and_make_or_drop_a_pooler():
    bert = tiny("model")
    tagger, classifier = BERTTagger(bert, 2), BERTClassifier(BERTTagger(bert, 2).bert, 2)
    assert tagger.bert.tokens is bert.tokens and tagger.bert.pooler is None
    assert bert.pooler is not None and classifier.bert.pooler is not bert.pooler
    assert classifier.bert.pooler.weight.dtype == classifier.head.weight.dtype == np.float64


def test_a_classifier_learns():
    rng = np.random.default_rng(0)
    model = BERTClassifier(BERT(BERTConfig(11, 6, 1, 2, 16, dropout=0.0), rng), 2)
    optimizer = minitx.optim.AdamW(model, 1e-2)
    ids = rng.integers(3, 11, (16, 6))
    labels = (ids[:, 3] > 6).astype(int)
    for _ in range(60):
        optimizer.zero_grad()
        model.loss(ids, labels).backward()
        optimizer.step(clip=1.0)
    assert (model.predict(ids) == labels).all()


def choose(call, variant="seqcls"):
    return lambda: call(tiny(variant))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (choose(lambda m: m.bert(np.zeros((1, 8), int))), ValueError, "position table, 7"),
        (choose(lambda m: m.bert(np.array([1, 2]))), ValueError, r"expected \(B, T\)"),
        (choose(lambda m: m.bert(np.array([[11]]))), IndexError, "id 11"),
        (choose(lambda m: m.bert(IDS, TYPES + 1)), IndexError, r"id 2 is outside \[0, 2\)"),
        (choose(lambda m: m.bert(IDS, TYPES[:1])), ValueError, "types have shape"),
        (choose(lambda m: m.bert(IDS, mask=IDS[:, :2])), ValueError, "mask has shape"),
        (choose(lambda m: m.bert(IDS, mask=IDS * 1.0)), TypeError, "mask has dtype float64"),
        (choose(lambda m: m.bert(IDS, mask=[[1] * 5, [0] * 5])), ValueError, "row 1 of the mask"),
        (choose(lambda m: m.loss(IDS, [3, 0])), IndexError, "target 3"),
        (choose(lambda m: m.loss(IDS, [-1, 0])), IndexError, "target -1"),
        (choose(lambda m: m.loss(IDS, [0]), "regression"), ValueError, "labels have shape"),
        (choose(lambda m: m.loss(IDS, np.full((2, 3), 2)), "multilabel"), ValueError, "0 to 1"),
        (choose(lambda m: m.loss(IDS, [-1, 0], [1, 1]), "qa"), IndexError, "target -1"),
        (choose(lambda m: m.loss(IDS, TARGETS * 9), "tokcls"), IndexError, "target"),
        (choose(lambda m: m.loss(IDS, [0]), "mc"), ValueError, r"expected \(B, K, T\)"),
        (choose(lambda m: m.loss(IDS), "mlm"), ValueError, "targets are missing"),
        (choose(lambda m: m.loss(IDS, TARGETS, [0, 1]), "mlm"), ValueError, "no such task"),
        (choose(lambda m: m.loss(IDS, TARGETS[:1]), "mlm"), ValueError, "targets have shape"),
        (choose(lambda m: m.bert.pool(m.bert(IDS)), "tokcls"), ValueError, "no pooler"),
        (choose(lambda m: BERTClassifier(m.bert, 2, "ranks")), ValueError, "problem is 'ranks'"),
        (choose(lambda m: BERTTagger(m.bert, 0)), ValueError, "0 outputs"),
        (choose(lambda m: BERTPretraining(m.bert, False, False)), ValueError, "neither"),
        (lambda: BERTConfig(heads=5), ValueError, "width 768 is not a multiple of heads 5"),
        (lambda: BERTConfig(layers=0), ValueError, "layers is 0"),
        (lambda: BERTConfig(pad=-1), ValueError, "pad -1"),
    ],
)
def test_bad_input_gets_one_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call()
