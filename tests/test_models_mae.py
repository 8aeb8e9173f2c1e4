"""MAE against independent implementations, published sizes, finite differences, and itself."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from golden import Golden

from minitx.gradcheck import gradcheck
from minitx.jit import use_kernels
from minitx.models.mae import MAE, LinearProbe, MAEConfig
from minitx.models.official.mae import AUTHORS, TRANSFORMERS, TRANSFORMERS4
from minitx.models.vit import ViTConfig
from minitx.nn import shapes_only
from minitx.nn.patches import sinusoids_in_plane
from minitx.optim import AdamW
from minitx.tensor import Tensor

both_kernels = pytest.mark.parametrize("kernels", ["ref", "jit"])
NAMES = ["mae__fb", "mae__hf", "mae__hf_rawpix"]


def build(golden: Golden):
    """Our model of a fixture's configuration, with its weights, in float64; and its table."""
    c = golden.config
    common = {"classes": 0, "positions": "plane"}
    if "hidden_size" in c:
        table = TRANSFORMERS
        encoder = ViTConfig(
            c["image_size"],
            c["patch_size"],
            c["num_hidden_layers"],
            c["num_attention_heads"],
            c["hidden_size"],
            c["intermediate_size"],
            eps=c["layer_norm_eps"],
            **common,
        )
        layers, heads = c["decoder_num_hidden_layers"], c["decoder_num_attention_heads"]
        width, hidden = c["decoder_hidden_size"], c["decoder_intermediate_size"]
    else:
        table = AUTHORS
        encoder = ViTConfig(
            c["img_size"],
            c["patch_size"],
            c["depth"],
            c["num_heads"],
            c["embed_dim"],
            int(c["embed_dim"] * c["mlp_ratio"]),
            eps=c["norm_eps"],
            **common,
        )
        layers, heads, width = c["decoder_depth"], c["decoder_num_heads"], c["decoder_embed_dim"]
        hidden = int(width * c["mlp_ratio"])
    ratio, normalised = c["mask_ratio"], c["norm_pix_loss"]
    config = MAEConfig(encoder, layers, heads, width, hidden, ratio, normalised)
    model = MAE(config).astype(np.float64)
    shapes = {name: x.shape for name, x in model.state_dict().items()}
    model.load_state_dict(table.load(golden.state, shapes))
    return model, table


@both_kernels
@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_gradients_equal_the_reference(name, kernels):
    golden = Golden(name)
    model, table = build(golden)
    noise, images = golden.inputs["noise"], Tensor(golden.inputs["pixel_values"], True)
    with use_kernels(kernels):
        predicted, removed = model(images, noise)
        golden.check_output("pred", predicted.data)
        np.testing.assert_array_equal(removed, golden.outputs["mask"])
        if "ids_restore" in golden.outputs:
            np.testing.assert_array_equal(
                model.random_masking(noise)[1], golden.outputs["ids_restore"]
            )
        loss = model.loss(images, noise)
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
    state = build(Golden("mae__hf"))[0].state_dict()
    older = TRANSFORMERS4.save(state)
    assert "vit.encoder.layer.1.attention.attention.query.bias" in older
    assert "decoder.decoder_layers.0.attention.output.dense.weight" in older
    loaded = TRANSFORMERS4.load(older, {name: x.shape for name, x in state.items()})
    for name, x in state.items():
        np.testing.assert_array_equal(loaded[name], x)


def test_positions_are_those_of_the_authors():
    state = Golden("mae__fb").state
    for name, width in (("pos_embed", 32), ("decoder_pos_embed", 24)):
        assert not state[name][0, 0].any()
        ours = sinusoids_in_plane((4, 4), width)
        np.testing.assert_allclose(ours, state[name][0, 1:], rtol=0, atol=1e-15)
    model, (h, w) = tiny(), (2, 3)
    for table, width in ((model.encoder.positions, 8), (model.positions, 12)):
        assert not table.requires_grad and not table.data[0].any()
        square = sinusoids_in_plane((3, 3), width).reshape(3, 3, width)
        expected = square[:h, :w].reshape(h * w, width)
        np.testing.assert_allclose(table.data[1:], expected, rtol=0, atol=1e-7)


PUBLISHED = {"base": 111_907_840, "large": 329_541_888, "huge": 657_074_508}


@pytest.mark.parametrize("preset", PUBLISHED)
def test_presets_have_the_published_parameter_counts(preset):
    with shapes_only():
        model = MAE(getattr(MAEConfig, preset)())
    assert model.count() == PUBLISHED[preset]
    tables = model.encoder.positions.size + model.positions.size
    assert model.count(trainable=True) == PUBLISHED[preset] - tables


# ---- on small models ---------------------------------------------------------------------------

ENCODER = ViTConfig((4, 6), 2, 1, 2, 8, 12, channels=2, classes=0, positions="plane")


def tiny(seed=0, **fields):
    """In float64, and so that every weight and bias matters."""
    rng = np.random.default_rng(seed)
    model = MAE(dataclasses.replace(MAEConfig(ENCODER, 1, 2, 12, 10, 0.5), **fields), rng)
    for x in model.astype(np.float64).parameters():
        x.data = x.data + rng.normal(0, 0.3, x.shape)
    return model


def example(seed=1):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, 2, 4, 6)), rng.random((2, 6))


@both_kernels
@pytest.mark.parametrize("fields", [{}, {"normalised": False}, {"mask_in_encoder": True}])
def test_whole_model_equals_finite_differences(fields, kernels):
    model, (images, noise) = tiny(**fields), example()
    with use_kernels(kernels):
        report = gradcheck(lambda images: model.loss(images, noise), images, parameters=model)
    assert report.checks.keys() == {"images"} | dict(model.named_parameters()).keys()


@pytest.mark.parametrize("in_encoder", [False, True])
def test_the_encoder_sees_visible_patches_only(in_encoder):
    model, (images, noise) = tiny(mask_in_encoder=in_encoder), example()
    removed = model(images, noise)[1]
    assert (removed.sum(axis=1) == 3).all()
    patches = model.patchify(images).data
    patches[removed] = 99
    changed = model.unpatchify(patches).data
    assert not np.array_equal(images, changed)
    before, after = model(images, noise)[0], model(changed, noise)[0]
    np.testing.assert_array_equal(before.data, after.data)
    assert model.encode(images, noise).shape[1] == 1 + (6 if in_encoder else 3)


def test_the_encoder_is_a_vit_on_fewer_tokens():
    """What it makes of shuffled visible patches is what a ViT makes of them in any order."""
    model, (images, noise) = tiny(), example()
    encoded = model.encode(images, noise).data
    kept, _, _ = model.random_masking(noise)
    for b in range(2):
        order = np.sort(kept[b])
        tokens = model.encoder.embed(images[b : b + 1])[:, np.concatenate([[0], 1 + order])]
        alone = model.encoder.states(tokens)[-1].data[0]
        np.testing.assert_allclose(encoded[b, 0], alone[0], rtol=0, atol=1e-12)
        places = np.searchsorted(order, kept[b])
        np.testing.assert_allclose(encoded[b, 1:], alone[1:][places], rtol=0, atol=1e-12)


@pytest.mark.parametrize("normalised", [False, True])
def test_reconstructions_keep_what_was_seen_and_paint_the_rest(normalised):
    model, (images, noise) = tiny(normalised=normalised), example()
    painted, where = model.reconstruct(images, noise)
    assert painted.shape == images.shape and where.shape == (2, 1, 4, 6) and where.dtype == bool
    np.testing.assert_array_equal(np.where(where, 0, painted), np.where(where, 0, images))
    assert where.mean() == 0.5
    errors = ((painted - images) ** 2 * where).sum() / (where.sum() * 2)
    if not normalised:
        np.testing.assert_allclose(errors, model.loss(images, noise).item(), rtol=1e-12)
    np.testing.assert_array_equal(model.unpatchify(model.patchify(images)).data, images)


def test_noise_is_drawn_from_the_models_generator():
    (images, _), losses = example(), []
    for _ in range(2):
        model = tiny(seed=3)
        losses.append([model.loss(images).item() for _ in range(2)])
    assert losses[0] == losses[1] and losses[0][0] != losses[0][1]


def test_the_encoder_goes_on_to_be_fine_tuned():
    model, (images, _) = tiny(), example()
    vit = model.encoder.adapted(classes=3, pool="mean", positions="learned", drop_path=0.1)
    assert vit.positions.requires_grad and vit.pooled_norm.weight.shape == (8,)
    with vit.evaluating():
        states = vit.hidden_states(images)
        ours = model.encoder.blocks[-1](model.encoder.embed(images))
        np.testing.assert_allclose(states[-1].data, ours.data, rtol=0, atol=1e-13)
    before = vit.loss(images, np.array([0, 2]))
    assert before.item() == pytest.approx(np.log(3))
    before.backward()
    assert vit.head.weight.grad.any()


# ---- the probe ---------------------------------------------------------------------------------


@both_kernels
def test_the_probe_equals_finite_differences_and_normalises(kernels):
    rng = np.random.default_rng(5)
    probe, features = LinearProbe(4, 3, rng).astype(np.float64), 3 + rng.standard_normal((6, 4))
    probe.mean.data = rng.standard_normal(4)
    with use_kernels(kernels):
        labels = np.array([0, 1, 2, 0, 1, 2])
        gradcheck(lambda: probe.loss(features, labels), parameters=probe)
    assert [name for name, _ in probe.named_parameters()] == ["weight", "bias"]
    probe.mean.data[...], probe.var.data[...] = 0, 1
    y = probe(features).data
    x = (features - features.mean(0)) / np.sqrt(features.var(0) + 1e-6)
    np.testing.assert_allclose(y, x @ probe.weight.data.T, rtol=0, atol=1e-13)
    np.testing.assert_allclose(probe.mean.data, features.mean(0) / 10, rtol=1e-12)
    np.testing.assert_allclose(probe.var.data, 0.9 + features.var(0, ddof=1) / 10, rtol=1e-12)
    with probe.evaluating():
        x = (features - probe.mean.data) / np.sqrt(probe.var.data + 1e-6)
        np.testing.assert_allclose(probe(features).data, x @ probe.weight.data.T, atol=1e-13)


def test_the_probe_learns_what_can_be_told_apart():
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 3, 60)
    features = (np.eye(3)[labels] + 0.1 * rng.standard_normal((60, 3))).astype(np.float32)
    probe = LinearProbe(3, 3)
    optimizer = AdamW(probe, lr=0.05)
    for _ in range(100):
        probe.zero_grad()
        probe.loss(features, labels).backward()
        optimizer.step()
    np.testing.assert_array_equal(probe.predict(features), labels)


# ---- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: tiny(mask_ratio=0.0), ValueError, "mask_ratio 0.0 of 6 patches; expected a share"),
        (lambda: tiny(mask_ratio=1.0), ValueError, "mask_ratio 1.0 of 6 patches"),
        (lambda: tiny(mask_ratio=-0.5), ValueError, "mask_ratio -0.5"),
        (lambda: tiny(mask_ratio=0.9), ValueError, "removes at least one and leaves at least one"),
        (lambda: tiny(heads=5), ValueError, "width 12, 5 heads"),
        (
            lambda: tiny(encoder=dataclasses.replace(ENCODER, classes=3)),
            ValueError,
            "has 3 classes and pool 'cls'; expected classes=0",
        ),
        (
            lambda: tiny().loss(np.zeros((1, 2, 4, 4))),
            ValueError,
            "images of 4 x 4 pixels; expected 4 x 6",
        ),
        (lambda: tiny().loss(np.zeros((1, 3, 4, 6))), ValueError, r"expected \(B, 2, H, W\)"),
        (lambda: tiny().loss(np.zeros((1, 2, 4, 6), int)), TypeError, "dtype int64; expected fl"),
        (
            lambda: tiny().loss(example()[0], np.zeros((2, 5))),
            ValueError,
            r"noise has shape \(2, 5\); expected \(B, N\) = \(2, 6\)",
        ),
    ],
)
def test_bad_input_gets_one_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call()
