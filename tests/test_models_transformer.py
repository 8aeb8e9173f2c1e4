"""The Transformer against independent implementations, finite differences, and itself."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from golden import Golden

import minitx
from minitx.gradcheck import gradcheck
from minitx.jit import use_kernels
from minitx.models import transformer
from minitx.models.decoding import beam_search, greedy_search
from minitx.models.official.transformer import MARIAN, TORCH
from minitx.models.transformer import (
    SMOOTHINGS,
    Transformer,
    TransformerConfig,
    smoothed_cross_entropy,
)
from minitx.nn import shapes_only, sinusoids
from minitx.tensor import Tensor

# What the fixtures of torch.nn.Transformer call its parts.
PARTS = {"embed.": "tokens.", "enc.": "encoder.", "dec.": "decoder."}


def renamed(arrays):
    def full(name):
        part = next(short for short in PARTS if name.startswith(short))
        return PARTS[part] + name.removeprefix(part)

    return {full(name): x for name, x in arrays.items()}


@pytest.fixture
def build(monkeypatch):
    """Makes our model of a fixture; those of torch have a table of random numbers as positions."""

    def make(golden: Golden) -> Transformer:
        if "positions" in golden.inputs:
            table = golden.inputs["positions"]
            monkeypatch.setattr(transformer, "sinusoids", lambda count, *_: table[:count])
        return load(golden)

    return make


def load(golden: Golden) -> Transformer:
    """Our model of a fixture's configuration, with its weights, in float64."""
    c = golden.config
    marian = "Marian" in c["reference"]
    if marian:
        options = {"halves": True, "output_bias": True, "activation": "silu"}
        layers, heads, hidden = (
            c["encoder_layers"],
            c["encoder_attention_heads"],
            c["encoder_ffn_dim"],
        )
    else:
        layers, heads, hidden = c["num_layers"], c["nhead"], c["dim_feedforward"]
        options = {"norm_first": c["norm_first"], "final_norm": c["final_norms"]}
        options |= {"activation": c["activation"], "eps": c["layer_norm_eps"]}
        golden.state, golden.grads = renamed(golden.state), renamed(golden.grads)
    smoothing = c.get("label_smoothing", 0.0)
    config = TransformerConfig(
        c["vocab_size"],
        layers,
        heads,
        c["d_model"],
        hidden,
        dropout=0.0,
        label_smoothing=smoothing,
        **options,
    )
    model = Transformer(config).astype(np.float64)
    shapes = {name: x.shape for name, x in model.state_dict().items()}
    model.load_state_dict((MARIAN if marian else TORCH).load(golden.state, shapes))
    return model


@pytest.mark.parametrize("kernels", ["ref", "jit"])
@pytest.mark.parametrize("variant", ["paper", "torch", "prenorm", "marian"])
def test_outputs_and_gradients_equal_the_reference(variant, kernels, build):
    golden = Golden(f"transformer__{variant}")
    model, x = build(golden), golden.inputs
    if variant == "marian":
        table, source, inputs, targets = (
            MARIAN,
            x["input_ids"],
            x["decoder_input_ids"],
            x["labels"],
        )
    else:
        table, source, inputs, targets = TORCH, x["src"], x["tgt_in"], x["tgt_out"]
    with use_kernels(kernels):
        memory = model.encode(source)
        golden.check_output("memory", memory.data, source != 0)
        hidden = model.decode(inputs, memory, source)
        if variant != "marian":
            golden.check_output("decoder", hidden.data, inputs != 0)
        golden.check_output("logits", model.logits(hidden).data, inputs != 0)
        loss = model.loss(source, inputs, targets)
        golden.check_loss(loss.item())
        loss.backward()
    state = {name: x.grad for name, x in model.named_parameters()}
    golden.check_grads(table.save(state))


@pytest.mark.parametrize("variant", ["paper", "torch", "prenorm"])
def test_label_smoothing_equals_each_convention(variant, build):
    golden = Golden(f"transformer__{variant}")
    model, x = build(golden), golden.inputs
    logits, e = model(x["src"], x["tgt_in"]), golden.config["label_smoothing"]
    names = ("torch_smoothing", "fairseq_smoothing_mean", "annotated_kldiv_mean")
    for smoothing, name in zip(SMOOTHINGS, names, strict=True):
        ours = smoothed_cross_entropy(logits, x["tgt_out"], e, smoothing)
        golden.check_loss(ours.item(), name)
    for smoothing in SMOOTHINGS:
        ours = smoothed_cross_entropy(logits, x["tgt_out"], 0.0, smoothing)
        golden.check_loss(ours.item(), "nll_mean")


def test_the_annotated_loss_is_zero_at_the_smoothed_distribution():
    wanted = np.array([[0.0, 0.9, 0.05, 0.05]])
    logits = Tensor(np.log(np.maximum(wanted, 1e-300)))
    assert abs(smoothed_cross_entropy(logits, np.array([1]), 0.1, "annotated").item()) < 1e-12


@pytest.mark.parametrize(
    ("variant", "table"), [("paper", TORCH), ("prenorm", TORCH), ("marian", MARIAN)]
)
def test_official_states_survive_a_round_trip(variant, table, build):
    golden = Golden(f"transformer__{variant}")
    saved = table.save(build(golden).state_dict())
    computed = {name for name in golden.state if name.endswith("embed_positions.weight")}
    assert saved.keys() == golden.state.keys() - computed
    for key, x in saved.items():
        np.testing.assert_array_equal(x, golden.state[key])


def test_sinusoids_follow_the_formula():
    table = sinusoids(50, 6)
    for position, i in itertools.product(range(50), range(3)):
        angle = position / 10000 ** (2 * i / 6)
        assert table[position, 2 * i] == pytest.approx(np.sin(angle), abs=1e-14)
        assert table[position, 2 * i + 1] == pytest.approx(np.cos(angle), abs=1e-14)
    np.testing.assert_array_equal(sinusoids(50, 6, halves=True), table[:, [0, 2, 4, 1, 3, 5]])
    with pytest.raises(ValueError, match="width is 5"):
        sinusoids(3, 5)


def test_official_tables_are_found_by_name():
    assert minitx.checkpoint.official("torch.nn.Transformer") is TORCH
    assert minitx.checkpoint.official("transformers.MarianMTModel") is MARIAN


def test_base_has_the_exact_parameter_count():
    with shapes_only():
        model = Transformer(TransformerConfig.base())
    assert model.count() == model.count(trainable=True) == 63_082_496


BASE = TransformerConfig(11, 1, 2, 8, 12, dropout=0.0)
TINY = {
    "paper": BASE,
    "prenorm": dataclasses.replace(BASE, norm_first=True, final_norm=True, activation="gelu"),
    "marian": dataclasses.replace(
        BASE, decoder_layers=2, halves=True, output_bias=True, activation="silu"
    ),
    "fairseq": dataclasses.replace(BASE, smoothing="fairseq"),
    "annotated": dataclasses.replace(BASE, smoothing="annotated"),
}


def tiny(name: str, **changes) -> Transformer:
    """A small float64 model in which every weight and bias matters."""
    rng = np.random.default_rng(0)
    model = Transformer(dataclasses.replace(TINY[name], **changes), rng).astype(np.float64)
    for _, x in model.named_tensors():
        x.data = x.data + rng.normal(0, 0.3, x.shape)
    return model


SOURCE = np.array([[5, 3, 7, 9], [4, 8, 0, 0]])
INPUTS = np.array([[1, 6, 7], [1, 9, 10]])
TARGETS = np.array([[6, 7, 2], [9, 10, 0]])


@pytest.mark.parametrize("kernels", ["ref", "jit"])
@pytest.mark.parametrize("name", TINY)
def test_whole_model_equals_finite_differences(name, kernels):
    model = tiny(name)
    model.tokens.padding_idx = None  # differences see the pad row in the inputs as well
    with use_kernels(kernels):
        report = gradcheck(model.loss, SOURCE, INPUTS, TARGETS)
    assert report.checks.keys() == dict(model.named_parameters()).keys()


def test_dropout_equals_finite_differences():
    model = tiny("paper", dropout=0.2)

    def loss():
        model.rng.bit_generator.state = np.random.default_rng(3).bit_generator.state
        return model.loss(SOURCE, INPUTS, np.where(INPUTS == 1, 2, INPUTS))

    model.tokens.padding_idx = None
    gradcheck(loss, parameters=model)


def test_padding_changes_nothing_and_earlier_positions_do_not_see_later_ones():
    model = tiny("paper")
    together = model(SOURCE, INPUTS).data
    alone = model(SOURCE[1:, :2], INPUTS[1:]).data
    np.testing.assert_allclose(together[1:], alone, atol=1e-12)
    changed = model(SOURCE, np.array([[1, 6, 9], [1, 9, 3]])).data
    np.testing.assert_array_equal(together[:, :2], changed[:, :2])
    assert not np.allclose(together[:, 2], changed[:, 2])


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", ["paper", "prenorm", "marian"])
def test_translations_are_the_same_with_and_without_caches(name, beams):
    model = Transformer(TINY[name], 2).astype(np.float64)
    for part, x in model.named_parameters():
        x.data = x.data * (3 if "cross_attention" in part else 1)  # or it repeats one token
    source = np.random.default_rng(2).integers(3, 11, (4, 5))
    source[1, 3:] = 0
    cached = model.translate(source, 9, beams=beams)
    np.testing.assert_array_equal(cached, model.translate(source, 9, beams=beams, use_cache=False))
    assert len(np.unique(cached)) > 2
    for row, sentence in zip(cached, source, strict=True):  # the batch makes no difference
        alone = model.translate(sentence[None, sentence != 0], 9, beams=beams)[0]
        np.testing.assert_array_equal(row[: len(alone)], alone)
        assert not row[len(alone) :].any()


def test_a_beam_that_holds_everything_finds_the_most_likely_sequence():
    V, end, count, alpha = 4, 2, 3, 0.8
    rng = np.random.default_rng(5)
    table = {}

    def log_p(prefix):
        if prefix not in table:
            logits = rng.normal(0, 2, V)
            table[prefix] = logits - np.log(np.exp(logits).sum())
        return table[prefix]

    def step(tokens, rows):
        return np.stack([log_p(tuple(t)) for t in tokens.tolist()])

    def score(sequence, first):
        total = sum(log_p((first, *sequence[:i]))[t] for i, t in enumerate(sequence))
        return total / ((5 + len(sequence)) / 6) ** alpha

    for first in range(3):
        every = {
            s[: s.index(end) + 1] if end in s else s
            for s in itertools.product(range(V), repeat=count)
        }
        best = max(every, key=lambda s: score(s, first))
        tokens, scores = beam_search(step, np.array([first]), end, count, V**count, alpha, pad=9)
        assert tuple(tokens[0]) == best
        assert scores[0] == pytest.approx(score(best, first), abs=1e-12)


def test_greedy_search_takes_the_best_token_until_the_end():
    def step(tokens, rows):  # counts up to 3, the end, from wherever it starts
        return np.eye(6)[np.minimum(tokens[:, -1] + 1, 5)]

    tokens = greedy_search(step, np.array([0, 1, 3]), 3, 4, pad=9)
    np.testing.assert_array_equal(tokens, [[1, 2, 3, 9], [2, 3, 9, 9], [4, 5, 5, 5]])


def test_a_longer_translation_wins_with_a_larger_penalty():
    def step(tokens, rows):  # ends at once with p = 0.4, or after three tokens with 0.6 * 0.6
        p = {1: [0.0, 0.6, 0.4], 2: [0.0, 0.6, 0.4], 3: [0.0, 0.0, 1.0]}[tokens.shape[1]]
        with np.errstate(divide="ignore"):
            return np.log(np.tile(p, (len(tokens), 1)))

    short, _ = beam_search(step, np.array([1]), 2, 3, 2, alpha=0.0)
    long, _ = beam_search(step, np.array([1]), 2, 3, 2, alpha=1.0)
    np.testing.assert_array_equal(short, [[2]])
    np.testing.assert_array_equal(long, [[1, 1, 2]])


def test_translating_leaves_the_model_as_it_was():
    model = tiny("paper", dropout=0.5).train()
    first = model.translate(SOURCE, 4)
    np.testing.assert_array_equal(first, model.translate(SOURCE, 4))
    assert model.training and model.encoder.blocks[0].dropout.training


def test_it_learns_to_copy():
    rng = np.random.default_rng(0)
    config = TransformerConfig(7, 1, 2, 16, 32, dropout=0.0, label_smoothing=0.0)
    model = Transformer(config, rng)
    optimizer = minitx.optim.AdamW(model, 1e-2)
    losses = []
    for _ in range(60):
        source = rng.integers(3, 7, (16, 3))
        inputs = np.concatenate([np.ones((16, 1), int), source], axis=1)
        targets = np.concatenate([source, np.full((16, 1), 2)], axis=1)
        optimizer.zero_grad()
        loss = model.loss(source, inputs, targets)
        loss.backward()
        optimizer.step(clip=1.0)
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.encode(np.array([5, 3])), ValueError, r"source has shape \(2,\)"),
        (lambda m: m.encode(np.zeros((1, 0), int)), ValueError, "at least one token"),
        (lambda m: m.encode(np.array([[5, 3], [0, 0]])), ValueError, "source 1 is nothing but"),
        (lambda m: m.encode(np.array([[11]])), IndexError, "id 11"),
        (lambda m: m.loss(SOURCE, INPUTS, TARGETS + 9), IndexError, "target"),
        (lambda m: m.translate(SOURCE, 0), ValueError, "count is 0"),
        (lambda m: m.translate(SOURCE, beams=0), ValueError, "beams 0"),
        (lambda m: m.translate(SOURCE, alpha=-1.0), ValueError, "alpha -1.0"),
    ],
)
def test_bad_input_gets_one_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call(tiny("paper"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": 0}, "layers is 0"),
        ({"decoder_layers": 0}, "decoder_layers is 0"),
        ({"heads": 3}, "width 8 is not a multiple of heads 3"),
        ({"heads": 1, "width": 7}, "and of 2"),
        ({"smoothing": "none"}, "expected one of torch, fairseq, annotated"),
        ({"label_smoothing": 1.0}, "label_smoothing 1.0"),
        ({"end": 11}, r"end is 11; expected an id in \[0, 11\)"),
    ],
)
def test_bad_configurations_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(BASE, **changes)
