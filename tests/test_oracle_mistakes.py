"""The oracle's mistakes are what they claim: a wrong value with its gradient, or that alone."""

from __future__ import annotations

import numpy as np
import pytest
from test_oracle_trial import golden  # noqa: F401  (a fixture)

from minitx import Tensor, ops
from minitx.nn import Module
from minitx.oracle import dump
from minitx.oracle.mistakes import MISTAKES, NotHere, anywhere, known_guesses
from minitx.oracle.mistakes.registry import entries
from minitx.oracle.replay import Graph, Replay, given
from minitx.tensor import OPS, unbroadcast

OPS_TOLD = sorted({op for each in MISTAKES for op in each.ops})


def gradients(vjp, dy, inputs):
    found = entries(vjp, dy)
    return {i: found[i] for i in inputs if i < len(found) and found[i] is not None}


def arguments_of(node, replay):
    """The op's arguments, and the positions of those that are differentiated."""
    arguments, options = given(node, replay.arrays)
    floats = [i for i in node.inputs if arguments[i].dtype.kind == "f"]
    return arguments, options, floats


def slope(variant, op, node, arguments, options, floats, dy, rng, step=1e-6):
    """The derivative along one random direction: measured, and by the pullback."""
    along = {i: rng.normal(size=arguments[i].shape) for i in floats}

    def value(t):
        moved = [x + t * along[i] if i in along else x for i, x in enumerate(arguments)]
        return float((variant(op, node, moved, options)[0] * dy).sum())

    pulled = gradients(variant(op, node, arguments, options)[1], dy, floats)
    return (value(step) - value(-step)) / (2 * step), sum(
        float((unbroadcast(g, along[i].shape) * along[i]).sum()) for i, g in pulled.items()
    )


class Odd(Module):
    """What a GPT leaves out: a mask, a window and a bias of scores, padding, smoothed labels."""

    def __init__(self, rng):
        self.table = Tensor(rng.normal(size=(7, 8)), requires_grad=True)
        self.bias = Tensor(rng.normal(size=(1, 2, 4, 4)), requires_grad=True)

    def loss(self, ids, mask, targets):
        x = ops.embedding(self.table, ids, 2)  # B T C
        q = x.reshape(2, 4, 2, 4).transpose(0, 2, 1, 3)  # B T (H D) -> B H T D
        y = ops.attend(q, q * 0.5, ops.gelu(q), mask, self.bias, causal=True, window=3)
        y = ops.attend(y, ops.gelu(y, "tanh"), y, scale=1.0)
        logits = y.transpose(0, 2, 1, 3).reshape(2, 4, 8)
        return ops.cross_entropy(logits, targets, label_smoothing=0.1)


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    rng = np.random.default_rng(3)
    mask = np.array([[1, 1, 1, 1], [1, 1, 1, 0]], bool)[:, None, None, :]
    ids, targets = rng.integers(0, 7, (2, 2, 4))
    ids[0, :2] = 2, 5
    inputs = {"ids": ids, "mask": mask, "targets": targets}
    return dump(tmp_path_factory.mktemp("odd") / "odd", Odd(rng), inputs, steps=0)


@pytest.mark.parametrize(("name", "least"), [("golden", 50), ("odd", 28)])
def test_every_mistake_has_its_own_gradient(name, least, request):
    """Where the value is wrong, the pullback is that of the wrong value, as in a port."""
    golden = request.getfixturevalue(name)  # noqa: F811
    replay, rng, seen = Replay(Graph(golden), {}), np.random.default_rng(0), set()
    for node in replay.graph.nodes:
        op = OPS[node.op].__wrapped__
        arguments, options, floats = arguments_of(node, replay)
        right, right_vjp = op(*arguments, **options)
        dy = rng.normal(size=right.shape)
        for guess in known_guesses(replay.graph, node):
            try:
                with np.errstate(all="ignore"):
                    value, vjp = guess.variant(op, node, arguments, options)
            except NotHere:
                continue
            if not np.isfinite(value).all() or "ReLU" in guess.name:
                continue
            assert value.shape == right.shape
            if np.allclose(value, right, rtol=1e-12, atol=1e-12):
                wrong, known = (gradients(f, dy, floats) for f in (vjp, right_vjp))
                same = [np.allclose(wrong[i], known[i], rtol=1e-9) for i in known]
                if "overwritten" not in guess.name:  # no matter where no id is repeated
                    assert not all(same) or "eps" in guess.name, (node.name, guess.name)
            else:
                if node.op == "embedding" and 2 in arguments[2:]:
                    continue  # a padding row has no gradient, whatever the slope
                used = [i for i in floats if i != 2 or guess.name != "bias left out"]
                case = guess.variant, op, node, arguments, options, used, dy, rng
                measured, pulled = slope(*case)
                assert measured == pytest.approx(pulled, rel=1e-5, abs=1e-6), guess.name
            seen.add(guess.name)
    assert len(seen) >= least, sorted(seen)


@pytest.mark.parametrize("op", OPS_TOLD)
def test_mistakes_are_told_in_words(op):
    for each in (x for x in MISTAKES if op in x.ops):
        assert op in OPS and each.name and (each.sentence + " ")[0] in "{ti" and len(each.name) < 70


@pytest.mark.parametrize(
    ("factor", "told"),
    [(2, "2"), (0.5, "1/2"), (-1, "-1"), (8**0.5, "sqrt(8)"), (-(8**-0.5), "-1/sqrt(8)")],
)
def test_factors(factor, told):
    assert anywhere.tell_factor(factor, 64) == told
    assert anywhere.tell_factor(factor * 1.001, 64) is None
    assert anywhere.tell_factor(1.0, 64) is None
