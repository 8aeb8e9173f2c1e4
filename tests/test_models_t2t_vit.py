"""T2T-ViT against the authors' implementation, published sizes, finite differences, and itself."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from golden import Golden

from minitx import ops
from minitx.gradcheck import gradcheck
from minitx.jit import use_kernels
from minitx.models.official.t2t_vit import PERFORMER, TRANSFORMER
from minitx.models.t2t_vit import (
    T2TViT,
    T2TViTConfig,
    TokenPerformer,
    TokenTransformer,
    deep_narrow,
)
from minitx.nn import shapes_only
from minitx.tensor import Tensor

both_kernels = pytest.mark.parametrize("kernels", ["ref", "jit"])
TABLES = {"performer": PERFORMER, "transformer": TRANSFORMER}


def build(golden: Golden):
    """Our model of a fixture's configuration, with its weights, in float64; and its table."""
    c = golden.config
    backbone = deep_narrow(
        c["img_size"], 16, c["depth"], c["num_heads"], c["embed_dim"], classes=c["num_classes"]
    )
    model = T2TViT(T2TViTConfig(backbone, c["tokens_type"], c["token_dim"])).astype(np.float64)
    shapes = {name: x.shape for name, x in model.state_dict().items()}
    table = TABLES[c["tokens_type"]]
    model.load_state_dict(table.load(golden.state, shapes))
    return model, table


@both_kernels
@pytest.mark.parametrize("tokens", TABLES)
def test_outputs_and_gradients_equal_the_reference(tokens, kernels):
    golden = Golden(f"t2t_vit__{tokens}")
    model, table = build(golden)
    images = Tensor(golden.inputs["pixel_values"], requires_grad=True)
    with use_kernels(kernels):
        golden.check_output("tokens", model.patches(images).data.reshape(2, 9, 32))
        golden.check_output("features", model.features(images).data)
        golden.check_output("logits", model(images).data)
        loss = model.loss(images, golden.inputs["labels"])
        golden.check_loss(loss.item())
        loss.backward()
    golden.check_grads(table.save({name: x.grad for name, x in model.named_parameters()}))
    golden.check_input_grad("pixel_values", images.grad)


@pytest.mark.parametrize("tokens", TABLES)
def test_official_states_survive_a_round_trip_and_fix_what_ours_fix(tokens):
    golden = Golden(f"t2t_vit__{tokens}")
    model, table = build(golden)
    saved = table.save(model.state_dict())
    golden.check_state(saved)
    trained = table.save({name: x.data for name, x in model.named_parameters()})
    assert saved.keys() - trained.keys() == set(golden.meta["frozen"])
    fresh = T2TViT(T2TViTConfig(model.config, tokens, 12)).positions.data
    np.testing.assert_allclose(fresh, golden.state["pos_embed"][0], rtol=0, atol=1e-7)


PUBLISHED = {
    "t2t_vit_14": 21_545_550,
    "t2t_vit_19": 39_177_422,
    "t2t_vit_24": 64_105_934,
    "t2t_vit_t_14": 21_541_070,
}


@pytest.mark.parametrize("preset", PUBLISHED)
def test_presets_have_the_published_parameter_counts(preset):
    with shapes_only():
        model = T2TViT(getattr(T2TViTConfig, preset)())
    assert model.count() == PUBLISHED[preset]


# ---- on small models ---------------------------------------------------------------------------

TINY = T2TViTConfig(
    deep_narrow((4, 8), 4, 1, 2, 8, channels=2, classes=3),
    token_width=4,
    splits=((3, 1, 1), (3, 2, 1), (3, 2, 1)),
)


def tiny(seed=0, **fields):
    """In float64, and so that every weight and bias matters."""
    rng = np.random.default_rng(seed)
    model = T2TViT(dataclasses.replace(TINY, **fields), rng).astype(np.float64)
    for x in model.parameters():
        x.data = x.data + rng.normal(0, 0.3, x.shape)
    return model


@both_kernels
@pytest.mark.parametrize("tokens", TABLES)
def test_whole_model_equals_finite_differences(tokens, kernels):
    rng = np.random.default_rng(1)
    model = tiny(tokens=tokens)
    images, labels = rng.standard_normal((2, 2, 4, 8)), np.array([2, 0])
    with use_kernels(kernels):
        report = gradcheck(lambda x: model.loss(x, labels, 0.1), images, parameters=model)
    assert report.checks.keys() == {"x"} | dict(model.named_parameters()).keys()


def test_a_soft_split_joins_overlapping_neighbours():
    model, image = tiny().patches, np.arange(2.0 * 4 * 8).reshape(1, 2, 4, 8)
    tokens = model.soft_split(image, (3, 2, 1)).data
    assert tokens.shape == (1, 2 * 4, 2 * 3 * 3)
    padded = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)))
    for n, (i, j) in enumerate(np.ndindex(2, 4)):
        window = padded[0, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        np.testing.assert_array_equal(tokens[0, n], window.reshape(-1))
    whole = model.soft_split(image, (1, 1, 0))
    np.testing.assert_array_equal(model.restructure(whole, (4, 8)).data, image)


def test_the_performer_is_softmax_attention_as_its_directions_become_many():
    """Its kernel is an estimate of exp(q k), unbiased, with an error that shrinks."""
    rng = np.random.default_rng(2)
    q, k, v = (size * rng.standard_normal((1, 5, 8)) for size in (0.25, 0.25, 1))
    scores = np.exp(q @ k.swapaxes(1, 2))
    exact = scores / scores.sum(-1, keepdims=True) @ v
    errors = []
    for count in (8, 4000):
        layer = TokenPerformer(3, 8, rng, 1.0, 0.0).astype(np.float64)
        layer.directions.data = rng.standard_normal((count, 8))
        features = layer.features(Tensor(np.stack([q, k], axis=2)))
        errors.append(np.abs(ops.linear_attend(features, v).data - exact).max())
    assert errors[1] < 0.03 < 0.1 < errors[0]


@pytest.mark.parametrize("shape", [(0, 5), (2, 0)])
def test_layers_take_no_images_and_no_tokens(shape):
    rng = np.random.default_rng(2)
    for layer in TokenPerformer(3, 8, rng, 0.5, 0.0), TokenTransformer(3, 8, rng, 0.5, 0.0):
        assert layer(Tensor(np.zeros((*shape, 3), np.float32))).shape == (*shape, 8)


def test_directions_are_orthogonal_and_fixed():
    directions = TokenPerformer(3, 8, np.random.default_rng(3), 0.5, 0.0).directions
    assert directions.shape == (4, 8) and not directions.requires_grad
    product = directions.data @ directions.data.T
    np.testing.assert_allclose(product, 4 * np.eye(4), rtol=0, atol=1e-5)


def test_other_sizes_attention_maps_and_fine_tuning_are_those_of_any_vit():
    model, images = tiny(), np.random.default_rng(4).standard_normal((2, 2, 8, 8))
    assert model(images).shape == (2, 3) and model.attention_maps(images)[0].shape == (2, 2, 5, 5)
    tuned = model.adapted(classes=5)
    assert tuned.head.weight.shape == (5, 8) and not tuned(images).data.any()
    with model.evaluating():
        np.testing.assert_array_equal(tuned.features(images).data, model.features(images).data)


def test_the_small_form_takes_digits():
    model = T2TViT(T2TViTConfig.for_small_images(channels=1, classes=10))
    images = np.random.default_rng(5).standard_normal((2, 1, 28, 28), np.float32)
    assert model.patches(images).shape == (2, 7, 7, 64) and model(images).shape == (2, 10)


# ---- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: tiny(tokens="linear"), ValueError, "tokens is 'linear'; expected 'performer' or"),
        (lambda: tiny(features=0), ValueError, "features 0"),
        (lambda: tiny(splits=()), ValueError, "at least one split"),
        (
            lambda: tiny(splits=((3, 2, 1),)),
            ValueError,
            r"end with \(2, 4\) tokens, .* with \(1, 2\); its patch is the product .*, 2",
        ),
        (
            lambda: tiny()(np.zeros((1, 2, 6, 8))),
            ValueError,
            "T2TViT: images of 6 x 8 pixels do not divide into patches of 4 x 4; .*to 8 x 8",
        ),
        (lambda: tiny()(np.zeros((1, 3, 4, 8))), ValueError, r"T2TViT: .*\(B, 2, H, W\)"),
        (lambda: tiny()(np.zeros((1, 2, 4, 8), np.int32)), TypeError, "dtype int32; expected fl"),
        (
            lambda: tiny().loss(np.zeros((1, 2, 4, 8)), np.array([3])),
            IndexError,
            r"target 3 is outside \[0, 3\)",
        ),
    ],
)
def test_bad_input_gets_one_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call()
