"""Modules: walking, state, counting."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from minitx.models.gpt import GPT, GPTConfig
from minitx.nn import (
    Block,
    Dropout,
    LayerNorm,
    Linear,
    Module,
    shapes_only,
)
from minitx.tensor import Tensor


class Zoo(Module):
    """Every way to hold a tensor."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.last = LayerNorm(3)
        self.first = Linear(3, 2, rng, bias=False)
        self.pairs = [Linear(2, 2, rng), (Linear(1, 2, rng, bias=False),)]
        self.named = {"b": LayerNorm(1), "a": Tensor(np.ones(2))}
        self.tied = self.first.weight
        self.again = self.first
        self.buffer = Tensor(np.arange(4))
        self.loose = Tensor([1.5], requires_grad=True)
        self.rng = rng
        self.dropout = Dropout(0.5, rng)
        self.text = "not a tensor"


NAMES = [
    "last.weight",
    "last.bias",
    "first.weight",
    "pairs.0.weight",
    "pairs.0.bias",
    "pairs.1.0.weight",
    "named.b.weight",
    "named.b.bias",
    "named.a",
    "buffer",
    "loose",
]


def test_tensors_come_in_the_order_of_attributes_and_tied_ones_once():
    zoo = Zoo()
    assert [name for name, _ in zoo.named_tensors()] == NAMES == list(zoo.state_dict())
    trained = [name for name in NAMES if name not in ("named.a", "buffer")]
    assert [name for name, _ in zoo.named_parameters()] == trained
    assert [id(x) for x in zoo.parameters()] == [id(x) for _, x in zoo.named_parameters()]
    assert zoo.count() == 3 + 3 + 6 + 4 + 2 + 2 + 1 + 1 + 2 + 4 + 1
    assert zoo.count(trainable=True) == zoo.count() - 2 - 4
    assert zoo.state_dict()["first.weight"] is zoo.tied.data


def test_modules_and_generators_come_once():
    zoo = Zoo()
    kinds = [type(module).__name__ for module in zoo.modules()]
    assert kinds == ["Zoo", "LayerNorm", "Linear", "Linear", "Linear", "LayerNorm", "Dropout"]
    assert [name for name, _ in zoo.named_generators()] == ["rng"]
    zoo.dropout.rng = np.random.default_rng(1)
    assert dict(zoo.named_generators()) == {"rng": zoo.rng, "dropout.rng": zoo.dropout.rng}


def test_a_frozen_tensor_is_state_but_no_parameter():
    zoo = Zoo()
    zoo.first.weight.requires_grad = False
    assert "first.weight" in zoo.state_dict()
    assert "first.weight" not in dict(zoo.named_parameters())


def test_missing_attributes_raise():
    with pytest.raises(AttributeError, match="nothing"):
        _ = Zoo().nothing
    with pytest.raises(AttributeError, match="forward"):
        Zoo()()


def test_train_and_eval_reach_every_module():
    zoo = Zoo()
    assert zoo.eval() is zoo and not any(module.training for module in zoo.modules())
    assert zoo.train() is zoo and all(module.training for module in zoo.modules())


def test_evaluating_records_nothing_and_restores_each_mode():
    zoo = Zoo()
    zoo.last.eval()
    with pytest.raises(ZeroDivisionError), zoo.evaluating():
        assert not any(module.training for module in zoo.modules())
        assert not zoo.first(np.ones((1, 3), np.float32)).requires_grad
        _ = 1 / 0
    assert [module for module in zoo.modules() if not module.training] == [zoo.last]
    assert zoo.first(np.ones((1, 3), np.float32)).requires_grad


def test_zero_grad_forgets():
    layer = Linear(2, 2, np.random.default_rng(0))
    layer(np.ones((1, 2), np.float32)).backward(np.ones((1, 2)))
    assert all(x.grad is not None for x in layer.parameters())
    layer.zero_grad()
    assert all(x.grad is None for x in layer.parameters())


def test_astype_converts_floats_and_leaves_integers():
    zoo = Zoo()
    zoo.loose.grad = np.ones(1, np.float32)
    assert zoo.astype(np.float64) is zoo and zoo.loose.grad is None
    dtypes = {name: str(x.dtype) for name, x in zoo.named_tensors()}
    assert dtypes.pop("buffer") == "int64" and set(dtypes.values()) == {"float64"}
    assert zoo.first(np.ones((1, 3))).dtype == np.float64
    with pytest.raises(TypeError, match="Zoo.astype: int32; expected float32 or float64"):
        zoo.astype(np.int32)


# ---- state -------------------------------------------------------------------------------------


def test_loading_copies_by_name_and_converts_between_float_dtypes():
    source, target = Zoo().astype(np.float64), Zoo()
    for x in source.parameters():
        x.data = x.data + 1
    held = {name: x.data for name, x in target.named_tensors()}
    versions = {name: x.version for name, x in target.named_tensors()}
    target.load_state_dict(source.state_dict())
    for name, x in target.named_tensors():
        assert x.data is held[name] and x.version == versions[name] + 1
        np.testing.assert_array_equal(x.data, source.state_dict()[name].astype(x.dtype))


def test_loading_is_strict_tells_every_name_and_changes_nothing():
    zoo = Zoo()
    before = {name: x.copy() for name, x in zoo.state_dict().items()}
    versions = [x.version for _, x in zoo.named_tensors()]
    state = {name: x + 1 for name, x in before.items()}
    del state["first.weight"], state["named.a"]
    state |= {"news": np.ones(3), "loose": np.ones((1, 1)), "buffer": np.ones(4)}
    with pytest.raises(ValueError) as caught:
        zoo.load_state_dict(state)
    for line in (
        "Zoo: the state does not fit, and nothing was loaded:",
        "missing first.weight (2, 3)",
        "missing named.a (2,)",
        "unexpected news (3,)",
        "loose has shape (1, 1), expected (1,)",
        "buffer has dtype float64, expected int64",
    ):
        assert line in str(caught.value)
    assert str(caught.value).count("\n") == 5
    assert [x.version for _, x in zoo.named_tensors()] == versions
    for name, x in zoo.state_dict().items():
        np.testing.assert_array_equal(x, before[name])


def test_a_state_that_cannot_be_read_to_its_end_changes_nothing():
    class Torn(dict):
        def items(self):
            yield from list(super().items())[:-1]
            raise OSError("the disk is gone")

    zoo = Zoo()
    before = {name: x.copy() for name, x in zoo.state_dict().items()}
    with pytest.raises(OSError, match="disk"):
        zoo.load_state_dict(Torn((name, x + 1) for name, x in before.items()))
    for name, x in zoo.state_dict().items():
        np.testing.assert_array_equal(x, before[name])


def test_the_printed_model_lists_and_counts_its_state():
    text = repr(Zoo()).splitlines()
    assert text[0] == "Zoo" and len(text) == 2 + len(NAMES)
    assert text[3].split() == ["first.weight", "(2,", "3)", "6"]
    assert text[-1].split() == ["total", "29"]


def test_counting_175_billion_parameters_allocates_nothing():
    tracemalloc.start()
    try:
        with shapes_only():
            model = GPT(GPTConfig.gpt3_175b())
        assert model.count() == 174_604_259_328
        assert model.astype(np.float64).tokens.weight.dtype == np.float64
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


def test_a_model_of_shapes_takes_memory_when_it_is_loaded():
    full = Zoo()
    with shapes_only():
        empty = Zoo()
    assert {n: x.shape for n, x in empty.named_tensors()} == {
        n: x.shape for n, x in full.named_tensors()
    }
    assert not empty.first.weight.data.any()
    empty.load_state_dict(full.state_dict())
    for name, x in empty.state_dict().items():
        np.testing.assert_array_equal(x, full.state_dict()[name])
        assert x.flags.writeable and not np.shares_memory(x, full.state_dict()[name])
    assert Zoo().first.weight.data.any()  # the block has ended


def test_shapes_only_draws_nothing():
    rng = np.random.default_rng(5)
    with shapes_only():
        Block(8, 2, rng)
    assert rng.random() == np.random.default_rng(5).random()
