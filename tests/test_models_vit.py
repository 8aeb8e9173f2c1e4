"""ViT against independent implementations, published sizes, finite differences, and itself."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from golden import Golden

from minitx import ops
from minitx.gradcheck import gradcheck
from minitx.jit import use_kernels
from minitx.models.official.vit import TIMM, TRANSFORMERS, TRANSFORMERS4
from minitx.models.vit import HybridEmbedding, ViT, ViTConfig
from minitx.nn import Module, PatchEmbedding, constant, normal, shapes_only
from minitx.tensor import Tensor

both_kernels = pytest.mark.parametrize("kernels", ["ref", "jit"])
NAMES = ["vit__hf", "vit__interp", "vit__timm", "vit__timm_gap"]


def build(golden: Golden):
    """Our model of a fixture's configuration, with its weights, in float64; and its table."""
    c = golden.config
    if "hidden_size" in c:
        table = TRANSFORMERS
        config = ViTConfig(
            c["image_size"],
            c["patch_size"],
            c["num_hidden_layers"],
            c["num_attention_heads"],
            c["hidden_size"],
            c["intermediate_size"],
            classes=c["num_labels"],
            eps=c["layer_norm_eps"],
        )
    else:
        table = TIMM
        config = ViTConfig(
            c["img_size"],
            c["patch_size"],
            c["depth"],
            c["num_heads"],
            c["embed_dim"],
            int(c["embed_dim"] * c["mlp_ratio"]),
            classes=c["num_classes"],
            pool="mean" if c.get("global_pool") == "avg" else "cls",
        )
    model = ViT(config).astype(np.float64)
    shapes = {name: x.shape for name, x in model.state_dict().items()}
    model.load_state_dict(table.load(golden.state, shapes))
    return model, table


def older_name(name):
    """A name in transformers 4, given that in version 5."""
    changes = {
        "vit.layers": "vit.encoder.layer",
        "attention.o_proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
        "q_proj": "attention.query",
        "k_proj": "attention.key",
        "v_proj": "attention.value",
    }
    for new, old in changes.items():
        name = name.replace(new, old)
    return name


@both_kernels
@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_gradients_equal_the_reference(name, kernels):
    golden = Golden(name)
    model, table = build(golden)
    images = Tensor(golden.inputs["pixel_values"], requires_grad=True)
    with use_kernels(kernels):
        states = model.hidden_states(images)
        if "tokens" in golden.outputs:
            golden.check_output("tokens", states[-1].data)
        else:  # all of them, the last without its norm
            states[-1] = model.blocks[-1](states[-2])
            for i, state in enumerate(states):
                golden.check_output(f"hidden_{i}", state.data)
        golden.check_output("logits", model(images).data)
        loss = model.loss(images, golden.inputs["labels"])
        golden.check_loss(loss.item())
        loss.backward()
    golden.check_grads(table.save({name: x.grad for name, x in model.named_parameters()}))
    golden.check_input_grad("pixel_values", images.grad)


@pytest.mark.parametrize("name", NAMES)
def test_official_states_survive_a_round_trip(name):
    golden = Golden(name)
    model, table = build(golden)
    saved = table.save(model.state_dict())
    golden.check_state(saved)


def test_files_of_an_older_transformers_load_too():
    golden = Golden("vit__hf")
    model, _ = build(golden)
    state = TRANSFORMERS4.save(model.state_dict())
    assert state.keys() == {older_name(name) for name in golden.state}
    assert "vit.encoder.layer.1.attention.attention.query.bias" in state
    state["vit.pooler.dense.bias"] = np.zeros(32)
    bare = {name.removeprefix("vit."): x for name, x in state.items()}
    loaded = TRANSFORMERS4.load(bare, {name: x.shape for name, x in model.state_dict().items()})
    for name, x in model.state_dict().items():
        np.testing.assert_array_equal(loaded[name], x)


PUBLISHED = {
    "base": 86_567_656,
    "large": 304_326_632,
    "huge": 632_045_800,
    "tiny": 5_717_416,
    "small": 22_050_664,
}


@pytest.mark.parametrize("preset", PUBLISHED)
def test_presets_have_the_published_parameter_counts(preset):
    with shapes_only():
        model = ViT(getattr(ViTConfig, preset)())
    assert model.count() == model.count(trainable=True) == PUBLISHED[preset]


# ---- on small models ---------------------------------------------------------------------------


def randomised(model, rng):
    """In float64, and so that every weight and bias matters."""
    for x in model.astype(np.float64).parameters():
        x.data = x.data + rng.normal(0, 0.3, x.shape)
    return model


def tiny(seed=0, patches=None, **fields):
    rng = np.random.default_rng(seed)
    config = ViTConfig((4, 6), 2, 2, 2, 8, 12, channels=2, classes=3)
    return randomised(ViT(dataclasses.replace(config, **fields), rng, patches), rng)


class Stem(Module):
    """A network of convolutions, or of one: 2 x 2 pixels to 3 channels."""

    def __init__(self, rng):
        self.weight, self.bias = normal(rng, 0.5, 3, 2, 2, 2), constant(0, 3)

    def forward(self, images):
        return ops.relu(ops.conv2d(images, self.weight, self.bias, stride=2))


VARIANTS = {
    "class token": {},
    "mean": {"pool": "mean", "qkv_bias": False, "head_hidden": 5},
    "plane": {"positions": "plane"},
    "line": {"positions": "line", "scale": 0.3},
    "tall patches": {"patch": (4, 2)},
}


@both_kernels
@pytest.mark.parametrize("name", VARIANTS)
def test_whole_model_equals_finite_differences(name, kernels):
    rng = np.random.default_rng(1)
    model = tiny(**VARIANTS[name])
    images = rng.standard_normal((2, 2, 4, 6))
    with use_kernels(kernels):
        report = gradcheck(
            lambda images: model.loss(images, np.array([2, 0]), 0.1), images, parameters=model
        )
    assert report.checks.keys() == {"images"} | dict(model.named_parameters()).keys()


@both_kernels
def test_other_sizes_dropout_depth_and_mixed_targets_equal_finite_differences(kernels):
    rng = np.random.default_rng(2)
    model = tiny(dropout=0.2, drop_path=0.5)
    assert [block.drop_path.p for block in model.blocks] == [0, 0.5]
    images, targets = rng.standard_normal((3, 2, 8, 4)), rng.dirichlet(np.ones(3), 3)

    def loss(images):
        model.rng.bit_generator.state = np.random.default_rng(3).bit_generator.state
        return model.loss(images, targets, label_smoothing=0.2)

    with use_kernels(kernels):
        report = gradcheck(loss, images, parameters=model)
    assert len(report.checks) == 1 + len(model.parameters())


@both_kernels
def test_the_hybrid_equals_finite_differences(kernels):
    rng = np.random.default_rng(4)
    model = tiny(patches=HybridEmbedding(Stem(rng), 3, 8, rng))
    assert "patches.stem.weight" in model.state_dict()
    images = rng.standard_normal((2, 2, 4, 6))
    with use_kernels(kernels):
        report = gradcheck(model.loss, images, np.array([1, 2]), parameters=model)
    assert len(report.checks) == 1 + len(model.parameters())


def test_patches_are_what_a_convolution_with_its_kernel_as_stride_sees():
    rng = np.random.default_rng(5)
    layer = randomised(PatchEmbedding(2, 5, (2, 3), rng), rng)
    images = rng.standard_normal((3, 2, 4, 9))
    y = layer(images).data
    assert y.shape == (3, 2, 3, 5)
    for i, j in np.ndindex(2, 3):
        patch = images[:, :, 2 * i : 2 * i + 2, 3 * j : 3 * j + 3]
        expected = np.einsum("bcpq,ocpq->bo", patch, layer.weight.data) + layer.bias.data
        np.testing.assert_allclose(y[:, i, j], expected, rtol=0, atol=1e-13)


def test_attention_maps_are_distributions_and_those_of_the_pass():
    model = tiny(dropout=0.5).train()
    images = np.random.default_rng(6).standard_normal((2, 2, 4, 6))
    maps = model.attention_maps(images)
    assert model.training and [x.shape for x in maps] == [(2, 2, 7, 7)] * 2
    np.testing.assert_allclose(np.sum(maps, axis=-1), 1, rtol=0, atol=1e-12)
    again = model.eval().probabilities(model.embed(images))
    for a, b in zip(maps, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_soft_targets_of_one_class_are_hard_ones():
    model, images = tiny(), np.random.default_rng(7).standard_normal((2, 2, 4, 6))
    hard, soft = np.array([2, 0]), np.eye(3)[[2, 0]]
    for smoothing in (0.0, 0.3):
        losses = [model.loss(images, y, smoothing).item() for y in (hard, soft)]
        np.testing.assert_allclose(*losses, rtol=1e-13)


# ---- fine-tuning -------------------------------------------------------------------------------


def test_adapting_to_a_task_keeps_the_trunk_and_starts_with_a_head_of_zeros():
    model, images = tiny(), np.random.default_rng(8).standard_normal((2, 2, 8, 4))
    tuned = model.adapted(classes=5, image_size=(8, 4), drop_path=0.1)
    assert tuned.config.classes == 5 and tuned.blocks[1].drop_path.p == 0.1
    assert tuned.cls.dtype == np.float64 and tuned.positions.requires_grad
    np.testing.assert_array_equal(tuned.predict(images), 0)
    assert not tuned(images).data.any()
    with model.evaluating():
        expected = model.features(images).data
    with tuned.evaluating():
        np.testing.assert_allclose(tuned.features(images).data, expected, rtol=0, atol=1e-13)
    for name, x in tuned.named_parameters():
        assert not np.shares_memory(x.data, model.state_dict()[name])
    same = model.adapted(pool="mean")
    assert "norm.weight" not in same.state_dict() and (same.pooled_norm.weight.data == 1).all()
    np.testing.assert_array_equal(same.head.weight.data, model.head.weight.data)


# ---- bad input ---------------------------------------------------------------------------------

IMAGES = np.zeros((1, 2, 4, 6))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda m: m(np.zeros((1, 2, 5, 6))),
            ValueError,
            "images of 5 x 6 pixels do not divide into patches of 2 x 2; .*to 4 x 6",
        ),
        (lambda m: m(np.zeros((1, 3, 4, 6))), ValueError, r"shape \(1, 3, 4, 6\); .*\(B, 2, H, W"),
        (lambda m: m(np.zeros((2, 4, 6))), ValueError, r"expected \(B, 2, H, W\)"),
        (lambda m: m(IMAGES.astype(np.uint8)), TypeError, "dtype uint8; expected floats"),
        (lambda m: m(IMAGES.astype(np.float32)), TypeError, "mixes float32 and float64"),
        (lambda m: m.loss(IMAGES, np.array([3])), IndexError, r"target 3 is outside \[0, 3\)"),
        (lambda m: m.loss(IMAGES, np.array([0, 1])), ValueError, r"logits \(1, 3\), targets \(2,"),
        (lambda m: m.loss(IMAGES, np.ones((1, 2))), ValueError, r"soft_cross_entropy: .*\(1, 2\)"),
        (
            lambda m: m.loss(IMAGES, np.ones((1, 3)), label_smoothing=2),
            ValueError,
            "soft_cross_entropy: label_smoothing is 2",
        ),
        (lambda m: m.adapted(classes=0).loss(IMAGES, np.array([0])), ValueError, "no classes"),
        (lambda m: m.adapted(patch=1), ValueError, "ViT.adapted: patch cannot change"),
        (lambda m: ViTConfig(30, 16, 1, 1, 4), ValueError, "30 x 30 does not divide into .* 16 x"),
        (lambda m: ViTConfig(4, 2, 1, 3, 4), ValueError, "width 4 is not a multiple of heads 3"),
        (lambda m: ViTConfig(4, 2, 0, 1, 4), ValueError, "layers is 0; expected at least 1"),
        (lambda m: ViTConfig(4, 0, 1, 1, 4), ValueError, "ViTConfig: patch is 0; expected at lea"),
        (lambda m: ViTConfig(4, 2.0, 1, 1, 4), TypeError, "patch is 2.0; expected an integer or"),
        (lambda m: ViTConfig(4, 2, 1, 1, 4, pool="max"), ValueError, "pool is 'max'; expected 'cl"),
        (lambda m: ViTConfig(4, 2, 1, 1, 4, classes=-1), ValueError, "classes -1"),
        (lambda m: ViTConfig(4, 2, 1, 1, 4, drop_path=1), ValueError, "drop_path 1"),
        (lambda m: tiny(positions="plane", width=6), ValueError, "width is 6; expected a multipl"),
    ],
)
def test_bad_input_gets_one_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call(tiny())
