import json
from functools import partial

import numpy as np
import pytest

from minitx.data import Batches, mixup, normalize, random_flip

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 1, 4, 4), np.uint8)
LABELS = np.arange(10) % 3


def test_a_pass_gives_every_example_once_with_its_label():
    batches, rng = Batches(IMAGES, LABELS, 4), np.random.default_rng(1)
    for _ in range(2):
        images, labels = map(
            np.concatenate, zip(*[batches.batch(rng) for _ in range(3)], strict=True)
        )
        assert images.shape == IMAGES.shape and images.dtype == np.float32
        order = [
            int((np.abs(IMAGES / 255 - x) < 1e-6).all(axis=(1, 2, 3)).argmax()) for x in images
        ]
        assert sorted(order) == list(range(10)) and order != list(range(10))
        np.testing.assert_array_equal(labels, LABELS[order])


def test_cover_walks_through_in_order_and_varies_nothing():
    options = {"augment": lambda images, rng: 1 / 0, "mix": lambda *all: 1 / 0}
    batches = Batches(IMAGES, LABELS, 4, prepare=lambda x: x, **options)
    parts = list(batches.cover())
    assert [len(images) for images, _ in parts] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([images for images, _ in parts]), IMAGES)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in parts]), LABELS)
    assert [len(labels) for _, labels in batches.cover(limit=2)] == [4, 4]
    assert [len(labels) for _, labels in batches.cover(limit=9)] == [4, 4, 2]


def test_training_varies_prepares_and_mixes_in_that_order():
    batches = Batches(
        IMAGES,
        LABELS,
        4,
        augment=random_flip,
        prepare=partial(normalize, mean=0.5, std=0.5),
        mix=partial(mixup, classes=3),
    )
    images, targets = batches.batch(np.random.default_rng(2))
    rng = np.random.default_rng(2)
    rows = Batches(IMAGES, LABELS, 4).order.next(rng)
    expected = mixup(normalize(random_flip(IMAGES[rows], rng), 0.5, 0.5), LABELS[rows], rng, 3)
    np.testing.assert_array_equal(images, expected[0])
    np.testing.assert_array_equal(targets, expected[1])


def test_batches_go_on_from_their_state():
    batches, rng = Batches(IMAGES, LABELS, 4, augment=random_flip), np.random.default_rng(3)
    batches.batch(rng)
    saved = json.loads(json.dumps([batches.state(), rng.bit_generator.state]))
    later = [batches.batch(rng) for _ in range(5)]
    other = Batches(IMAGES, LABELS, 4, augment=random_flip)
    other.load_state(saved[0])
    rng.bit_generator.state = saved[1]
    for images, labels in later:
        again = other.batch(rng)
        np.testing.assert_array_equal(again[0], images)
        np.testing.assert_array_equal(again[1], labels)


def test_bad_arguments_get_one_clear_error():
    with pytest.raises(ValueError, match="Batches: 10 images came with 9 labels"):
        Batches(IMAGES, LABELS[:9], 4)
    with pytest.raises(ValueError, match="Batches: batch_size must be at least 1"):
        Batches(IMAGES, LABELS, 0)
    with pytest.raises(ValueError, match="Batches.cover: limit must be at least 1"):
        Batches(IMAGES, LABELS, 4).cover(0)
    with pytest.raises(ValueError, match="count must be 10 here, got 11"):
        batches = Batches(IMAGES, LABELS, 4)
        batches.load_state(batches.state() | {"count": 11})
