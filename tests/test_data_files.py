"""Loaders of the usual files: the tests write the files themselves."""

import gzip
import struct
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minitx.data import read_cifar10, read_cifar100, read_idx, read_image_folder, read_mnist

KINDS = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(array):
    kind = KINDS[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


# ---- IDX ---------------------------------------------------------------------------------------


@given(
    st.sampled_from(sorted(KINDS)).flatmap(
        lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, min_side=0, max_side=4))
    ),
    st.booleans(),
)
def test_idx_of_any_kind_and_shape(tmp_path_factory, array, zipped):
    path = tmp_path_factory.getbasetemp() / "any.idx"
    path.write_bytes(gzip.compress(idx(array)) if zipped else idx(array))
    read = read_idx(path)
    assert read.dtype == array.dtype and read.shape == array.shape and read.flags.writeable
    np.testing.assert_array_equal(read, array)


GOOD = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "begins with the bytes of an empty file"),
        (b"\0\0\x08", "begins with the bytes 00 00 08, an IDX file with"),
        (b"PNG and more", "begins with the bytes 50 4e 47 20.* the file you mean"),
        (b"\0\0\x0a\x01" + bytes(8), "00 00 0a 01"),
        (GOOD[:10], "ends within its header of 3 axes"),
        (GOOD[:-1], r"uint8 of shape \(2, 3, 4\), 24 bytes .* more than the file|has only 23"),
        (GOOD + b"x", r"24 bytes after its header, but has more; it was cut or changed"),
        (gzip.compress(GOOD[:-5]), "24 bytes after its header, but has only 19"),
        (gzip.compress(GOOD)[:-9], "a damaged gzip file"),
        (gzip.compress(GOOD)[:-8] + bytes(8), "a damaged gzip file .*CRC.*; download it again"),
        (b"\0\0\x0e\x03" + b"\xff" * 12, "more than the file can have; download again"),
        (gzip.compress(b"\0\0\x0e\x03" + b"\xff" * 12), "more than the file can have"),
    ],
)
def test_a_damaged_idx_file_gets_one_clear_error(tmp_path, raw, says):
    path = tmp_path / "bad.idx"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=f"read_idx: .*bad.idx.*({says})"):
        read_idx(path)


def test_no_idx_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="read_idx: there is no file .*none"):
        read_idx(tmp_path / "none")


# ---- MNIST -------------------------------------------------------------------------------------

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
LABELS = np.array([3, 1, 4, 1, 5], np.uint8)


def write_mnist(folder, images=IMAGES, labels=LABELS, names="train-{}-idx{}-ubyte.gz"):
    for array, kind, axes in ((images, "images", 3), (labels, "labels", 1)):
        name = names.format(kind, axes)
        raw = idx(array)
        (folder / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)


@pytest.mark.parametrize(
    ("names", "part"),
    [
        ("train-{}-idx{}-ubyte.gz", "train"),
        ("train-{}.idx{}-ubyte", "train"),
        ("t10k-{}-idx{}-ubyte", "test"),
        ("emnist-letters-test-{}-idx{}-ubyte.gz", "test"),
    ],
)
def test_mnist(tmp_path, names, part):
    write_mnist(tmp_path, names=names)
    (tmp_path / "notes.txt").write_text("train-images")
    images, labels = read_mnist(tmp_path, part)
    assert images.dtype == np.uint8 and labels.dtype == np.int64
    np.testing.assert_array_equal(images, IMAGES[:, None])
    np.testing.assert_array_equal(labels, LABELS)


def test_mnist_unpacked_beside_the_packed(tmp_path):
    write_mnist(tmp_path)
    write_mnist(tmp_path, labels=LABELS + 1, names="train-{}-idx{}-ubyte")
    np.testing.assert_array_equal(read_mnist(str(tmp_path))[1], LABELS + 1)


@pytest.mark.parametrize(
    ("files", "error", "says"),
    [
        ({}, FileNotFoundError, "no file such as train-images-idx3-ubyte.gz"),
        ({"images": LABELS, "labels": IMAGES}, ValueError, r"shape \(5,\), expected bytes along 3"),
        ({"images": IMAGES.astype("i2")}, ValueError, "holds int16"),
        ({"labels": LABELS[:3]}, ValueError, "5 images in .*, but 3 labels in .* one download"),
        ({"also": "fashion-train-{}-idx{}-ubyte.gz"}, ValueError, "has both fashion.* and train"),
    ],
)
def test_mnist_files_that_do_not_fit(tmp_path, files, error, says):
    if files:
        if also := files.pop("also", None):
            write_mnist(tmp_path, names=also)
        write_mnist(tmp_path, **files)
    with pytest.raises(error, match=f"read_mnist: .*{says}"):
        read_mnist(tmp_path)


def test_mnist_elsewhere(tmp_path):
    with pytest.raises(FileNotFoundError, match="read_mnist: there is no folder"):
        read_mnist(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="part is 'validation'; expected 'train' or 'test'"):
        read_mnist(tmp_path, "validation")


# ---- CIFAR -------------------------------------------------------------------------------------

COLORS = np.random.default_rng(1).integers(0, 256, (3, 3, 32, 32), np.uint8)


def records(*labels):
    """One record for each tuple of label bytes."""
    pairs = zip(labels, COLORS, strict=False)
    return b"".join(bytes(label) + image.tobytes() for label, image in pairs)


def write_cifar10(folder):
    folder.mkdir()
    for i in range(1, 6):
        (folder / f"data_batch_{i}.bin").write_bytes(records([i], [i + 1]))
    (folder / "test_batch.bin").write_bytes(records([9], [8], [7]))


@pytest.mark.parametrize("inner", [False, True])
def test_cifar10(tmp_path, inner):
    write_cifar10(tmp_path / "cifar-10-batches-bin")
    folder = tmp_path / "cifar-10-batches-bin" if inner else tmp_path
    images, labels = read_cifar10(folder)
    assert images.shape == (10, 3, 32, 32) and images.dtype == np.uint8
    assert labels.tolist() == [1, 2, 2, 3, 3, 4, 4, 5, 5, 6] and labels.dtype == np.int64
    np.testing.assert_array_equal(images[4:6], COLORS[:2])
    images, labels = read_cifar10(folder, "test")
    assert labels.tolist() == [9, 8, 7]
    np.testing.assert_array_equal(images, COLORS)


def test_cifar100(tmp_path):
    (tmp_path / "train.bin").write_bytes(records([19, 99], [0, 3]))
    (tmp_path / "test.bin").write_bytes(records([5, 42]))
    images, labels = read_cifar100(tmp_path)
    assert labels.tolist() == [99, 3]
    np.testing.assert_array_equal(images, COLORS[:2])
    assert read_cifar100(tmp_path, "test", coarse=True)[1].tolist() == [5]


@pytest.mark.parametrize(
    ("read", "raw", "says"),
    [
        (read_cifar10, records([1])[:-1], "has 3072 bytes, .* records of 3073; it was cut"),
        (read_cifar10, b"", "has 0 bytes"),
        (read_cifar10, records([1, 1], [2, 2]), "6148 bytes, .* 3073; it looks like CIFAR-100"),
        (read_cifar100, records([1]), "3073 bytes, .* 3074; it looks like CIFAR-10$"),
        (read_cifar10, records([1], [10]), "record 1 has the label 10, expected below 10"),
        (read_cifar100, records([1, 100]), "record 0 has the label 100, expected below 100"),
        (read_cifar100, records([20, 1]), "has the label 20, expected below 20"),
    ],
)
def test_a_damaged_cifar_file_gets_one_clear_error(tmp_path, read, raw, says):
    for name in ("test_batch.bin", "test.bin"):
        (tmp_path / name).write_bytes(raw)
    with pytest.raises(ValueError, match=f"{read.__name__}: .*{says}"):
        read(tmp_path, "test")


def test_cifar_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file .*data_batch_1.bin; name the folder of"):
        read_cifar10(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x04")
    with pytest.raises(ValueError, match="the Python version, whose files are pickles"):
        read_cifar10(tmp_path)
    with pytest.raises(ValueError, match="read_cifar100: part is 'valid'"):
        read_cifar100(tmp_path, "valid")


# ---- folders -----------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path):
    """Two classes of two plain pictures each, in several forms."""
    image = pytest.importorskip("PIL.Image")
    for path, mode, size, color in [
        ("cats/b.png", "RGB", (8, 8), (200, 10, 30)),
        ("cats/deep/a.PNG", "L", (4, 9), 77),
        ("dogs/x.jpg", "RGB", (16, 8), (90, 90, 90)),
        ("dogs/y.png", "RGBA", (5, 5), (1, 2, 3, 255)),
    ]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        image.new(mode, size, color).save(tmp_path / path)
    (tmp_path / "cats" / "notes.txt").write_text("no picture")
    (tmp_path / "cats" / "._b.png").write_bytes(b"what another system leaves behind")
    (tmp_path / ".cache").mkdir()
    return tmp_path


def test_an_image_folder(pictures):
    images, labels, names = read_image_folder(pictures, 8)
    assert names == ("cats", "dogs") and labels.tolist() == [0, 0, 1, 1]
    assert images.shape == (4, 3, 8, 8) and images.dtype == np.uint8 and labels.dtype == np.int64
    colors = [(200, 10, 30), (77, 77, 77), (90, 90, 90), (1, 2, 3)]
    for image, color in zip(images, colors, strict=True):
        np.testing.assert_array_equal(
            image, np.broadcast_to(np.array(color)[:, None, None], (3, 8, 8))
        )


def test_a_picture_is_cut_at_its_centre_and_not_squeezed(pictures):
    from PIL import Image

    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = np.arange(48).reshape(4, 4, 3)
    for path in (pictures / "cats").rglob("*.[pP]*"):
        path.unlink()
    Image.fromarray(wide).save(pictures / "cats" / "wide.png")
    images = read_image_folder(pictures, 4)[0]
    np.testing.assert_array_equal(images[0], np.arange(48).reshape(4, 4, 3).transpose(2, 0, 1))


def test_a_picture_is_turned_upright_as_its_camera_noted(pictures):
    from PIL import Image

    pixels = np.zeros((6, 6, 3), np.uint8)
    pixels[0] = 255  # the top row
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees, clockwise
    Image.fromarray(pixels).save(pictures / "cats" / "a.png", exif=exif)
    image = read_image_folder(pictures, 6)[0][0]
    assert (image[:, :, -1] == 255).all() and not image[:, :, :-1].any()


def test_folders_that_cannot_be_read(pictures):
    with pytest.raises(ValueError, match="size must be at least 1"):
        read_image_folder(pictures, 0)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        read_image_folder(pictures / "none", 8)
    with pytest.raises(ValueError, match="deep has no folders; make one for each class"):
        read_image_folder(pictures / "cats" / "deep", 8)
    whole = (pictures / "dogs" / "x.jpg").read_bytes()
    for raw in (b"", b"no picture", whole[: len(whole) // 2]):
        (pictures / "dogs" / "x.jpg").write_bytes(raw)
        with pytest.raises(ValueError, match=f"x.jpg, {len(raw)} bytes, is no picture that can be"):
            read_image_folder(pictures, 8)
    (pictures / "ants").mkdir()
    with pytest.raises(ValueError, match="ants has no pictures .*.png, .jpg, .jpeg"):
        read_image_folder(pictures, 8)


def test_without_pillow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="read_image_folder: .* pip install pillow"):
        read_image_folder(tmp_path, 8)
