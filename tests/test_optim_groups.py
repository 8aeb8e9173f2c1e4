"""Learning rates of their own: by any rule, and layer by layer."""

from __future__ import annotations

import numpy as np
import pytest
from packed import NAMES, Net, set_gradients, values

from minitx.jit import use_kernels
from minitx.models.gpt import GPT, GPTConfig
from minitx.models.gpt_finetune import GPTClassifier
from minitx.nn import LayerNorm, Linear, Module
from minitx.optim import EMA, SGD, AdamW, layerwise

both_kernels = pytest.mark.parametrize("kernels", ["ref", "jit"])
SETTINGS = {AdamW: {"betas": (0.8, 0.9)}, SGD: {"momentum": 0.9}}


def by_layer(name, parameter):
    return {"norm": 0.25, "one": 0.0, "two": 2.0}[name.split(".")[0]]


@both_kernels
@pytest.mark.parametrize("kind", [AdamW, SGD])
def test_a_scaled_parameter_moves_as_at_that_rate(kind, kernels):
    """Beside it, whole models are trained at each of the rates; parameters share nothing."""
    options = {"weight_decay": 0.3} | SETTINGS[kind]
    with use_kernels(kernels):
        scaled = Net()
        optimizer = kind(scaled, lr=0.01, lr_scale=by_layer, **options)
        others = {scale: Net() for scale in (0.0, 0.25, 2.0)}
        made = {scale: kind(model, lr=0.01 * scale, **options) for scale, model in others.items()}
        for seed in range(4):
            for model in (scaled, *others.values()):
                set_gradients(model, np.random.default_rng(seed))
            optimizer.step()
            for other in made.values():
                other.step()
    for name, x in values(scaled).items():
        expected = values(others[by_layer(name, None)])[name]
        np.testing.assert_allclose(x, expected, rtol=1e-15, atol=0, err_msg=name)
    np.testing.assert_array_equal(values(scaled)["one.weight"], values(Net())["one.weight"])


def test_groups_cover_the_buffer_and_keep_the_models_order():
    optimizer = AdamW(Net(), lr_scale=lambda name, x: 0.5 if name.startswith("norm") else 1)
    expected = ["one.weight", "two.weight", "norm.weight", "norm.bias", "one.bias", "two.bias"]
    assert list(optimizer.parameters) == expected and sorted(expected) == sorted(NAMES)
    told = [(g.part.start, g.part.stop, g.decays, g.lr_scale) for g in optimizer.groups]
    assert told == [(0, 32, True, 1.0), (32, 42, False, 0.5), (42, 49, False, 1.0)]
    assert optimizer.decayed == 32 and optimizer.data.size == 49
    assert len(AdamW(Net()).groups) == 2
    assert [g.decays for g in SGD(Net(), 0.1, decay=lambda name, x: True).groups] == [True]


def test_the_state_does_not_depend_on_the_groups():
    one, two = AdamW(Net()), AdamW(Net(seed=1), lr_scale=by_layer)
    one.buffers["m"][...] = np.arange(49)
    two.load_state(one.state())
    for name, x in one.state().items():
        np.testing.assert_array_equal(two.state()[name], x)


@pytest.mark.parametrize("scale", [-1.0, np.nan, np.inf])
def test_a_bad_scale_is_told_by_name(scale):
    with pytest.raises(ValueError, match=f"SGD: lr_scale of norm.weight is {scale}; expected"):
        SGD(Net(), 0.1, lr_scale=lambda name, x: scale)


# ---- layer by layer ----------------------------------------------------------------------------


class Encoder(Module):
    def __init__(self, depth=3):
        rng = np.random.default_rng(0)
        self.patches = Linear(2, 2, rng)
        self.blocks = [Linear(2, 2, rng) for _ in range(depth)]
        self.norm = LayerNorm(2)


class Classifier(Module):
    def __init__(self, depth=3):
        self.encoder = Encoder(depth)
        self.head = Linear(2, 2, np.random.default_rng(0))


class Pair(Module):
    def __init__(self):
        self.encoder, self.decoder = Encoder(), Encoder(1)


@pytest.mark.parametrize("blocks", ["blocks", "encoder.blocks"])
def test_rates_shrink_from_the_head_down(blocks):
    model = Classifier()
    scale = layerwise(model, 0.5, blocks)
    scales = {name.rpartition(".")[0]: scale(name, x) for name, x in model.named_parameters()}
    assert scales == {
        "encoder.patches": 1 / 16,
        "encoder.blocks.0": 1 / 8,
        "encoder.blocks.1": 1 / 4,
        "encoder.blocks.2": 1 / 2,
        "encoder.norm": 1,
        "head": 1,
    }
    optimizer = SGD(model, 1.0, lr_scale=scale)
    optimizer.grad[...] = 1
    before = values(model)
    optimizer.step()
    for name, x in values(model).items():
        moved = before[name] - x
        np.testing.assert_allclose(moved, scales[name.rpartition(".")[0]], rtol=1e-6)


def test_frozen_blocks_count():
    model = Encoder(depth=12)
    for x in model.blocks[-1].parameters():
        x.requires_grad = False
    scale = layerwise(model, 0.5)
    assert scale("blocks.10.weight", model.blocks[10].weight) == 1 / 4
    assert len(SGD(model, 0.1, lr_scale=scale).groups) == 2 * 13 - 1  # norms have no matrices


def test_a_fine_tuned_gpt():
    gpt = GPT(GPTConfig(7, 5, 2, 1, 4), 0)
    classifier, _ = GPTClassifier.from_pretrained(gpt, 3)
    scale = layerwise(classifier, 0.1)
    of = {name: scale(name, x) for name, x in classifier.named_parameters()}
    np.testing.assert_allclose(
        [of[f"gpt.{name}.weight"] for name in ("tokens", "positions", "blocks.0.mlp.up")]
        + [of["gpt.blocks.1.norm1.bias"], of["gpt.norm.bias"], of["head.weight"]],
        [1e-3, 1e-3, 1e-2, 1e-1, 1, 1],
    )


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: layerwise(Encoder(), 0), "layerwise: decay is 0; expected 0 < decay <= 1"),
        (lambda: layerwise(Encoder(), 1.1), "layerwise: decay is 1.1"),
        (lambda: layerwise(Net(), 0.5), "layerwise: Net has nothing as 'blocks'; expected"),
        (lambda: layerwise(Encoder(), 0.5, "ocks"), "has nothing as 'ocks'"),
        (lambda: layerwise(Pair(), 0.5), "Pair has decoder.blocks, encoder.blocks as 'blocks'"),
        (
            lambda: SGD(Net(), 0.1, lr_scale=layerwise(Encoder(), 0.5)),
            "no parameter norm.weight|one",
        ),
    ],
)
def test_bad_arguments_get_one_clear_error(call, says):
    with pytest.raises(ValueError, match=says):
        call()


# ---- an average that warms up ------------------------------------------------------------------


def test_an_average_that_warms_up_soon_forgets_its_beginning():
    model = Net()
    optimizer = SGD(model, 0.1)
    ema = EMA(optimizer, 0.5, warmup=True)
    expected = optimizer.data.copy()
    for t, decay in enumerate(
        [2 / 11, 3 / 12, 4 / 13, 5 / 14, 6 / 15, 7 / 16, 8 / 17, 0.5, 0.5], 1
    ):
        set_gradients(model, np.random.default_rng(t))
        optimizer.step()
        ema.update()
        expected = decay * expected + (1 - decay) * optimizer.data
    np.testing.assert_allclose(ema.average, expected, rtol=0, atol=1e-14)
