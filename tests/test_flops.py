"""Multiply-adds, against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest

from minitx import ops
from minitx.flops import MultiplyAdds, count_multiply_adds
from minitx.jit import COMPILED
from minitx.models.mae import MAE, MAEConfig
from minitx.models.t2t_vit import T2TViT, T2TViTConfig
from minitx.models.vit import ViT, ViTConfig
from minitx.nn import shapes_only
from minitx.observer import observing
from minitx.tensor import Tensor


def ones(*shape):
    return Tensor(np.ones(shape, np.float32))


@pytest.mark.parametrize(
    ("function", "inputs", "expected"),
    [
        (ops.matmul, (ones(7, 2, 3), ones(3, 5)), 7 * 2 * 3 * 5),
        (ops.matmul, (ones(3), ones(3)), 3),
        (ops.linear, (ones(2, 4, 3), ones(5, 3)), 2 * 4 * 5 * 3),
        (lambda a, b: ops.einsum("bij, jk -> kb", a, b), (ones(2, 3, 4), ones(4, 5)), 120),
        (ops.conv2d, (ones(2, 4, 5, 5), ones(3, 4, 2, 2)), 2 * 4 * 4 * 3 * 4 * 2 * 2),
        (
            lambda x, w: ops.conv2d(x, w, stride=2, groups=2),
            (ones(1, 4, 6, 6), ones(6, 2, 2, 2)),
            3 * 3 * 6 * 2 * 2 * 2,
        ),
        (ops.conv_transpose2d, (ones(1, 4, 3, 3), ones(4, 5, 2, 2)), 3 * 3 * 4 * 5 * 2 * 2),
        (ops.attend, (ones(2, 3, 4, 5), *[ones(2, 3, 6, 5)] * 2), 2 * 2 * 3 * 4 * 5 * 6),
        (lambda x: ops.self_attend(x, 2), (ones(3, 5, 24),), 2 * 3 * 5 * 5 * 8),
        (ops.linear_attend, (ones(3, 5, 2, 4), ones(3, 5, 7)), 2 * 3 * 5 * 4 * 7),
        (lambda x: ops.softmax(x * 2 + 1).sum(), (ones(4, 4),), 0),
    ],
)
def test_each_product(function, inputs, expected):
    assert count_multiply_adds(function, *inputs).total() == expected


def test_a_vit_by_hand():
    model = ViT(ViTConfig((4, 6), 2, 3, 2, 8, 12, channels=2, classes=5))
    counts = count_multiply_adds(model, np.zeros((1, 2, 4, 6), np.float32))
    T, C = 7, 8
    blocks = 3 * (4 * T * C * C + 2 * T * C * 12)
    assert counts == {
        "linear": 6 * C * 8 + blocks + C * 5,
        "self_attend": 3 * 2 * T * T * C,
    }


def test_the_encoder_of_mae_pays_for_visible_patches_only():
    encoder = ViTConfig((8, 8), 2, 1, 2, 8, classes=0, positions="plane")
    images, noise = np.zeros((1, 3, 8, 8), np.float32), np.arange(16.0)[None]
    costs = [
        count_multiply_adds(
            MAE(MAEConfig(encoder, 1, 1, 4, mask_ratio=0.75, mask_in_encoder=masks)).encode,
            images,
            noise,
        )["self_attend"]
        for masks in (False, True)
    ]
    assert costs == [2 * 5 * 5 * 8, 2 * 17 * 17 * 8]


@pytest.mark.skipif(not COMPILED, reason="GELU in plain NumPy takes 15 s")
def test_t2t_vit_needs_half_of_what_a_wide_vit_does():
    """Table 2 of its paper: 4.8 G with 21.5 M parameters, ViT-S/16 10.1 G with 48.6 M."""
    with shapes_only():
        deep = T2TViT(T2TViTConfig.t2t_vit_14())
        wide = ViT(ViTConfig(224, 16, 8, 8, 768, 3 * 768, qkv_bias=False))
    images = np.zeros((1, 3, 224, 224), np.float32)
    ours, theirs = (count_multiply_adds(model, images).total() for model in (deep, wide))
    assert ours == pytest.approx(4.8e9, rel=0.01) and theirs == pytest.approx(10e9, rel=0.02)
    assert ours < theirs / 2 and deep.count() < wide.count() / 2


def test_it_counts_within_a_block_too():
    seen = MultiplyAdds()
    with observing(seen):
        ops.matmul(ones(2, 3), ones(3, 4))
        ops.matmul(ones(1, 3), ones(3, 4))
    assert seen.counts == {"matmul": 36}
