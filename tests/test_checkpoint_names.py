"""Tables of names: both directions, exactly inverse, and every misfit in one error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitx.checkpoint import CheckpointError, official
from minitx.checkpoint import names as module
from minitx.checkpoint.names import Transform, join, names, transpose


@pytest.fixture(autouse=True)
def empty_register(monkeypatch):
    monkeypatch.setattr(module, "_tables", {})


patches = Transform(  # convolution (D, C, 2, 2) <-> matrix (D, C*2*2)
    lambda w: w.reshape(len(w), -1), lambda w: w.reshape(len(w), -1, 2, 2)
)


def gpt():
    return names(
        "tiny.GPT",
        ("tokens.weight", "transformer.wte.weight"),
        ("patches.weight", "transformer.proj.weight", patches),
        ("blocks.{}.norm1.weight", "transformer.h.{}.ln_1.weight"),
        (
            join("blocks.{}.attention.{query,key,value}.weight"),
            "transformer.h.{}.attn.c_attn.weight",
            transpose,
        ),
        (join("blocks.{}.attention.{query,key,value}.bias"), "transformer.h.{}.attn.c_attn.bias"),
        ("stages.{}.blocks.{}.conv.weight", "transformer.layer{}.{}.downsample.0.weight"),
        ("scale", "transformer.scale"),
        tied={"lm_head.weight": "transformer.wte.weight"},
        ignored=("transformer.h.{}.attn.bias", "transformer.h.{}.attn.masked_bias"),
        optional_prefix="transformer.",
    )


def our_state(layers=2, seed=0):
    rng = np.random.default_rng(seed)
    state = {"scale": rng.normal(size=()), "tokens.weight": rng.normal(size=(7, 4))}
    state["patches.weight"] = rng.normal(size=(4, 12))
    for i in range(layers):
        state[f"blocks.{i}.norm1.weight"] = rng.normal(size=4)
        # Grouped-query attention: the joined arrays need not be equally long.
        for name, out in (("query", 4), ("key", 2), ("value", 2)):
            state[f"blocks.{i}.attention.{name}.weight"] = rng.normal(size=(out, 4))
            state[f"blocks.{i}.attention.{name}.bias"] = rng.normal(size=out)
        state[f"stages.1.blocks.{i}.conv.weight"] = rng.normal(size=(2, 2, 3, 3))
    return state


def shapes(state):
    return {name: array.shape for name, array in state.items()}


def assert_same(left, right):
    assert list(left) == list(right)
    for name in left:
        assert left[name].dtype == right[name].dtype
        np.testing.assert_array_equal(left[name], right[name], strict=True)


# --- both directions ---


def test_save_gives_the_official_names_and_layouts():
    state = our_state(layers=12)
    saved = gpt().save(state)
    assert len(saved) == 4 + 12 * 4
    assert saved["transformer.wte.weight"] is saved["lm_head.weight"]
    for i in (1, 11):
        parts = [state[f"blocks.{i}.attention.{n}.weight"] for n in ("query", "key", "value")]
        joined = saved[f"transformer.h.{i}.attn.c_attn.weight"]
        np.testing.assert_array_equal(joined, np.concatenate([part.T for part in parts], axis=1))
        np.testing.assert_array_equal(
            saved[f"transformer.h.{i}.attn.c_attn.bias"][4:6],
            state[f"blocks.{i}.attention.key.bias"],
        )
        conv = saved[f"transformer.layer1.{i}.downsample.0.weight"]
        np.testing.assert_array_equal(conv, state[f"stages.1.blocks.{i}.conv.weight"])
    assert saved["transformer.proj.weight"].shape == (4, 3, 2, 2)


@given(st.integers(0, 12), st.integers(0, 99), st.sampled_from(["f4", "f8", "f2"]), st.randoms())
def test_load_undoes_save_in_any_order(layers, seed, dtype, random):
    module._tables.clear()
    table = gpt()
    state = {name: array.astype(dtype) for name, array in our_state(layers, seed).items()}
    saved = list(table.save(state).items())
    random.shuffle(saved)
    assert_same(table.load(dict(saved), shapes(state)), state)


def test_a_model_that_uses_fewer_rows():
    state = {"tokens.weight": np.ones((3, 2)), "blocks.0.norm1.weight": np.ones(2)}
    table = gpt()
    saved = table.save(state)
    assert saved.keys() == {
        "transformer.wte.weight",
        "lm_head.weight",
        "transformer.h.0.ln_1.weight",
    }
    assert_same(table.load(saved, shapes(state)), state)


def test_transforms_apply_to_the_official_array_in_order():
    first = Transform(lambda w: w[0], lambda w: w[None])
    table = names("x", ("w", "official.w", first, transpose))
    saved = table.save({"w": np.arange(6).reshape(2, 3)})
    assert saved["official.w"].shape == (1, 3, 2)
    assert_same(table.load(saved, {"w": (2, 3)}), {"w": np.arange(6).reshape(2, 3)})


def test_the_inputs_are_not_changed():
    table, state = gpt(), our_state()
    for array in state.values():
        array.flags.writeable = False
    saved = table.save(state)
    names_before = list(saved)
    for array in saved.values():
        array.flags.writeable = False
    table.load(saved, shapes(state))
    assert list(saved) == names_before


# --- aliases, prefixes, buffers ---


def test_a_tied_alias_may_be_absent():
    table, state = gpt(), our_state()
    saved = table.save(state)
    del saved["lm_head.weight"]
    assert_same(table.load(saved, shapes(state)), state)


def test_a_tied_alias_may_stand_alone():
    table, state = gpt(), our_state()
    saved = table.save(state)
    del saved["transformer.wte.weight"]
    assert_same(table.load(saved, shapes(state)), state)


@pytest.mark.parametrize("change", [lambda a: a + 1e-9, lambda a: a[:-1], lambda a: a.T])
def test_a_tied_alias_must_not_differ(change):
    table, state = gpt(), our_state()
    saved = table.save(state)
    saved["lm_head.weight"] = change(saved["lm_head.weight"])
    with pytest.raises(CheckpointError, match="tied: lm_head.weight must equal transformer.wte.we"):
        table.load(saved, shapes(state))


def test_a_tied_alias_with_nan_is_equal_to_its_copy():
    table, state = gpt(), our_state()
    state["tokens.weight"][0, 0] = np.nan
    saved = table.save(state)
    saved["lm_head.weight"] = saved["lm_head.weight"].copy()
    assert_same(table.load(saved, shapes(state)), state)


def test_an_alias_per_layer():
    table = names("x", ("b.{}", "boxes.{}"), tied={"decoder.boxes.{}": "boxes.{}"})
    state = {"b.0": np.ones(1), "b.10": np.zeros(1)}
    saved = table.save(state)
    assert saved.keys() == {"boxes.0", "boxes.10", "decoder.boxes.0", "decoder.boxes.10"}
    assert_same(table.load(saved, shapes(state)), state)
    with pytest.raises(CheckpointError, match="unexpected: decoder.boxes.3"):
        table.load(saved | {"decoder.boxes.3": np.ones(1)}, shapes(state))


def test_the_prefix_may_be_absent():
    table, state = gpt(), our_state()
    saved = table.save(state)
    del saved["lm_head.weight"]
    bare = {name.removeprefix("transformer."): array for name, array in saved.items()}
    bare["h.0.attn.masked_bias"] = np.array(-1e4)
    assert_same(table.load(bare, shapes(state)), state)
    with pytest.raises(CheckpointError, match="unexpected: transformer.wte.weight, with and with"):
        table.load(bare | saved, shapes(state))


def test_buffers_are_ignored_but_not_everything_like_them():
    table, state = gpt(), our_state()
    saved = table.save(state)
    saved["transformer.h.0.attn.bias"] = np.ones((1, 1, 9, 9))
    saved["transformer.h.11.attn.masked_bias"] = np.array(-1e4)
    assert_same(table.load(saved, shapes(state)), state)
    for name in ("transformer.h.x.attn.bias", "transformer.h.0.attn.bias2", "h.0.attn_bias"):
        with pytest.raises(CheckpointError, match=f"unexpected: {name}"):
            table.load(saved | {name: np.ones(1)}, shapes(state))


# --- misfits ---


def test_every_misfit_is_in_one_error():
    table, state = gpt(), our_state()
    saved = table.save(state)
    del saved["transformer.h.1.ln_1.weight"]
    del saved["transformer.h.0.attn.c_attn.bias"]
    saved["transformer.h.2.ln_1.weight"] = np.ones(4)
    saved["score.weight"] = np.ones((2, 4))
    saved["transformer.h.1.attn.c_attn.weight"] = np.ones((8, 4))
    saved["transformer.scale"] = np.ones(1)
    saved["transformer.proj.weight"] = np.array(1.0)
    saved["lm_head.weight"] = np.zeros((7, 4))
    with pytest.raises(CheckpointError) as caught:
        table.load(saved, shapes(state))
    title, *lines = str(caught.value).split("\n  ")
    assert title == "tiny.GPT: the names do not match"
    parts = "query.weight (4, 4), {0}.key.weight (2, 4), {0}.value.weight (2, 4)"
    attention = "blocks.1.attention"
    assert set(lines) == {
        "missing: transformer.h.1.ln_1.weight, for blocks.1.norm1.weight (4,)",
        "missing: transformer.h.0.attn.c_attn.bias, for blocks.0.attention.query.bias (4,), "
        "blocks.0.attention.key.bias (2,), blocks.0.attention.value.bias (2,)",
        "misshapen: transformer.h.1.attn.c_attn.weight (8, 4) does not fit "
        f"{attention}." + parts.format(attention),
        "misshapen: transformer.scale (1,) does not fit scale ()",
        "misshapen: transformer.proj.weight () does not fit patches.weight (4, 12)",
        "unexpected: transformer.h.2.ln_1.weight (4,)",
        "unexpected: score.weight (2, 4)",
        "tied: lm_head.weight must equal transformer.wte.weight, but differs",
    }
    kinds = [line.partition(":")[0] for line in lines]
    assert kinds == sorted(kinds)


@pytest.mark.parametrize("shape", [(), (7,), (9,), (8, 1), (0,)])
def test_a_joined_array_of_a_wrong_shape(shape):
    table, state = gpt(), our_state()
    saved = table.save(state) | {"transformer.h.0.attn.c_attn.bias": np.ones(shape)}
    with pytest.raises(CheckpointError, match="misshapen: transformer.h.0.attn.c_attn.bias"):
        table.load(saved, shapes(state))


def test_our_names_that_the_table_does_not_know():
    table, state = gpt(), our_state()
    more = state | {"head.weight": np.ones(1), "blocks.x.norm1.weight": np.ones(4)}
    for call in (lambda: table.save(more), lambda: table.load(table.save(state), shapes(more))):
        with pytest.raises(CheckpointError) as caught:
            call()
        assert str(caught.value).count("is in 0 rows of the table, expected 1") == 2
        assert "ours: head.weight" in str(caught.value)


def test_an_incomplete_join():
    table, state = gpt(), our_state()
    del state["blocks.1.attention.key.bias"]
    with pytest.raises(
        CheckpointError, match="ours: blocks.1.attention.key.bias is missing, a part"
    ):
        table.save(state)
    with pytest.raises(
        CheckpointError, match="ours: blocks.1.attention.key.bias is missing, a part"
    ):
        table.load({}, shapes(state))


def test_a_join_of_arrays_that_do_not_fit_together():
    table, state = gpt(), our_state()
    state["blocks.1.attention.key.weight"] = np.ones((2, 5))
    with pytest.raises(
        CheckpointError, match=r"misshapen: transformer.h.1.attn.c_attn.weight cann"
    ):
        table.save(state)


# --- former names, larger models, reports ---


def renamed():
    return names(
        "tiny.Renamed",
        ("norms.{}.weight", "layer.{}.norm.weight"),
        ("tokens.weight", "wte.weight"),
        tied={"head.weight": "wte.weight"},
        ignored=("classifier.weight",),
        extra_prefix="model.",
        former={"layer.{}.norm.gamma": "layer.{}.norm.weight"},
    )


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize("part", ["weight", "gamma"])
def test_former_names_and_a_larger_models_prefix_are_read_and_not_written(prefix, part):
    table, x, tokens = renamed(), np.arange(3.0), np.ones((2, 2))
    given = {f"{prefix}layer.0.norm.{part}": x, f"{prefix}wte.weight": tokens}
    given["classifier.weight"] = x
    ours = {"norms.0.weight": (3,), "tokens.weight": (2, 2)}
    loaded = table.load(given, ours)
    np.testing.assert_array_equal(loaded["norms.0.weight"], x)
    saved = table.save(loaded)
    assert saved.keys() == {"layer.0.norm.weight", "wte.weight", "head.weight"}
    assert table.save(loaded, aliases=False).keys() == {"layer.0.norm.weight", "wte.weight"}
    assert list(table.mapping(given, ours).values()) == [["norms.0.weight"], ["tokens.weight"], []]


def test_a_former_name_beside_todays_must_agree():
    given = {"layer.0.norm.weight": np.ones(3), "wte.weight": np.ones((2, 2))}
    ours = {"norms.0.weight": (3,), "tokens.weight": (2, 2)}
    with pytest.raises(CheckpointError, match="layer.0.norm.gamma must equal layer.0.norm.weight"):
        renamed().load({**given, "layer.0.norm.gamma": np.zeros(3)}, ours)


# --- making and finding tables ---


def test_tables_are_found_by_name():
    table = gpt()
    assert official("tiny.GPT") is table
    with pytest.raises(CheckpointError, match="no table of names for 'GPT'; known: tiny.GPT"):
        official("GPT")


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([("a", "x"), ("a", "y")], {}, "'a' appears 2 times"),
        ([("a", "x"), ("b", "x")], {}, "'x' appears 2 times"),
        ([(join("a.{b,b}"), "x")], {}, "'a.b' appears 2 times"),
        ([("a.{}", "x")], {}, "'a.{}' and 'x' differ in their {}"),
        ([("a", "x")], {"tied": {"y": "z"}}, "'y' is tied to 'z', not a row"),
        ([("a", "x")], {"tied": {"y.{}": "x"}}, "'y.{}' and 'x' differ"),
    ],
)
def test_slips_of_the_author(rows, options, message):
    with pytest.raises(ValueError, match=message):
        names("t", *rows, **options)
    with pytest.raises(CheckpointError, match="known: none"):
        official("t")


def test_a_second_table_of_the_same_name():
    gpt()
    with pytest.raises(ValueError, match="there is a table 'tiny.GPT' already"):
        gpt()


def test_join():
    assert join("b.{}.{q,k,v}.w") == ("b.{}.q.w", "b.{}.k.w", "b.{}.v.w")
    for wrong in ("b.{}.w", "b", "{a,b}.{c,d}"):
        with pytest.raises(ValueError, match="join: expected one list in braces"):
            join(wrong)
