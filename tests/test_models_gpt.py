"""GPT against independent implementations, published sizes, finite differences, and itself."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from golden import Golden

import minitx
from minitx.gradcheck import gradcheck
from minitx.jit import use_kernels
from minitx.models.gpt import GPT, GPTConfig
from minitx.models.official.gpt import GPT1, GPT2, GPT_NEO
from minitx.nn import KVCache, shapes_only
from minitx.tensor import Tensor

TABLES = {"gpt1": GPT1, "gpt2": GPT2, "gpt_neo": GPT_NEO}


def build(golden: Golden, table) -> GPT:
    """Our model of a fixture's configuration, with its weights, in float64."""
    c = golden.config
    neo = table is GPT_NEO
    config = GPTConfig(
        vocab_size=c["vocab_size"],
        context=c["max_position_embeddings"] if neo else c["n_positions"],
        layers=c["num_layers"] if neo else c["n_layer"],
        heads=c["num_heads"] if neo else c["n_head"],
        width=c["hidden_size"] if neo else c["n_embd"],
        norm_first=table is not GPT1,
        window=c["window_size"] if neo else c.get("window", 0),
        eps=c["layer_norm_epsilon"],
        qkv_bias=not neo,
        scaled=not neo,
        cross_attention=c.get("add_cross_attention") or False,
    )
    model = GPT(config).astype(np.float64)
    shapes = {name: x.shape for name, x in model.state_dict().items()}
    state = {
        name: x for name, x in golden.state.items() if not name.startswith("multiple_choice_head")
    }
    model.load_state_dict(table.load(state, shapes))
    return model


def shifted(labels: np.ndarray) -> np.ndarray:
    """Targets in place: position t is scored on label t + 1, the last one on nothing."""
    return np.concatenate([labels[:, 1:], np.full_like(labels[:, :1], -100)], axis=1)


def gradients(model: GPT, table) -> dict[str, np.ndarray]:
    return table.save({name: x.grad for name, x in model.named_parameters()})


@pytest.mark.parametrize("kernels", ["ref", "jit"])
@pytest.mark.parametrize(
    "name",
    [
        "gpt1__lm",
        "gpt2__lm",
        "gpt2__leftpad",
        "gpt2__banded",
        "gpt2__cross",
        "gpt2__generate",
        "gpt_neo__lm",
    ],
)
def test_outputs_and_gradients_equal_the_reference(name, kernels):
    golden, table = Golden(name), TABLES[name.split("__")[0]]
    model, x = build(golden, table), golden.inputs
    options = {"mask": x["attention_mask"], "positions": x.get("position_ids")}
    if "encoder_hidden_states" in x:
        options |= {
            "encoded": Tensor(x["encoder_hidden_states"]),
            "encoded_mask": x["encoder_attention_mask"],
        }
    with use_kernels(kernels):
        states = model.hidden_states(x["input_ids"], **options)
        real = x["attention_mask"].astype(bool)
        for i, state in enumerate(states):
            golden.check_output(f"hidden_{i}", state.data, real)
        golden.check_output("logits", model.logits(states[-1]).data, real)
        loss = model.loss(x["input_ids"], shifted(x["labels"]), **options)
        golden.check_loss(loss.item())
        loss.backward()
    golden.check_grads(gradients(model, table))


@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_tokens_equal_the_reference(use_cache):
    golden = Golden("gpt2__generate")
    model, frozen = build(golden, GPT2), golden.outputs["greedy"]
    prompt = frozen[:, :6]
    np.testing.assert_array_equal(prompt, golden.inputs["input_ids"][:, :6])
    ours = model.generate(prompt, frozen.shape[1] - 6, temperature=0, use_cache=use_cache)
    np.testing.assert_array_equal(ours, frozen)


PUBLISHED = {
    "gpt1": 116_534_784,
    "gpt2_small": 124_439_808,
    "gpt2_medium": 354_823_168,
    "gpt2_large": 774_030_080,
    "gpt2_xl": 1_557_611_200,
    "gpt3_small": 125_226_240,
    "gpt3_175b": 174_604_259_328,
    "gpt_neo_125m": 125_198_592,
}


@pytest.mark.parametrize("preset", PUBLISHED)
def test_presets_have_the_published_parameter_counts(preset):
    with shapes_only():
        model = GPT(getattr(GPTConfig, preset)())
    assert model.count() == model.count(trainable=True) == PUBLISHED[preset]


@pytest.mark.parametrize("name", ["gpt1__lm", "gpt2__cross", "gpt_neo__lm"])
def test_official_states_survive_a_round_trip(name):
    golden, table = Golden(name), TABLES[name.split("__")[0]]
    saved = table.save(build(golden, table).state_dict())
    assert saved.keys() == golden.state.keys()
    for key, x in golden.state.items():
        np.testing.assert_array_equal(saved[key], x)


def test_a_bare_official_model_loads_without_its_prefix_and_with_its_mask_buffers():
    golden = Golden("gpt2__lm")
    expected = build(golden, GPT2).state_dict()
    bare = {
        k.removeprefix("transformer."): x for k, x in golden.state.items() if "lm_head" not in k
    }
    bare["h.0.attn.bias"] = np.ones((1, 1, 24, 24), bool)
    loaded = GPT2.load(bare, {name: x.shape for name, x in expected.items()})
    for name, x in expected.items():
        np.testing.assert_array_equal(loaded[name], x)


TINY = {
    "gpt1": GPTConfig(vocab_size=11, context=7, layers=2, heads=2, width=8, norm_first=False),
    "gpt2": GPTConfig(vocab_size=11, context=7, layers=2, heads=2, width=8),
    "gpt3": GPTConfig(vocab_size=11, context=7, layers=2, heads=2, width=8, window=3),
    "gpt_neo": GPTConfig(11, 7, 2, 2, 8, window=3, qkv_bias=False, scaled=False),
}


def tiny(name: str, seed: int = 0, **changes) -> GPT:
    """A small float64 model in which every weight and bias matters."""
    rng = np.random.default_rng(seed)
    model = GPT(dataclasses.replace(TINY[name], **changes), rng).astype(np.float64)
    for _, x in model.named_parameters():
        x.data = x.data + rng.normal(0, 0.3, x.shape)
    return model


@pytest.mark.parametrize("kernels", ["ref", "jit"])
@pytest.mark.parametrize("name", TINY)
def test_whole_model_equals_finite_differences(name, kernels):
    rng = np.random.default_rng(1)
    model = tiny(name)
    ids, targets = rng.integers(0, 11, (2, 7)), rng.integers(0, 11, (2, 7))
    targets[0, 2] = -100
    with use_kernels(kernels):
        report = gradcheck(model.loss, ids, targets)
    assert report.checks.keys() == dict(model.named_parameters()).keys()


@pytest.mark.parametrize("kernels", ["ref", "jit"])
def test_cross_attention_dropout_and_padding_equal_finite_differences(kernels):
    rng = np.random.default_rng(2)
    model = tiny("gpt2", cross_attention=True, dropout=0.2)
    ids, encoded = rng.integers(0, 11, (2, 5)), rng.standard_normal((2, 3, 8))
    mask = np.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], bool)
    targets = np.where(mask, rng.integers(0, 11, (2, 5)), -100)

    def loss(encoded):
        model.rng.bit_generator.state = np.random.default_rng(3).bit_generator.state
        return model.loss(ids, targets, mask=mask, encoded=encoded, encoded_mask=mask[:, :3])

    with use_kernels(kernels):
        report = gradcheck(loss, encoded, parameters=model)
    assert len(report.checks) == 1 + len(model.parameters())


def test_hidden_states_of_earlier_tokens_do_not_see_later_ones():
    model = tiny("gpt3")
    ids = np.arange(7)[None]
    changed = np.where(np.arange(7) == 5, 9, ids)
    before, after = model(ids).data, model(changed).data
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert not np.allclose(before[:, 5:], after[:, 5:])


@pytest.mark.parametrize("name", TINY)
def test_generation_is_the_same_with_and_without_the_cache_and_beyond_the_context(name):
    model = tiny(name)
    prompt = np.array([[1, 2, 3], [4, 5, 6]])
    options = {"temperature": 0.9, "top_k": 5, "top_p": 0.95, "seed": 7}
    cached = model.generate(prompt, 12, **options)
    assert cached.shape == (2, 15)
    np.testing.assert_array_equal(cached, model.generate(prompt, 12, use_cache=False, **options))
    np.testing.assert_array_equal(cached, model.generate(prompt, 12, **options))
    assert not np.array_equal(cached, model.generate(prompt, 12, **(options | {"seed": 8})))


@pytest.mark.parametrize("form", ["ref", "jit"])
@pytest.mark.parametrize("name", TINY)
def test_one_position_in_one_kernel_is_what_all_layers_give(name, form):
    model, ids = tiny(name), np.random.default_rng(0).integers(0, 10, (3, 7))
    caches = [KVCache(7) for _ in model.blocks]
    with use_kernels(form), model.evaluating():
        model(ids[:, :3], caches=caches)
        for t in range(3, 7):
            x = model.embed(ids[:, t : t + 1], np.array([t])).data[:, 0]
            expected = model(ids[:, : t + 1]).data[:, -1]
            np.testing.assert_allclose(model.decode(x, caches), expected, rtol=1e-9)
        with pytest.raises(ValueError, match="8 positions do not fit its capacity of 7"):
            model.decode(x, caches)
        single, known = x.astype(np.float32), caches[0]
        for wrong, cache in (x, KVCache(9)), (x[:2], known), (single, known):
            with pytest.raises(ValueError, match="Block.decode: x is .* expected the same batch"):
                model.blocks[0].decode(wrong, cache)
    assert [cache.length for cache in caches] == [7] * len(model.blocks)


def test_who_looks_at_generation_sees_every_op():
    class Names(minitx.Observer):
        def __init__(self):
            self.seen = []

        def forward(self, name, args, result):
            self.seen.append(name)

    model = tiny("gpt2")
    with minitx.observing(Names()) as names:
        looked_at = model.generate(np.array([[1, 2]]), 5, temperature=0)
    assert names.seen.count("attend") == 5 * len(model.blocks)
    np.testing.assert_array_equal(looked_at, model.generate(np.array([[1, 2]]), 5, temperature=0))


def test_left_padding_changes_nothing():
    model = tiny("gpt2")
    alone = model.generate(np.array([[3, 1, 4]]), 3, temperature=0)
    padded = np.array([[0, 0, 3, 1, 4]])
    mask = np.array([[False, False, True, True, True]])
    together = model.generate(padded, 3, temperature=0, mask=mask)
    np.testing.assert_array_equal(alone[:, 3:], together[:, 5:])


def test_streaming_yields_tokens_one_by_one_and_leaves_the_model_as_it_was():
    model = tiny("gpt2", dropout=0.5)
    model.train()
    stream = model.stream(np.array([[1]]), 4, temperature=0)
    tokens = [next(stream), next(stream)]
    stream.close()
    assert model.training
    expected = model.generate(np.array([[1]]), 2, temperature=0)[:, 1:]
    np.testing.assert_array_equal(np.stack(tokens, axis=1), expected)


def test_extending_the_vocabulary_keeps_the_old_tokens():
    model = tiny("gpt2")
    longer = model.extend_vocabulary(3)
    assert longer.config.vocab_size == 14 and longer.tokens.weight.dtype == np.float64
    ids = np.array([[1, 2, 3]])
    np.testing.assert_array_equal(model(ids).data, longer(ids).data)
    assert not np.shares_memory(model.norm.weight.data, longer.norm.weight.data)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.loss(np.zeros((1, 8), int), np.zeros((1, 8), int)), ValueError, "context, 7"),
        (lambda m: m(np.array([[0, 11]])), IndexError, r"id 11 is outside \[0, 11\)"),
        (lambda m: m(np.array([[0, -1]])), IndexError, "id -1"),
        (lambda m: m(np.array([0, 1])), ValueError, r"expected \(B, T\)"),
        (lambda m: m(np.array([[0.5]])), TypeError, "expected integers"),
        (lambda m: m.generate(np.zeros((1, 0), int), 1), ValueError, "at least one token"),
        (lambda m: m.stream(np.array([[1]]), 1, top_p=0), ValueError, "top_p"),
        (lambda m: m.stream(np.array([[1, 2]]), 1, mask=[[1, 0]]), ValueError, "on the left"),
        (lambda m: m.stream(np.array([[1, 2]]), 1, mask=[[1]]), ValueError, "mask has shape"),
        (lambda m: m(np.array([[1, 2]]), mask=[[0.0, -1e9]]), TypeError, "mask has dtype float64"),
        (lambda m: m.loss(np.array([[1]]), np.array([[11]])), IndexError, "target 11"),
    ],
)
def test_bad_input_gets_one_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call(tiny("gpt2"))


def test_bad_configurations_are_refused():
    with pytest.raises(ValueError, match="width 10 is not a multiple of heads 4"):
        GPTConfig(11, 7, 1, 4, 10)
    with pytest.raises(ValueError, match="layers is 0"):
        GPTConfig(11, 7, 0, 2, 8)
    with pytest.raises(ValueError, match="expected 0 <= dropout < 1"):
        GPTConfig(11, 7, 1, 2, 8, dropout=1.5)


def test_a_stream_leaves_the_model_training_between_tokens():
    model = tiny("gpt2", dropout=0.5)
    model.train()
    next(model.stream(np.array([[1]]), 2))
    assert model.training and model.blocks[0].dropout.training


def test_official_tables_are_found_by_name():
    assert minitx.checkpoint.official("transformers.GPT2LMHeadModel") is GPT2
