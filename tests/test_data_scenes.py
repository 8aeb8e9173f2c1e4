import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minitx.data import boxes_of, digits, scenes

BLOCK = np.ones((1, 1, 8, 8), np.float32)  # one picture, all ink
PLAIN = {"clutter": 0, "texture": 0.0}


@pytest.fixture(scope="module")
def pool():
    return digits()


def make(pool, count=8, seed=0, **options):
    return scenes(*pool, count, np.random.default_rng(seed), **options)


def test_shapes_dtypes_and_range(pool):
    made = make(pool)
    assert made.images.shape == (8, 3, 32, 32) and made.images.dtype == np.float32
    assert made.images.min() >= 0 and made.images.max() <= 1
    assert made.labels.shape == (8, 1) and made.labels.dtype == np.int64
    assert made.boxes.shape == (8, 1, 4) and made.boxes.dtype == np.float32
    assert made.masks.shape == (8, 1, 32, 32) and made.masks.dtype == bool
    assert made.masks.any(axis=(2, 3)).all()


def test_scenes_follow_from_the_generator(pool):
    one, same, other = make(pool), make(pool), make(pool, seed=1)
    for field in ("images", "labels", "boxes", "masks"):
        np.testing.assert_array_equal(getattr(one, field), getattr(same, field))
        assert not np.array_equal(getattr(one, field), getattr(other, field))


def test_absent_objects(pool):
    made = make(pool, 200, objects=(1, 4), size=48)
    present = made.labels >= 0
    assert present[:, 0].all()
    shares = present.mean(axis=0)  # 1, 3/4, 1/2, 1/4; a standard error is below 0.036
    np.testing.assert_allclose(shares, [1, 0.75, 0.5, 0.25], atol=0.15)
    assert (np.diff(present.astype(int), axis=1) <= 0).all()
    np.testing.assert_array_equal(made.masks.any(axis=(2, 3)), present)
    assert not made.boxes[~present].any() and made.boxes[present].any(axis=-1).all()
    assert (made.masks.sum(axis=1) <= 1).all()  # a pixel shows one object


def test_an_upright_block_lies_where_its_box_says():
    made = make((BLOCK, np.array([7])), 50, turn=0.0, scale=(0.5, 0.5), **PLAIN)
    x0, y0, x1, y1 = made.boxes[:, 0].T
    assert set(x1 - x0) | set(y1 - y0) <= {16, 17}  # 16 pixels wide, at places between pixels
    assert x0.min() >= 0 and y0.min() >= 0 and x1.max() <= 32 and y1.max() <= 32
    missing = (x1 - x0) * (y1 - y0) - made.masks.sum(axis=(1, 2, 3))
    assert set(missing) <= {0, 1, 2, 3, 4}  # corners, half covered both ways
    assert (made.labels == 7).all() and len(set(x0)) > 5
    for image, mask in zip(made.images, made.masks[:, 0], strict=True):
        inside = np.median(image[:, mask], axis=1)
        away = np.abs(inside - image[:, 0, 0])
        outside_is_paper = not mask[0, 0]
        assert not outside_is_paper or ((away > 0.34) & (away < 0.66)).all()


def test_a_quarter_turn_is_that_of_the_picture():
    picture = np.zeros((1, 1, 8, 8), np.float32)
    picture[0, 0, :2, 1:] = 1  # one beam above
    exact = {"scale": (1.0, 1.0), "size": 8, **PLAIN}
    upright = make((picture, np.array([0])), turn=0.0, **exact)
    np.testing.assert_array_equal(upright.masks[0, 0], picture[0, 0] > 0)
    seen = [
        tuple(box) for box in make((picture, np.array([0])), 300, turn=180.0, **exact).boxes[:, 0]
    ]
    beams = {(1, 0, 8, 2), (6, 1, 8, 8), (0, 6, 7, 8), (0, 0, 2, 7)}  # by quarter turns, clockwise
    assert beams <= set(seen)


def test_each_object_keeps_to_its_cell():
    made = make((BLOCK, np.array([0])), 40, objects=4, turn=0.0, size=40, **PLAIN)
    centers = (made.boxes[..., :2] + made.boxes[..., 2:]) / 2
    cells = (centers // 20 @ [1, 2]).astype(int)
    assert (np.sort(cells, axis=1) == np.arange(4)).all()
    assert not (cells == cells[0]).all()


def test_what_is_painted_later_hides_what_was_there():
    made = make((BLOCK, np.array([0])), 60, objects=4, scale=(1.0, 1.0), turn=45.0)
    assert (made.masks.sum(axis=1) <= 1).all()
    areas = made.masks.sum(axis=(2, 3))
    assert (np.diff(areas.mean(axis=0)) > 0).all()
    np.testing.assert_allclose(areas[:, 3], 256, atol=25)  # but for corners beyond the edge


def test_clutter_and_texture_can_be_left_out():
    for options, plain in ((PLAIN, True), ({"clutter": 0}, False), ({"texture": 0.0}, False)):
        made = make((BLOCK, np.array([0])), turn=0.0, scale=(0.5, 0.5), **options)
        x0, y0, x1, y1 = made.boxes[:, 0].T[:, :, None]
        places = np.arange(32)
        rows = (places < y0 - 2) | (places > y1 + 1)  # the ink fades beyond the box
        columns = (places < x0 - 2) | (places > x1 + 1)
        beyond = rows[:, :, None] | columns[:, None, :]
        pairs = zip(made.images, beyond, strict=True)
        colors = [np.unique(image[:, outside], axis=1).shape[1] for image, outside in pairs]
        assert set(colors) == {1} if plain else max(colors) > 1


@given(hnp.arrays(bool, st.tuples(*[st.integers(1, 3)] + [st.integers(1, 7)] * 2)))
def test_boxes_are_the_tightest(masks):
    boxes = boxes_of(masks)
    assert boxes.shape == (len(masks), 4) and boxes.dtype == np.float32
    for mask, box in zip(masks, boxes, strict=True):
        rows, columns = np.nonzero(mask)
        expected = (
            [min(columns), min(rows), max(columns) + 1, max(rows) + 1] if len(rows) else [0] * 4
        )
        assert box.tolist() == expected


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"images": np.zeros((3, 8, 8))}, ValueError, r"images \(3, 8, 8\), labels \(1,\)"),
        ({"images": np.zeros((1, 3, 8, 8))}, ValueError, r"expected \(N, 1, H, H\)"),
        ({"labels": np.zeros(2, int)}, ValueError, r"labels \(2,\); expected"),
        ({"images": np.zeros((1, 1, 8, 8), np.uint8)}, TypeError, "images are uint8"),
        ({"labels": np.zeros(1)}, TypeError, "labels float64"),
        ({"count": 0}, ValueError, "count must be at least 1"),
        ({"size": 3.5}, TypeError, "size must be a whole number"),
        ({"objects": 0}, ValueError, "objects must be at least 1, got 0"),
        ({"objects": (3, 2)}, ValueError, "objects, the most, must be at least 3, got 2"),
        ({"scale": (0.5, 1.5)}, ValueError, r"scale \(0.5, 1.5\).* expected"),
        ({"scale": (0.0, 0.5)}, ValueError, "0 < scale <= 1"),
        ({"turn": -1}, ValueError, "turn -1"),
        ({"texture": -0.1}, ValueError, "texture -0.1"),
        ({"clutter": -1}, ValueError, "clutter must be at least 0"),
        ({"rng": 0}, TypeError, "scenes: rng must be a numpy.random.Generator"),
    ],
)
def test_bad_arguments_get_one_clear_error(options, error, says):
    rng = np.random.default_rng(0)
    settings = {"images": BLOCK, "labels": np.array([0]), "count": 1, "rng": rng}
    with pytest.raises(error, match=says):
        scenes(**(settings | options))
