"""The oracle on trial: a port in plain NumPy with one mistake at a time, of which each is named."""

from __future__ import annotations

import numpy as np
import port
import pytest

from minitx.models.gpt import GPT, GPTConfig
from minitx.oracle import dump, updates
from minitx.oracle.diagnose import diagnose, investigate
from minitx.oracle.diff import AGREES, compare
from minitx.oracle.replay import Graph

HEADS = 2
# The planted mistake -> the op that is to be named, and the cause.
MISTAKES = {
    # ---- forward ----
    "gelu erf": ("blocks.0.mlp.up.linear", "activation: GELU through erf"),
    "gelu quick": ("blocks.0.mlp.up.linear", "activation: quick GELU"),
    "gelu relu": ("blocks.0.mlp.up.linear", "activation: ReLU"),
    "eps 1e-6": ("blocks.0.norm1.layer_norm", "eps is 1e-06"),
    "eps 1e-12": ("blocks.0.norm1.layer_norm", "eps is 1e-12"),
    "eps outside": ("blocks.0.norm1.layer_norm", "eps outside the root"),
    "unbiased": ("blocks.0.norm1.layer_norm", "unbiased variance"),
    "rms": ("blocks.0.norm1.layer_norm", "mean not subtracted"),
    "norm1 skipped": ("blocks.0.norm1.layer_norm", "layer_norm left out"),
    "final norm skipped": ("norm.layer_norm", "layer_norm left out"),
    "post-norm": ("blocks.0.norm1.layer_norm", "post-norm instead of pre-norm"),
    "mlp reads the residual": ("blocks.0.mlp.up.linear", "norm left out"),
    "scale left out": ("blocks.0.attention.self_attend", "scale 1/sqrt(D) left out"),
    "scale twice": ("blocks.0.attention.self_attend", "scale applied twice"),
    "scale sqrt(C)": ("blocks.0.attention.self_attend", "scale 1/sqrt(C)"),
    "mask strict": (
        "blocks.0.attention.self_attend",
        "causal mask one too strict, first row NaN",
    ),
    "mask strict, -1e9": (
        "blocks.0.attention.self_attend",
        "causal mask one too strict, first row all alike",
    ),
    "mask wide": ("blocks.0.attention.self_attend", "causal mask one too wide"),
    "mask left out": ("blocks.0.attention.self_attend", "causal mask left out"),
    "masked with 0": ("blocks.0.attention.self_attend", "masked scores are 0"),
    "softmax over queries": ("blocks.0.attention.self_attend", "softmax over the queries"),
    "qkv interleaved": (
        "blocks.0.attention.self_attend",
        "query, key and value interleaved head by head",
    ),
    "order kqv": (
        "blocks.0.attention.self_attend",
        "query, key and value taken in the order kqv",
    ),
    "weights stacked vqk": (
        "blocks.0.attention.linear",
        "query, key and value in the order vqk",
    ),
    "heads (D, heads)": (
        "blocks.0.attention.self_attend",
        "heads and their width swapped in the projection",
    ),
    "heads not moved back": ("blocks.0.attention.self_attend", "heads not moved back"),
    "projection reads (D, heads)": (
        "blocks.0.attention.output.linear",
        "heads and their width swapped in the columns",
    ),
    "weight transposed": ("blocks.0.attention.output.linear", "weight transposed"),
    "weight stored in out": ("blocks.0.mlp.down.linear", "weight stored as (in, out)"),
    "bias left out": ("blocks.0.mlp.up.linear", "bias left out"),
    "residual dropped": ("blocks.0.add", "residual dropped"),
    "residual after norm": ("blocks.0.add", "residual taken after the norm"),
    "branch halved": ("blocks.0.add_2", "one side times 1/2"),
    "embedding scaled": ("tokens.embedding", "scaled by the root of the width"),
    "positions from 1": ("positions.embedding", "rows +1 off"),
    "positions left out": ("add", "positions.embedding not added"),
    "loss summed": ("cross_entropy", "sum instead of mean"),
    "loss over all": ("cross_entropy", "mean over all tokens, not over those that count"),
    "loss over batch": ("cross_entropy", "mean over the sequences only"),
    "targets not ignored": ("cross_entropy", "ignored targets are scored"),
    "targets shifted": ("cross_entropy", "targets shifted by 1"),
    # ---- backward ----
    "loss gradient summed": ("cross_entropy", "sum instead of mean, in the gradient only"),
    "gelu backward erf": (
        "blocks.1.mlp.up.linear",
        "activation: GELU through erf, in the gradient only",
    ),
    "gelu backward left out": (
        "blocks.1.mlp.up.linear",
        "activation: left out, in the gradient only",
    ),
    "norm backward without mean": ("norm.layer_norm", "norm's gradient without the mean"),
    "norm backward without variance": ("norm.layer_norm", "norm's gradient without the variance"),
    "norm backward without weight": ("norm.layer_norm", "norm's gradient without the weight"),
    "norm weight from x": (
        "blocks.0.norm1.layer_norm",
        "weight's gradient from x, not from its normal form",
    ),
    "softmax backward without sum": (
        "blocks.1.attention.self_attend",
        "softmax's gradient without its sum",
    ),
    "scale left out of backward": (
        "blocks.1.attention.self_attend",
        "scale left out of the gradient",
    ),
    "dx transposed": (
        "blocks.1.attention.output.linear",
        "input's gradient by the transposed weight",
    ),
    "residual gradient left out": ("blocks.0.add_2", "residual's gradient left out"),
    "residual gradient twice": ("blocks.0.add_2", "gradient counted twice"),
    "gradient around attention left out": ("blocks.1.add", "residual's gradient left out"),
    "only the head's gradient": ("tokens.embedding", "tied gradient left out"),
    "only the embedding's gradient": ("linear", "tied gradient left out"),
    "repeated ids overwritten": ("tokens.embedding", "gradients of a repeated id overwritten"),
    "position gradient first sequence": ("add", "gradient of a part only, not summed"),
    "position gradient mean": ("add", "gradient averaged, not summed"),
    "bias gradient first row": ("blocks.0.mlp.down.linear", "gradient of a part only, not summed"),
    "bias gradient mean": ("blocks.0.mlp.down.linear", "gradient averaged, not summed"),
    "bias gradient unsummed": ("blocks.0.mlp.down.linear", "not summed"),
    "norm bias gradient first sequence": (
        "blocks.0.norm2.layer_norm",
        "gradient of a part only, not summed",
    ),
    "weight gradient transposed": (
        "blocks.0.attention.output.linear",
        "weight's gradient transposed",
    ),
    "weight gradient (in, out)": ("blocks.0.mlp.up.linear", "transposed"),
    "weight gradient last sequence": (
        "blocks.0.mlp.up.linear",
        "gradient of a part only, not summed",
    ),
}
FORWARD_ONLY = {"post-norm", "norm1 skipped", "heads not moved back", "final norm skipped"}


def bundle(path, layers, steps):
    """Weights large enough for every mistake to show, a repeated token, ignored targets."""
    rng = np.random.default_rng(1)
    model = GPT(GPTConfig(vocab_size=11, context=8, layers=layers, heads=HEADS, width=8), rng)
    for _, x in model.named_parameters():
        x.data += 0.3 * rng.normal(size=x.shape).astype(np.float32)
    ids, targets = rng.integers(0, 11, (2, 3, 6))
    targets[0, -2:] = -100
    return dump(path / "gpt", model, {"inputs": ids, "targets": targets}, steps=steps)


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    return bundle(tmp_path_factory.mktemp("golden"), layers=2, steps=0)


def run(golden, *mistakes, dtype=np.float64):
    """All that the port records, by its own names."""
    inputs = golden.arrays["input/inputs"], golden.arrays["input/targets"]
    mine = port.Port(golden.kind("parameter"), HEADS, mistakes, dtype)
    with np.errstate(all="ignore"):
        return mine(*inputs, backward=not FORWARD_ONLY & set(mistakes))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_it_is_named(golden, mistake):
    diff = compare(golden, run(golden, mistake), port.TABLE)
    found = diagnose(diff, diff.first)
    assert (found.node.name, found.cause) == MISTAKES[mistake]


@pytest.mark.parametrize(
    "mistake", ["gelu erf", "eps 1e-6", "only the head's gradient", "gelu backward erf"]
)
def test_it_is_named_in_float32(golden, mistake):
    diff = compare(golden, run(golden, mistake, dtype=np.float32), port.TABLE)
    found = diagnose(diff, diff.first)
    assert (found.node.name, found.cause) == MISTAKES[mistake]


# ---- no false alarm ------------------------------------------------------------------------------

BLOCKS = ("x0", "h0.x", "h1.x", "lnf", "loss")
SUBSETS = {
    "everything": lambda name: True,
    "values": lambda name: not name.startswith(("d ", "grad/")),
    "blocks and gradients": lambda name: name.removeprefix("d ") in BLOCKS or "grad/" in name,
    "gradients": lambda name: "grad/" in name,
    "every third": lambda name: sum(map(ord, name)) % 3 == 0,
}


@pytest.mark.parametrize("subset", SUBSETS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_right_port_is_clean(golden, dtype, subset):
    arrays = {k: x for k, x in run(golden, dtype=dtype).items() if SUBSETS[subset](k)}
    diff = compare(golden, arrays, port.TABLE)
    assert diff.clean and len(diff.checks) == len(arrays) and not diff.port.unknown


# ---- less than everything recorded, more than one mistake ----------------------------------------


@pytest.mark.parametrize(
    ("mistake", "first", "node", "cause"),
    [
        ("gelu erf", "value/blocks.0.add_2", *MISTAKES["gelu erf"]),
        ("scale left out", "value/blocks.0.add_2", *MISTAKES["scale left out"]),
        ("unbiased", "value/blocks.0.add_2", "blocks.0.norm2.layer_norm", "unbiased variance"),
        ("dx transposed", "cotangent/blocks.0.add_2", *MISTAKES["dx transposed"]),
        ("gelu backward erf", "cotangent/blocks.0.add_2", *MISTAKES["gelu backward erf"]),
        ("only the head's gradient", "grad/tokens.weight", *MISTAKES["only the head's gradient"]),
    ],
)
def test_a_port_that_records_its_blocks(golden, mistake, first, node, cause):
    """The verdict is over the ops in between, one of which is named where a mistake fits."""
    arrays = run(golden, mistake)
    arrays = {k: x for k, x in arrays.items() if SUBSETS["blocks and gradients"](k)}
    diff = compare(golden, arrays, port.TABLE)
    found = diagnose(diff, diff.first)
    assert diff.first.name == first and len(diff.first.suspects) > 1
    assert (found.node.name, found.cause) == (node, cause)


def test_a_port_that_records_gradients_alone(golden):
    arrays = {k: x for k, x in run(golden, "scale left out").items() if "grad/" in k}
    diff = compare(golden, arrays)
    assert diagnose(diff, diff.first).cause == "scale 1/sqrt(D) left out"


def test_one_mistake_after_the_other(golden):
    mistakes = "gelu erf", "eps 1e-6", "bias gradient mean", "residual gradient left out"
    diff = compare(golden, run(golden, *mistakes), port.TABLE)
    found = list(investigate(diff))
    assert {x.cause for x in found} == {MISTAKES[mistake][1] for mistake in mistakes}
    assert found[-1].left == 0
    everywhere = {x.cause: len(x.same) for x in found}
    assert everywhere["eps is 1e-06"] == 5 and everywhere["activation: GELU through erf"] == 2
    assert everywhere["residual's gradient left out"] == 1


def test_a_mistake_that_nobody_knows(golden):
    """The op is named all the same, and what follows from it is not blamed."""
    arrays = run(golden)
    arrays["h0.att"] = arrays["h0.att"] + np.sin(np.arange(8))
    diff = compare(golden, arrays, port.TABLE)
    (found,) = investigate(diff)
    assert found.node.name == "blocks.0.attention.self_attend"
    assert not found.fits and found.tried > 20 and found.cause == ""
    assert diff.checks[6].name == "value/blocks.0.attention.output.linear"
    assert diff.checks[6].status == AGREES  # only the record is off


# ---- the optimizer -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return bundle(tmp_path_factory.mktemp("trained"), layers=1, steps=2)


@pytest.mark.parametrize("mistake", ["", *updates.RULES])
def test_steps_of_the_optimizer(trained, mistake):
    rules = {"": updates.rule_of(trained)} | {x[0]: x[2] for x in updates.other_rules(trained)}
    if mistake not in rules:
        pytest.skip("the golden run does it that way")
    steps = updates.simulate(Graph(trained), rules[mistake], {})
    diff = compare(trained, run(trained) | steps, port.TABLE)
    found = [(x.node.name, x.cause) for x in investigate(diff)]
    assert found == ([("optimizer", mistake)] if mistake else [])
