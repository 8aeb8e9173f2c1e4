"""Traces: names, values, gradients, saved values, sources; and that looking changes nothing."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

import minitx as mx
from minitx import ops
from minitx.jit import use_kernels
from minitx.models import GPT, GPTConfig
from minitx.nn import Embedding, Linear, Module
from minitx.observer import Observer, no_grad, observing
from minitx.tensor import Tensor

pytestmark = pytest.mark.usefixtures("one_thread")

RNG = np.random.default_rng
IDS = RNG(0).integers(0, 11, (2, 5))
TARGETS = RNG(1).integers(0, 11, (2, 5))


def gpt(dtype=np.float64, **changes):
    """Every weight and bias counts, so that no gradient is zero but the key biases'."""
    model = GPT(GPTConfig(11, 6, 2, 2, 8, **changes)).astype(dtype)
    rng = RNG(2)
    for x in model.parameters():
        x.data[...] = x.data + rng.normal(0, 0.3, x.shape)
    return model


def traced(model):
    with mx.trace(model) as t:
        model.loss(IDS, TARGETS).backward()
    return t


# ---- names ---------------------------------------------------------------------------------------


def test_names_are_module_path_op_and_count():
    names = list(traced(gpt()).nodes)
    assert names[:4] == [
        "tokens.embedding",
        "positions.embedding",
        "add",
        "blocks.0.norm1.layer_norm",
    ]
    assert names[-3:] == ["norm.layer_norm", "linear", "cross_entropy"]
    second = [name for name in names if name.startswith("blocks.1.")]
    assert second == [
        name.replace("blocks.0.", "blocks.1.") for name in names if "blocks.0." in name
    ]
    assert {"blocks.1.attention.self_attend", "blocks.1.add", "blocks.1.add_2"} < set(second)
    assert names == list(traced(gpt()).nodes)


def test_a_record_is_found_by_op_leaf_module_and_pattern():
    model = gpt()
    t = traced(model)
    assert t["blocks.1.attention"] is t["blocks.1.attention.output.linear"]
    assert t["blocks.1"] is t["blocks.1.add_2"]
    assert t["tokens.weight"].value is model.tokens.weight.data
    assert t["*.self_attend"] == [t[f"blocks.{i}.attention.self_attend"] for i in range(2)]
    assert t["norm.*"] == [t["norm.layer_norm"], t["norm.weight"], t["norm.bias"]]
    assert len(t) == len(list(t)) == len(t.nodes)
    with pytest.raises(KeyError, match="did you mean blocks.1.attention"):
        t["blocks.1.attn"]
    with pytest.raises(KeyError, match="nothing is named 'z.\\*'"):
        t["z.*"]


def test_a_module_used_twice_and_tensors_of_no_module_have_names_too():
    layer = Linear(3, 3, RNG(0))
    x = Tensor(np.ones((2, 3)), requires_grad=True, dtype=np.float32)
    with mx.trace(layer) as t:
        (layer(layer(x)) * x).sum().backward()
    assert list(t.nodes) == ["linear", "linear_2", "multiply", "sum"]
    assert list(t.leaves) == ["input", "weight", "bias"]
    assert t["linear_2"].inputs == {0: "linear", 1: "weight", 2: "bias"}
    np.testing.assert_array_equal(t["input"].grad, x.grad)
    with mx.trace() as t:
        layer(x)
    assert list(t.nodes) == ["linear"] and list(t.leaves) == ["input", "input_2", "input_3"]


def test_the_source_is_the_line_of_the_model():
    t = traced(gpt())
    stack = t["blocks.0.attention.self_attend"].stack
    assert [pathlib.Path(line.file).stem for line in stack[:2]] == ["attention", "transformer"]
    assert "ops.self_attend(" in stack[0].text and str(stack[0]).startswith(
        "minitx/nn/attention.py:"
    )
    assert stack[-1].function == "loss" and "cross_entropy" in stack[-1].text
    with mx.trace() as t:
        Tensor([1.0]) + 1
    assert str(t["add"].source).startswith("test_trace.py:") and t["add"].source.text.endswith(
        "+ 1"
    )


# ---- values and gradients ------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", ["ref", "jit"])
@pytest.mark.parametrize("norm_first", [True, False])
def test_looking_changes_no_bit(kernels, norm_first):
    with use_kernels(kernels):
        seen, alone = (gpt(np.float32, norm_first=norm_first, dropout=0.1) for _ in range(2))
        with mx.trace(seen) as t:
            loss = seen.loss(IDS, TARGETS)
            loss.backward()
        again = alone.loss(IDS, TARGETS)
        again.backward()
    assert loss.item() == again.item() == t["cross_entropy"].value
    for (name, a), b in zip(seen.named_parameters(), alone.parameters(), strict=True):
        np.testing.assert_array_equal(a.grad, b.grad)
        np.testing.assert_array_equal(t[name].grad, a.grad)


class Moved(Observer):
    """Adds ``change`` to what the op number ``place`` computes."""

    def __init__(self, place, change):
        self.place, self.change, self.count = place, change, -1

    def forward(self, name, args, result):
        self.count += 1
        if self.count == self.place:
            result.data = result.data + self.change


@pytest.mark.parametrize("kernels", ["ref", "jit"])
@pytest.mark.parametrize("norm_first", [True, False])
def test_every_gradient_of_a_traced_gpt_is_that_of_finite_differences(kernels, norm_first):
    """Activations' and parameters', along a random direction each, differences of fourth order."""
    model, rng, h = gpt(norm_first=norm_first), RNG(3), 1e-3
    with use_kernels(kernels):
        t = traced(model)
        largest = max(np.linalg.norm(x.grad) for x in t.match("*") if x.grad is not None)

        def slope(value):
            return (8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h)

        def moved(place, change):
            with no_grad(), observing(Moved(place, change)):
                return model.loss(IDS, TARGETS).item()

        def shifted(parameter, change):
            base = parameter.data
            parameter.data = base + change
            try:
                return moved(-2, 0)
            finally:
                parameter.data = base

        checked = 0
        parameters = dict(model.named_parameters())
        for place, x in enumerate([*t, *t.leaves.values()]):
            direction = rng.standard_normal(x.value.shape)
            if x.is_leaf:
                difference = slope(lambda s, x=x, d=direction: shifted(parameters[x.name], s * d))
            else:
                difference = slope(lambda s, i=place, d=direction: moved(i, s * d))
            size = max(np.linalg.norm(x.grad), 1e-6 * largest)
            assert abs(np.vdot(x.grad, direction) - difference) <= 1e-6 * size, x
            checked += 1
    assert checked == len(t.nodes) + len(parameters)


def test_two_passes_through_one_trace_add_up():
    model = gpt()
    once = traced(model)
    with mx.trace(model) as t:
        loss = model.loss(IDS, TARGETS)
        loss.backward(keep_graph=True)
        loss.backward()
    for x in once:
        np.testing.assert_allclose(t[x.name].grad, 2 * x.grad, rtol=1e-12)
    np.testing.assert_allclose(t["tokens.weight"].grad, 2 * once["tokens.weight"].grad, rtol=1e-12)


def test_what_no_grad_computes_is_recorded_without_a_gradient():
    model = gpt()
    with mx.trace(model) as t, no_grad():
        model.loss(IDS, TARGETS)
    assert len(t) == len(traced(model)) and all(x.grad is None for x in t)
    assert not t["linear"].differentiable and t["linear"].saved == {}


# ---- what a record can tell ----------------------------------------------------------------------


def test_saved_values_have_their_own_names():
    t = traced(gpt())
    saved = t["blocks.0.norm1.layer_norm"].saved
    assert {"mean", "rstd", "x", "weight"} <= saved.keys()
    np.testing.assert_allclose(saved["mean"][..., 0], t["add"].value.mean(-1))
    assert {"q", "k", "v", "y", "lse"} <= t["blocks.0.attention.self_attend"].saved.keys()
    assert t["cross_entropy"].saved["lse"].shape == (10,)


def test_bytes_count_what_the_node_keeps():
    t = traced(gpt())
    attend = t["blocks.0.attention.self_attend"]
    value, y = attend.value, attend.saved["y"]  # head by head, the same numbers
    copied = 0 if np.may_share_memory(value, y) else y.nbytes
    assert attend.bytes == value.nbytes + copied + attend.saved["lse"].nbytes
    up = t["blocks.0.mlp.up.linear"]
    assert up.bytes == up.value.nbytes + up.saved["slope"].nbytes


def test_attention_unfolds_into_scores_probabilities_and_their_gradients():
    t = traced(gpt())
    record = t["blocks.1.attention.self_attend"]
    q, k, v = record.saved["q"], record.saved["k"], record.saved["v"]
    found = record.unfold()
    scores = np.where(np.tril(np.ones((5, 5), bool)), q @ k.swapaxes(-1, -2) / 2, -np.inf)
    prob = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    np.testing.assert_allclose(found["attend.scores"], scores)
    np.testing.assert_allclose(found["attend.prob"], prob)
    dy = record.grad.reshape(2, 5, 2, 4).swapaxes(1, 2)
    dprob = dy @ v.swapaxes(-1, -2)
    np.testing.assert_allclose(found["dscores.dprob"], dprob)
    dscores = prob * (dprob - (prob * dprob).sum(-1, keepdims=True))
    np.testing.assert_allclose(found["dscores.dscores"], dscores, atol=1e-15)
    assert {"linear.z", "gelu_tanh.t"} <= t["blocks.0.mlp.up.linear"].unfold().keys()
    assert t["blocks.0.add"].unfold() == {}
    with pytest.raises(ValueError, match="a leaf is made by no op"):
        t["tokens.weight"].unfold()


def test_an_op_runs_again_with_the_same_random_draws():
    model = gpt(dropout=0.5)
    with mx.trace(model) as t:
        model.loss(IDS, TARGETS).backward()
    state = model.rng.bit_generator.state
    for x in t:
        value, _ = x.run()
        np.testing.assert_array_equal(value, x.value)
        assert x.grad is None or np.isfinite(x.grad).all()
    t["blocks.0.attention.self_attend"].unfold()
    assert model.rng.bit_generator.state == state


def test_the_table_has_a_row_for_each():
    t = traced(gpt())
    lines = t.table().splitlines()
    assert len(lines) == 2 + len(t.nodes) + len(t.leaves) and str(t) == t.table()
    assert lines[0].split() == [
        "shape",
        "norm",
        "min",
        "max",
        "grad",
        "norm",
        "forward",
        "backward",
    ]
    row = next(line for line in lines if line.startswith("blocks.0.attention.self_attend"))
    assert row.split()[1] == "2x5x8"
    assert len(t.table("blocks.1.*").splitlines()) < len(lines) / 2 and max(map(len, lines)) <= 100
    shares = [float(cell[:-1]) for line in lines[1:-1] for cell in line.split() if cell[-1] == "%"]
    assert abs(sum(shares) - 100) < 2


# ---- explain_nan ---------------------------------------------------------------------------------


class Toy(Module):
    def __init__(self, trouble):
        self.table = Embedding(4, 3, RNG(0), std=1.0)
        self.layer = Linear(3, 2, RNG(1))
        self.trouble = trouble

    def loss(self, ids):
        return self.trouble(self.layer(self.table(ids))).sum()


@pytest.mark.parametrize(
    ("trouble", "parts"),
    [
        (lambda y: ops.log(y * 0 - 1), ["forward of op 'log'", "at log", "-1 to -1", "lambda y"]),
        (lambda y: ops.sqrt(y * 0), ["backward of op 'sqrt'", "at sqrt", "0 to 0", "cotangent"]),
    ],
)
def test_the_first_number_that_is_not_finite_is_explained(trouble, parts):
    model = Toy(trouble)
    found = mx.explain_nan(model.loss, np.array([0, 3]))
    assert all(part in found for part in parts), found
    assert all(x.grad is None for x in model.parameters())
    assert mx.explain_nan(Toy(lambda y: y).loss, np.array([0])) == ""


def test_a_parameter_is_named_with_its_numbers():
    model = gpt(np.float32)
    model.blocks[1].mlp.up.weight.data[3, 3] = np.inf
    found = mx.explain_nan(model.loss, IDS, TARGETS)
    assert "parameter blocks.1.mlp.up.weight is not finite" in found
    assert "at blocks.1.mlp.up.linear" in found and "1 of 256 infinite" in found
    assert "minitx/models/gpt.py" in found
    assert mx.explain_nan(lambda: model.loss(IDS, TARGETS), model=model) == found
