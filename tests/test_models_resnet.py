"""ResNet against independent implementations, published sizes, finite differences, and itself."""

from __future__ import annotations

import numpy as np
import pytest
from golden import Golden

import minitx
from minitx import ops
from minitx.gradcheck import gradcheck
from minitx.jit import use_kernels
from minitx.models.official.resnet import TORCHVISION, TRANSFORMERS
from minitx.models.resnet import ResNet, ResNetConfig
from minitx.nn import shapes_only
from minitx.optim import AdamW
from minitx.tensor import Tensor

NAMES = [
    "resnet__tv18",
    "resnet__tv50_eval",
    "resnet__hf_basic",
    "resnet__hf_bottleneck",
    "resnet__hf_eval",
]


def table_of(name):
    return TORCHVISION if "__tv" in name else TRANSFORMERS


def build(golden: Golden, table) -> ResNet:
    """Our model of a fixture's configuration, with its weights, in float64."""
    c = golden.config
    if table is TORCHVISION:
        bottleneck = c["block"] == "Bottleneck"
        depths, widths, stem, classes = c["layers"], c["planes"], c["stem"], c["num_classes"]
    else:
        bottleneck = c["layer_type"] == "bottleneck"
        depths, stem, classes = c["depths"], c["embedding_size"], c["num_labels"]
        widths = [n // 4 if bottleneck else n for n in c["hidden_sizes"]]
    config = ResNetConfig(
        tuple(depths), bottleneck, classes, stem=stem, widths=tuple(widths), eps=c["bn"]["eps"]
    )
    model = ResNet(config).astype(np.float64).train(c["bn"]["mode"] == "train")
    shapes = {name: x.shape for name, x in model.state_dict().items()}
    model.load_state_dict(table.load(golden.state, shapes))
    return model


@pytest.mark.parametrize("kernels", ["ref", "jit"])
@pytest.mark.parametrize("name", NAMES)
def test_outputs_gradients_and_statistics_equal_the_reference(name, kernels):
    golden, table = Golden(name), table_of(name)
    model, x = build(golden, table), golden.inputs
    with use_kernels(kernels):
        logits = model(x["pixel_values"])
        golden.check_output("logits", logits.data)
        after = {f"after/{name}": x for name, x in table.save(model.state_dict()).items()}
        for key in golden.outputs.keys() - {"logits"}:
            golden.check_output(key, after[key])
        loss = model.loss(x["pixel_values"], x["labels"])
        golden.check_loss(loss.item())
        loss.backward()
    parameters = {name: x.grad for name, x in model.named_parameters()}
    golden.check_grads(table.save(parameters))


PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
}


@pytest.mark.parametrize("preset", PUBLISHED)
def test_presets_have_the_published_parameter_counts(preset):
    with shapes_only():
        model = ResNet(getattr(ResNetConfig, preset)())
        frozen = ResNet(getattr(ResNetConfig, preset)(frozen_norm=True))
    assert model.count(trainable=True) == PUBLISHED[preset]
    names = [name for name, _ in model.named_tensors()]
    statistics = [name for name in names if name.rsplit(".", 1)[1].startswith("running_")]
    norms = sum(x.size for name, x in model.named_tensors() if name in statistics)
    assert model.count() == frozen.count() == PUBLISHED[preset] + norms
    assert frozen.count(trainable=True) == PUBLISHED[preset] - norms  # a weight and a bias each


def test_the_small_form_has_the_papers_depth():
    """Twenty layers and 0.27 million parameters (He et al. 2016, table 6)."""
    model = ResNet(ResNetConfig.cifar(3))
    weights = [x for name, x in model.named_parameters() if name.endswith("weight") and x.ndim > 1]
    assert len(weights) == 20 + 2  # and two shortcuts
    assert 0.26e6 < model.count(trainable=True) < 0.28e6


@pytest.mark.parametrize("name", NAMES)
def test_official_states_survive_a_round_trip(name):
    golden, table = Golden(name), table_of(name)
    saved = table.save(build(golden, table).state_dict())
    counters = {key for key in golden.state if key.endswith("num_batches_tracked")}
    assert counters
    golden.check_state(saved, counters)


def test_official_tables_are_found_by_name():
    official = minitx.checkpoint.official
    assert official("torchvision.models.resnet.ResNet") is TORCHVISION
    assert official("transformers.ResNetForImageClassification") is TRANSFORMERS


TINY = {
    "basic": ResNetConfig((1, 1), False, 3, 2, stem=3, widths=(3, 4)),
    "bottleneck": ResNetConfig((1, 1), True, 3, 1, stem=2, widths=(2, 2), expansion=2),
    "small": ResNetConfig((1, 2), False, 4, 2, stem=3, widths=(3, 4), small=True),
    "frozen": ResNetConfig((1, 1), False, 3, 1, 3, (3, 4), small=True, frozen_norm=True),
}


def tiny(name: str, seed: int = 0) -> ResNet:
    """A small float64 model in which every weight, bias and statistic matters."""
    rng = np.random.default_rng(seed)
    model = ResNet(TINY[name], rng).astype(np.float64)
    for key, x in model.named_tensors():
        x.data = x.data + rng.uniform(0.1, 0.5, x.shape)
        if key.endswith("weight") and x.ndim == 4:
            x.data = rng.normal(0, 0.5, x.shape)
    return model


def batch(name, size=8, count=3):
    rng, c = np.random.default_rng(1), TINY[name]
    return rng.normal(size=(count, c.channels, size, size)), rng.integers(0, c.classes, count)


@pytest.mark.parametrize("kernels", ["ref", "jit"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", TINY)
def test_whole_model_equals_finite_differences(name, training, kernels):
    images, labels = batch(name)
    model = tiny(name).train(training)
    with use_kernels(kernels):
        report = gradcheck(lambda x: model.loss(x, labels, 0.1), images, parameters=model)
    assert len(report.checks) == 1 + len(model.parameters())


def test_label_smoothing_is_a_mixture_of_two_losses():
    images, labels = batch("small")
    model = tiny("small").eval()
    log_p = ops.log_softmax(model(images)).data
    expected = 0.8 * log_p[range(3), labels].mean() + 0.2 * log_p.mean()
    np.testing.assert_allclose(model.loss(images, labels, 0.2).item(), -expected, rtol=1e-12)


def test_features_are_fine_and_coarse():
    model = ResNet(ResNetConfig((1, 1, 1, 1), True, stem=4, widths=(2, 3, 4, 5)))
    images = np.zeros((2, 3, 64, 96), np.float32)
    shapes = [x.shape for x in model.features(images)]
    assert shapes == [(2, 8, 16, 24), (2, 12, 8, 12), (2, 16, 4, 6), (2, 20, 2, 3)]
    assert model.config.outputs == (8, 12, 16, 20) and model.config.reduction == 32
    assert all(x.dtype == np.float32 for x in model.features(images))


def test_statistics_are_kept_while_training_and_only_then():
    images, _ = batch("small", count=4)
    model = tiny("small")
    before = {name: x.copy() for name, x in model.state_dict().items()}
    model.eval()(images)
    for name, x in model.state_dict().items():
        np.testing.assert_array_equal(x, before[name])
    model.train()(images)
    y = ops.conv2d(images, before["stem.weight"], None, 1, 1).data
    expected = 0.9 * before["stem_norm.running_var"] + 0.1 * y.var(axis=(0, 2, 3), ddof=1)
    np.testing.assert_allclose(model.state_dict()["stem_norm.running_var"], expected)
    expected = 0.9 * before["stem_norm.running_mean"] + 0.1 * y.mean(axis=(0, 2, 3))
    np.testing.assert_allclose(model.state_dict()["stem_norm.running_mean"], expected)


def test_frozen_statistics_stay_and_training_changes_nothing():
    images, _ = batch("frozen")
    model = tiny("frozen")
    before = {name: x.copy() for name, x in model.state_dict().items()}
    y = model.train()(images).data
    np.testing.assert_array_equal(y, model.eval()(images).data)
    for name, x in model.state_dict().items():
        np.testing.assert_array_equal(x, before[name])
    assert not any("norm" in name for name, _ in model.named_parameters())


def test_it_learns():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(24, 1, 8, 8)).astype(np.float32)
    labels = np.arange(24) % 3
    images[labels == 1, :, :4] += 1
    images[labels == 2, :, :, :4] += 1
    model = ResNet(ResNetConfig.cifar(1, 4, classes=3, channels=1))
    optimizer = AdamW(model, 1e-2)
    for _ in range(25):
        optimizer.zero_grad()
        loss = model.loss(images, labels)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2
    assert (model.eval()(images).data.argmax(axis=1) == labels).mean() > 0.9


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.zeros((1, 3, 8, 8)), ValueError, r"images \(1, 3, 8, 8\); expected \(B, 2, H, W\)"),
        (np.zeros((2, 8, 8)), ValueError, r"expected \(B, 2, H, W\)"),
        (np.zeros((1, 2, 8, 8), np.uint8), TypeError, "dtype uint8; expected floats"),
        (np.zeros((1, 2, 8, 7)), ValueError, "8 x 7 pixels are too small; expected at least 8 x 8"),
        (Tensor(np.zeros((1, 2, 8, 7))), ValueError, "too small"),
    ],
)
def test_bad_images_get_one_clear_error(images, error, message):
    with pytest.raises(error, match=f"^ResNet: .*{message}"):
        tiny("basic")(images)


def test_bad_labels_and_configurations_are_refused():
    images, _ = batch("basic")
    with pytest.raises(IndexError, match="target 3"):
        tiny("basic").loss(images, np.array([0, 1, 3]))
    with pytest.raises(ValueError, match="expected one of each for every stage"):
        ResNetConfig((1, 1), False)
    with pytest.raises(ValueError, match="numbers of at least 1"):
        ResNetConfig((1,), False, widths=(0,))
    with pytest.raises(ValueError, match="has 1 values a channel"):
        tiny("basic")(batch("basic", count=1)[0])
