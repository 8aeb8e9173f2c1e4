"""Names in the official checkpoints of ResNet: torchvision's, which timm shares; transformers'."""

from __future__ import annotations

from ...checkpoint.names import names

_PARTS = "weight", "bias", "running_mean", "running_var"


def _norm(ours, official):
    return tuple((f"{ours}.{part}", f"{official}.{part}") for part in _PARTS)


def _conv(ours, official, conv, norm):
    """A convolution without bias, and the normalisation after it."""
    return (f"{ours[0]}.weight", f"{official}{conv}.weight"), *_norm(ours[1], f"{official}{norm}")


def _head(official):
    return ("head.weight", f"{official}.weight"), ("head.bias", f"{official}.bias")


def _torchvision_stage(i):
    ours, official = f"stages.{i}.{{}}", f"layer{i + 1}.{{}}"
    shortcut = f"{ours}.shortcut", f"{ours}.shortcut_norm"
    return (
        row
        for rows in (
            *(
                _conv((f"{ours}.conv{k}", f"{ours}.norm{k}"), official, f".conv{k}", f".bn{k}")
                for k in (1, 2, 3)
            ),
            _conv(shortcut, official, ".downsample.0", ".downsample.1"),
        )
        for row in rows
    )


TORCHVISION = names(
    "torchvision.models.resnet.ResNet",
    *_conv(("stem", "stem_norm"), "", "conv1", "bn1"),
    *(row for i in range(4) for row in _torchvision_stage(i)),
    *_head("fc"),
    ignored=(
        "bn1.num_batches_tracked",
        *(
            f"layer{i}.{{}}.{norm}.num_batches_tracked"
            for i in (1, 2, 3, 4)
            for norm in ("bn1", "bn2", "bn3", "downsample.1")
        ),
    ),
)

_OURS, _LAYER = "stages.{}.{}", "resnet.encoder.stages.{}.layers.{}"
_NAMES = "convolution", "normalization"

TRANSFORMERS = names(
    "transformers.ResNetForImageClassification",
    *_conv(("stem", "stem_norm"), "resnet.embedder.embedder.", *_NAMES),
    *(
        row
        for k in (1, 2, 3)
        for row in _conv(
            (f"{_OURS}.conv{k}", f"{_OURS}.norm{k}"), f"{_LAYER}.layer.{k - 1}.", *_NAMES
        )
    ),
    *_conv((f"{_OURS}.shortcut", f"{_OURS}.shortcut_norm"), f"{_LAYER}.shortcut.", *_NAMES),
    *_head("classifier.1"),
    ignored=(
        "resnet.embedder.embedder.normalization.num_batches_tracked",
        f"{_LAYER}.shortcut.normalization.num_batches_tracked",
        *(f"{_LAYER}.layer.{k}.normalization.num_batches_tracked" for k in range(3)),
    ),
    optional_prefix="resnet.",
)
