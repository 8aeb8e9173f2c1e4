from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitx.data import (
    channel_statistics,
    compose,
    mixup,
    normalize,
    one_hot,
    random_affine,
    random_color,
    random_crop,
    random_erasing,
    random_flip,
    random_shift,
    scaled,
)

EACH = [random_affine, random_color, random_crop, random_erasing, random_flip, random_shift]
KEEPING = [random_crop, random_erasing, random_flip, random_shift]  # bytes stay bytes


def pictures(dtype=np.float32, shape=(6, 3, 8, 10), seed=0):
    rng = np.random.default_rng(seed)
    if dtype == np.uint8:
        return rng.integers(0, 256, shape, np.uint8)
    return rng.random(shape).astype(dtype)


def generator(seed=0):
    return np.random.default_rng(seed)


# ---- what all have in common -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("step", EACH)
def test_each_keeps_shape_range_and_its_input(step, dtype):
    images = pictures(dtype)
    before = images.copy()
    varied = step(images, generator())
    assert varied.shape == images.shape
    assert varied.dtype == (images.dtype if step in KEEPING else scaled(images).dtype)
    assert varied.min() >= 0 and varied.max() <= (255 if varied.dtype == np.uint8 else 1)
    varied[...] = 0
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("step", EACH)
def test_each_follows_from_its_generator_and_varies_picture_by_picture(step):
    images = np.broadcast_to(pictures(shape=(1, 3, 8, 10)), (20, 3, 8, 10))
    varied = step(images, generator())
    np.testing.assert_array_equal(varied, step(images, generator()))
    assert not np.array_equal(varied, step(images, generator(1)))
    assert len(np.unique(varied.reshape(20, -1), axis=0)) > 1


@pytest.mark.parametrize("step", [*EACH, partial(mixup, labels=np.zeros(0, int), classes=3)])
def test_an_empty_batch(step):
    made = step(pictures(shape=(0, 3, 8, 8)), rng=generator())
    assert (made[0] if isinstance(made, tuple) else made).shape == (0, 3, 8, 8)


# ---- each for itself ---------------------------------------------------------------------------


def test_affine_maps_keep_move_and_turn():
    images = pictures(shape=(20, 2, 7, 7))
    still = partial(random_affine, images, generator(), turn=0, zoom=0, most=0)
    np.testing.assert_array_equal(still(), images)
    ramp = np.broadcast_to(np.arange(7, dtype=np.float32) / 7, (20, 1, 7, 7))
    moved = (
        random_affine(ramp, generator(), turn=0, zoom=0, most=1)[:, 0, :, 1:-1]
        - ramp[:, 0, :, 1:-1]
    )
    assert np.ptp(moved, axis=(1, 2)).max() < 1e-6 and 0.1 < np.abs(moved).max() <= 1 / 7
    turned = random_affine(ramp, generator(), turn=180, zoom=0, most=0)[:, 0]
    np.testing.assert_allclose(turned[:, 3, 3], 3 / 7, rtol=1e-6)  # the middle stays
    slope = turned[:, 3, 4] - turned[:, 3, 2], turned[:, 4, 3] - turned[:, 2, 3]
    np.testing.assert_allclose(np.hypot(*slope), 2 / 7, rtol=1e-5)


@pytest.mark.parametrize("wrong", [{"turn": -1}, {"turn": 181}, {"zoom": 1.1}, {"most": -1}])
def test_affine_maps_have_limits(wrong):
    with pytest.raises(ValueError, match=f"random_affine: .*{next(iter(wrong))}"):
        random_affine(pictures(), generator(), **wrong)


def same_somewhere(images, padded):
    """For each image, whether it is a window of its padded picture."""
    h, w = images.shape[2:]
    windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), axis=(2, 3))
    same = (windows == images[:, :, None, None]).all(axis=(1, 4, 5))
    return same.any(axis=(1, 2))


@given(st.integers(0, 3), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32))
def test_crops_are_windows_of_the_padded_pictures(padding, h, w, seed):
    images = pictures(np.uint8, (4, 2, 5, 4))
    if h > 5 + 2 * padding or w > 4 + 2 * padding:
        with pytest.raises(ValueError, match=f"random_crop: a window of {h} x {w} does not fit"):
            random_crop(images, generator(seed), padding, (h, w))
        return
    crops = random_crop(images, generator(seed), padding, (h, w))
    assert crops.shape == (4, 2, h, w)
    padded = np.pad(images, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    assert same_somewhere(crops, padded).all()


def test_every_crop_is_equally_likely():
    images = np.zeros((20_000, 1, 3, 3), np.float32)
    images[:, 0, 1, 1] = 1
    share = random_crop(images, generator(), padding=1)[:, 0].mean(axis=0)
    np.testing.assert_allclose(share, np.full((3, 3), 1 / 9), atol=0.012)  # 5 standard errors


def test_a_size_may_be_one_number():
    assert random_crop(pictures(), generator(), 0, 6).shape == (6, 3, 6, 6)


def test_shifts_repeat_the_edge():
    images = pictures()
    moved = random_shift(images, generator(), 3)
    padded = np.pad(images, ((0, 0), (0, 0), (3, 3), (3, 3)), "edge")
    assert same_somewhere(moved, padded).all() and not np.array_equal(moved, images)
    np.testing.assert_array_equal(random_shift(images, generator(), 0), images)


def test_flips():
    images = pictures(shape=(400, 1, 2, 3))
    np.testing.assert_array_equal(random_flip(images, generator(), 0), images)
    np.testing.assert_array_equal(random_flip(images, generator(), 1), images[..., ::-1])
    some = random_flip(images, generator(), 0.25)
    flipped = (some == images[..., ::-1]).all(axis=(1, 2, 3))
    assert (flipped | (some == images).all(axis=(1, 2, 3))).all()
    assert 60 < flipped.sum() < 140  # 5 standard errors


def test_each_strength_of_color_does_what_it_says():
    images = pictures(np.float64) * 0.2 + 0.4  # never clipped
    weights = np.array([0.299, 0.587, 0.114])[:, None, None]

    def gray(x):
        return (x * weights).sum(axis=1, keepdims=True)

    off = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0}
    np.testing.assert_allclose(random_color(images, generator(), **off), images, rtol=1e-15)

    ratio = random_color(images, generator(), **(off | {"brightness": 0.3})) / images
    mean = gray(images).mean(axis=(2, 3), keepdims=True)
    contrast = random_color(images, generator(), **(off | {"contrast": 0.3}))
    saturation = random_color(images, generator(), **(off | {"saturation": 0.3}))
    np.testing.assert_allclose(gray(saturation), gray(images), rtol=1e-14)
    for factors in (
        ratio,
        (contrast - mean) / (images - mean),
        (saturation - gray(images)) / (images - gray(images)),
    ):
        one = factors[:, :1, :1, :1]
        np.testing.assert_allclose(factors, np.broadcast_to(one, images.shape), rtol=1e-9)
        assert (np.abs(one - 1) < 0.3).all() and len(np.unique(one)) == 6


def test_gray_pictures_have_no_saturation():
    images = pictures(shape=(5, 1, 4, 4))
    only = {"brightness": 0.0, "contrast": 0.0, "saturation": 1.0}
    np.testing.assert_allclose(random_color(images, generator(), **only), images, atol=1e-6)


@given(st.floats(0.05, 0.6), st.floats(0.1, 1), st.integers(0, 2**32))
def test_erased_is_one_rectangle_of_the_area_asked_for(area, aspect, seed):
    images = np.full((8, 2, 20, 24), 2.0)  # noise is below 1
    made = random_erasing(images, generator(seed), 1.0, (area, area), aspect)
    for image in made:
        holes = image < 2
        assert (holes[0] == holes[1]).all()
        rows, columns = holes[0].any(axis=1), holes[0].any(axis=0)
        assert (holes[0] == rows[:, None] * columns).all()
        for used in (rows, columns):
            assert (np.diff(np.flatnonzero(used)) == 1).all()
        h, w = rows.sum(), columns.sum()
        exact = np.sqrt(area * 480)
        slack = 1 / np.sqrt(aspect)
        assert exact / slack - 0.5 <= h <= min(20, exact * slack + 0.5)
        assert exact / slack - 0.5 <= w <= min(24, exact * slack + 0.5)
        if h < 20 and w < 24:
            assert abs(h * w - area * 480) <= (h + w) / 2 + 0.25
        assert len(np.unique(image[holes])) == holes.sum()


def test_erasing_spares_the_others():
    images = pictures(np.uint8, (400, 1, 8, 8))
    made = random_erasing(images, generator(), 0.25)
    changed = (made != images).any(axis=(1, 2, 3))
    assert made.dtype == np.uint8 and 60 < changed.sum() < 140
    np.testing.assert_array_equal(random_erasing(images, generator(), 0), images)


# ---- soft targets ------------------------------------------------------------------------------


def test_mixup_blends_pictures_and_labels_alike():
    labels = np.array([0, 1, 2, 3, 0, 1])
    images = np.broadcast_to(np.eye(4)[labels][:, :, None, None], (6, 4, 2, 2))  # show the label
    mixed, targets = mixup(images, labels, generator(), 4, alpha=1.0)
    assert targets.shape == (6, 4) and targets.dtype == mixed.dtype == np.float64
    np.testing.assert_allclose(mixed, np.broadcast_to(targets[:, :, None, None], (6, 4, 2, 2)))
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-15)
    assert ((targets > 0).sum(axis=1) <= 2).all() and ((0 < targets) & (targets < 1)).any()


def test_mixup_draws_from_beta():
    images, labels = np.zeros((20_000, 1, 1, 1), np.float32), np.arange(20_000) % 2
    images[::2] = 1
    mixed, targets = mixup(images, labels, generator(), 2, alpha=0.5)
    assert mixed.dtype == targets.dtype == np.float32
    np.testing.assert_allclose(targets[:, 0], mixed[:, 0, 0, 0])
    # x = own * l + other * (1 - l), l ~ Beta(1/2, 1/2): E x^2 = E l^2 / 2 + E (1-l)^2 / 2
    # + E l (1-l) / 2 = 3/16 + 3/16 + 1/16
    assert abs((mixed.astype(np.float64) ** 2).mean() - 7 / 16) < 0.015


def test_mixup_of_nothing_and_of_soft_labels():
    images, labels = pictures(np.uint8), np.array([0, 1, 2, 0, 1, 2])
    same, targets = mixup(images, labels, generator(), 3, alpha=0)
    np.testing.assert_array_equal(same, scaled(images))
    np.testing.assert_array_equal(targets, np.eye(3)[labels])
    once = mixup(images, labels, generator(), 3)
    twice = mixup(images, one_hot(labels, 3), generator(), 3)
    for a, b in zip(once, twice, strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_hot():
    made = one_hot(np.array([2, 0]), 3)
    assert made.dtype == np.float32 and made.tolist() == [[0, 0, 1], [1, 0, 0]]


# ---- normalisation, composition ----------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_normalized_by_their_own_statistics_pictures_are_standard(dtype):
    images = pictures(dtype, (5, 3, 20, 20))
    mean, std = channel_statistics(images)
    made = normalize(images, mean, std)
    assert made.dtype == scaled(images).dtype
    np.testing.assert_allclose(made.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(made.std(axis=(0, 2, 3)), 1, atol=1e-5)
    one = normalize(images[0], 0.5, 0.25)
    np.testing.assert_allclose(one, (scaled(images[0]) - 0.5) / 0.25, rtol=1e-6)


def test_composed_steps_are_taken_in_turn_from_one_generator():
    images = pictures()
    steps = [partial(random_crop, padding=2), random_flip, random_erasing]
    rng = generator(5)
    expected = images
    for step in steps:
        expected = step(expected, rng)
    np.testing.assert_array_equal(compose(*steps)(images, generator(5)), expected)
    assert compose()(images, generator()) is images


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda x, rng: random_crop(x[0], rng), ValueError, r"random_crop: images .* \(3, 8, 10\)"),
        (lambda x, rng: random_flip(x.tolist(), rng), ValueError, "random_flip: .* got list"),
        (lambda x, rng: random_flip(x, 3), TypeError, "random_flip: rng must be .* got int"),
        (lambda x, rng: random_flip(x, rng, 1.5), ValueError, "share must lie between .* got 1.5"),
        (lambda x, rng: random_crop(x, rng, -1), ValueError, "padding must be at least 0"),
        (lambda x, rng: random_shift(x, rng, 1.5), TypeError, "random_shift: most must be a whole"),
        (lambda x, rng: random_color(x, rng, 2), ValueError, "brightness must lie .* got 2"),
        (
            lambda x, rng: random_color(x.astype(np.int32), rng),
            TypeError,
            "random_color: images are int32; expected bytes, float32",
        ),
        (lambda x, rng: random_erasing(x, rng, area=(0.5, 0.2)), ValueError, "area .* in order"),
        (lambda x, rng: random_erasing(x, rng, aspect=0), ValueError, "aspect 0"),
        (lambda x, rng: mixup(x, np.zeros(6, int), rng, 3, -1), ValueError, "alpha is -1"),
        (
            lambda x, rng: mixup(x, np.zeros(5, int), rng, 3),
            ValueError,
            r"labels \(5,\) for images",
        ),
        (lambda x, rng: mixup(x, np.zeros((6, 2)), rng, 3), ValueError, r"and 3 classes; expected"),
        (lambda x, rng: mixup(x, np.zeros(6), rng, 3), TypeError, "one_hot: labels .* float64"),
        (lambda x, rng: one_hot(np.array([1, 3]), 3), ValueError, r"lie in \[0, 3\), got 1 to 3"),
        (lambda x, rng: normalize(x, (0.5, 0.5), 1), ValueError, r"normalize: .*mean \(0.5, 0.5\)"),
        (lambda x, rng: normalize(x, 0.5, 0), ValueError, "std above 0"),
    ],
)
def test_bad_arguments_get_one_clear_error(call, error, says):
    with pytest.raises(error, match=says):
        call(pictures(), generator())
