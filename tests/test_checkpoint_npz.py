"""npz files: NumPy's own, but no size is believed; and the choice of format by suffix."""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minitx import checkpoint
from minitx.checkpoint import CheckpointError, load_npz, load_safetensors, read_metadata, save_npz

DTYPES = "bool u1 i1 <u2 >i2 u4 i4 >u8 i8 f2 >f4 f8 c8 c16 S3 U5".split()
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0))
)
NAMES = st.text().filter(lambda name: "\0" not in name)


def assert_same(came, expected):
    expected = expected.astype(expected.dtype.newbyteorder("="))
    assert came.dtype == expected.dtype and came.shape == expected.shape
    assert came.tobytes() == expected.tobytes()
    assert came.flags.owndata and came.flags.writeable


@given(st.dictionaries(NAMES, ARRAYS, max_size=4), st.booleans())
def test_round_trip(tmp_path_factory, arrays, transposed):
    path = tmp_path_factory.getbasetemp() / "round.npz"
    arrays = {name: array.T if transposed else array for name, array in arrays.items()}
    save_npz(path, arrays)
    loaded = load_npz(path)
    assert list(loaded) == list(arrays)
    for name, array in arrays.items():
        assert_same(loaded[name], array)
    with np.load(path, allow_pickle=False) as theirs:
        for name in theirs.files:
            np.testing.assert_array_equal(theirs[name], arrays[name])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_reads_what_numpy_wrote(tmp_path, save):
    fortran = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    arrays = {"zeros": np.zeros((500, 500)), "f": fortran, "s": np.array("text"), "0": np.array(3)}
    save(tmp_path / "x.npz", **arrays)
    loaded = load_npz(tmp_path / "x.npz")
    assert list(loaded) == list(arrays)
    for name, array in arrays.items():
        assert_same(loaded[name], array)


def test_names_that_are_parameters_of_savez(tmp_path):
    arrays = {name: np.ones(1) for name in ("file", "allow_pickle", "a/b", "x.npy", "")}
    save_npz(tmp_path / "x.npz", arrays)
    assert load_npz(tmp_path / "x.npz").keys() == arrays.keys()


def test_equal_content_gives_equal_bytes(tmp_path):
    array = np.arange(6.0).reshape(2, 3)
    save_npz(tmp_path / "a", {"x": array})
    save_npz(tmp_path / "b", {"x": np.asfortranarray(array)})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with zipfile.ZipFile(tmp_path / "a") as archive:
        assert archive.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.array([{}])}, "array 'a' has dtype object, expected booleans, numbers or text"),
        ({"a": np.zeros(2, [("x", "f4")])}, "array 'a' has dtype"),
        ({"a": np.array("2020", "M8[s]")}, "array 'a' has dtype datetime64"),
        ({3: np.ones(1)}, "name must be text.*not 3"),
        ({"a\0b": np.ones(1)}, "name must be text without NUL"),
        ({"\ud800": np.ones(1)}, "name must be text"),
        ({"a" * 70_000: np.ones(1)}, "below 65,000 bytes"),
    ],
)
def test_what_cannot_be_written(tmp_path, arrays, message):
    path = tmp_path / "x.npz"
    path.write_bytes(b"old")
    with pytest.raises(CheckpointError, match=message):
        save_npz(path, arrays)
    assert path.read_bytes() == b"old"


# --- reading what is not sound ---


def npy(shape, dtype="<f4", data=b"", fortran=False) -> bytes:
    """A `.npy` member with this header, true or not."""
    header = f"{{'descr': {dtype!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + data


def zip_of(folder, *members, method=zipfile.ZIP_STORED):
    path = folder / "x.npz"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, raw in members:
            archive.writestr(name, raw)
    return path


LIES = {
    "terabyte": (
        npy((1 << 38,)),
        f"has 0 bytes, but float32 of shape .{1 << 38},. takes {1 << 40}",
    ),
    "one short": (npy((3,), data=bytes(8)), "has 8 bytes, but float32 of shape .3,. takes 12"),
    "one long": (npy((1,), data=bytes(8)), "has 8 bytes, but float32 of shape .1,. takes 4"),
    "wraps to 0": (npy((1 << 32, 1 << 32)), "has 0 bytes"),
    "zero of too many": (npy((0, 1 << 62)), "'a' cannot be read"),
    "two negatives": (npy((-1, -2), data=bytes(8)), "'a' cannot be read"),
    "65 axes": (npy((1,) * 65, data=bytes(4)), "'a' cannot be read"),
    "float axis": (npy((2.0,), data=bytes(8)), "'a' cannot be read"),
    "no tuple": (npy(2, data=bytes(8)), "'a' cannot be read"),
    "object": (npy((1,), "|O", bytes(8)), "'a' has dtype object, expected booleans"),
    "empty text": (npy((1,), "<U0"), "'a' has dtype <U0, expected booleans"),
    "structure": (npy((1,), [("x", "<f4")], bytes(4)), "'a' has dtype"),
    "unknown dtype": (npy((1,), "<q7", bytes(7)), "'a' cannot be read"),
    "bool of 2": (npy((1,), "|b1", b"\2"), "'a' is boolean, but has bytes above 1"),
    "no header": (b"", "'a' cannot be read"),
    "other magic": (b"\x93NUMPZ\1\0" + bytes(100), "'a' cannot be read"),
    "version 9": (b"\x93NUMPY\x09\0" + bytes(100), "'a' has npy version .9, 0.*expected"),
    "long header": (
        npy((1,), data=bytes(4)).replace(b"}", b" " * 20_000 + b"}"),
        "'a' cannot be read",
    ),
    "code": (npy("__import__('os').abort()"), "'a' cannot be read"),
    "deep": (npy("-" * 9000 + "1"), "'a' cannot be read"),
    "brackets": (b"\x93NUMPY\1\0\x20\x4e" + b"(" * 20_000, "'a' cannot be read"),
}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("lie", LIES)
def test_a_lying_member(tmp_path, lie, method):
    raw, message = LIES[lie]
    path = zip_of(tmp_path, ("a.npy", raw), method=method)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_npz(path)
    assert str(caught.value).startswith(f"{path}: array 'a' ")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_appears_twice(tmp_path):
    path = zip_of(tmp_path, ("a.npy", npy((0,))), ("a.npy", npy((0,))))
    with pytest.raises(CheckpointError, match="the member 'a.npy' appears 2 times"):
        load_npz(path)


def test_a_member_that_is_no_array(tmp_path):
    path = zip_of(tmp_path, ("a.npy", npy((0,))), ("README", b"hello"))
    with pytest.raises(CheckpointError, match="the member 'README' is no array"):
        load_npz(path)


def test_an_unknown_compression(tmp_path):
    path = zip_of(tmp_path, ("a.npy", npy((0,))), method=zipfile.ZIP_LZMA)
    with pytest.raises(CheckpointError, match="'a.npy' claims to unpack"):
        load_npz(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_directory_that_lies_about_a_size(tmp_path, method):
    raw = npy((1 << 29,))  # announces 2 GiB
    path = zip_of(tmp_path, ("a.npy", raw), method=method)
    whole = bytearray(path.read_bytes())
    sizes = whole.rindex(b"PK\1\2") + 24  # of the member, in the central directory
    assert int.from_bytes(whole[sizes : sizes + 4], "little") == len(raw)
    whole[sizes : sizes + 4] = (len(raw) + (1 << 31)).to_bytes(4, "little")
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match="'a.npy' claims to unpack [0-9]+ bytes to 2147"):
        load_npz(path)
    whole[sizes - 4 : sizes] = whole[sizes : sizes + 4]  # the compressed size lies as well
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match="the members claim 2147.* bytes, the file has"):
        load_npz(path)


def test_other_files(tmp_path):
    for raw in (b"", b"PK", b"\x93NUMPY", bytes(1000)):
        (tmp_path / "x").write_bytes(raw)
        with pytest.raises(CheckpointError, match="x cannot be read: .*File is not a zip file"):
            load_npz(tmp_path / "x")
    with pytest.raises(FileNotFoundError):
        load_npz(tmp_path / "y")


def test_every_truncation_is_found(tmp_path):
    save_npz(tmp_path / "x", {"a": np.arange(5), "b": np.ones(3)})
    whole = (tmp_path / "x").read_bytes()
    for size in range(len(whole)):
        (tmp_path / "x").write_bytes(whole[:size])
        with pytest.raises(CheckpointError):
            load_npz(tmp_path / "x")


def test_damaged_files_load_well_formed_or_raise(tmp_path):
    path = tmp_path / "x"
    rng = np.random.default_rng(0)
    wholes = []
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, a=np.arange(100), b=np.ones((3, 4), "f4"), c=np.array(["x", "yz"]))
        wholes.append(buffer.getvalue())
    outcomes = {"loaded": 0, "refused": 0}
    tracemalloc.start()
    try:
        for turn in range(1000):
            raw = bytearray(wholes[turn % 2])
            for _ in range(rng.integers(1, 4)):
                at = int(rng.integers(len(raw)))
                raw[at] = rng.choice([0, 255, raw[at] ^ 1, int(rng.integers(256))])
            path.write_bytes(raw)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            try:
                load_npz(path)
                outcomes["loaded"] += 1
            except CheckpointError as error:
                outcomes["refused"] += 1
                assert str(error).startswith(str(path))
            assert tracemalloc.get_traced_memory()[1] - before < 1_500_000
    finally:
        tracemalloc.stop()
    assert min(outcomes.values()) > 50


# --- the choice of format ---


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".NPZ"])
def test_save_and_load_choose_by_suffix(tmp_path, suffix):
    path = tmp_path / f"model.v1{suffix}"
    checkpoint.save(path, {"a": np.arange(3)})
    assert_same(checkpoint.load(str(path))["a"], np.arange(3))
    assert path.read_bytes().startswith(b"PK") == (suffix != ".safetensors")


def test_metadata_goes_to_safetensors_only(tmp_path):
    path = tmp_path / "x.safetensors"
    checkpoint.save(path, {"a": np.arange(3)}, {"step": "3"})
    assert read_metadata(path) == {"step": "3"} and list(load_safetensors(path)) == ["a"]
    with pytest.raises(CheckpointError, match="npz files hold no metadata"):
        checkpoint.save(tmp_path / "x.npz", {}, {"step": "3"})
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize("name", ["model.pt", "model", "npz", "model.npz.bak"])
def test_another_suffix(tmp_path, name):
    for call in (lambda path: checkpoint.save(path, {}), checkpoint.load):
        with pytest.raises(CheckpointError, match="ends in .safetensors or .npz"):
            call(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
