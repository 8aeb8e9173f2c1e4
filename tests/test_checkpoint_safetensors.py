"""The safetensors format: exact round trips, the official library's bytes, and no trust at all."""

from __future__ import annotations

import json
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minitx.checkpoint import (
    CheckpointError,
    load_safetensors,
    read_dtypes,
    read_metadata,
    save_safetensors,
)

FIXTURES = Path(__file__).parent / "fixtures"
DTYPES = "bool u1 i1 u2 i2 u4 i4 u8 i8 f2 f4 f8 c8".split()


def assert_same(came, expected):
    """Equal to the bit, in this machine's byte order."""
    expected = np.asarray(expected)
    expected = expected.astype(expected.dtype.newbyteorder("="))
    assert came.dtype == expected.dtype and came.dtype.isnative
    assert came.shape == expected.shape
    assert came.tobytes() == expected.tobytes()


# --- round trips ---


def layouts(array):
    """The same values, differently laid out in memory."""
    yield array
    yield np.array(array, order="F")
    yield array.astype(array.dtype.newbyteorder(">"))
    yield np.repeat(array, 2, axis=-1)[..., ::2] if array.ndim else array
    yield np.flip(np.flip(array).copy())


ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0))
)
NAMES = st.text().filter(lambda name: name != "__metadata__")


@given(st.dictionaries(NAMES, ARRAYS, max_size=5), st.dictionaries(st.text(), st.text()), st.data())
def test_round_trip(tmp_path_factory, arrays, metadata, data):
    path = tmp_path_factory.getbasetemp() / "round.safetensors"
    given = {k: data.draw(st.sampled_from(list(layouts(v)))) for k, v in arrays.items()}
    save_safetensors(path, given, metadata)
    loaded = load_safetensors(path)
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        assert_same(loaded[name], array)
    assert read_metadata(path) == metadata


def test_the_input_is_not_changed_and_the_result_is_free(tmp_path):
    path = tmp_path / "x.safetensors"
    frozen = np.arange(6.0).reshape(2, 3).T
    frozen.flags.writeable = False
    save_safetensors(path, {"a": frozen, "b": np.float32(3), "c": np.zeros(0)})
    for array in load_safetensors(path).values():
        assert array.flags.writeable and array.flags.owndata and array.flags.c_contiguous


def test_equal_content_gives_equal_bytes(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {f"n{i}": rng.integers(0, 2, (3, i)).astype(DTYPES[i]) for i in range(len(DTYPES))}
    backwards = {k: np.asfortranarray(arrays[k]) for k in reversed(arrays)}
    save_safetensors(tmp_path / "a", arrays, {"x": "1", "y": "2"})
    save_safetensors(tmp_path / "b", backwards, {"y": "2", "x": "1"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_every_tensor_is_aligned(tmp_path):
    arrays = {f"{dtype}": np.ones(3, dtype) for dtype in DTYPES}
    save_safetensors(tmp_path / "a", arrays)
    raw = (tmp_path / "a").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    for name, info in json.loads(raw[8 : 8 + length]).items():
        start = 8 + length + info["data_offsets"][0]
        assert start % arrays[name].itemsize == 0
        assert raw[start : start + arrays[name].nbytes] == arrays[name].tobytes()


# --- the official library ---


def official_arrays():
    arrays = {f"schicht.0.{name}": np.arange(6).reshape(2, 3).astype(name) for name in DTYPES}
    return arrays | {"größe": np.array(7, "f4"), "empty": np.zeros((0, 4), "i8")}


def test_reads_what_the_official_library_wrote():
    loaded = load_safetensors(FIXTURES / "official.safetensors")
    expected = official_arrays()
    assert loaded.keys() == expected.keys()
    for name, array in expected.items():
        assert_same(loaded[name], array)
    metadata = read_metadata(FIXTURES / "official.safetensors")
    assert metadata == {"made by": "safetensors, the Rust library"}


def test_writes_the_same_bytes_as_the_official_library(tmp_path):
    metadata = {"made by": "safetensors, the Rust library"}
    save_safetensors(tmp_path / "ours", official_arrays(), metadata)
    assert (tmp_path / "ours").read_bytes() == (FIXTURES / "official.safetensors").read_bytes()


def test_bfloat16_comes_as_float32():
    loaded = load_safetensors(FIXTURES / "bf16.safetensors")
    # 1e-40 is subnormal: to 8 bits of significand it has room for only one.
    assert_same(loaded["x"], np.array([0, -1.5, 3.140625, np.inf, 2.0**-133], "f4"))
    assert_same(loaded["scalar"], np.float32(2))
    assert all(a.flags.owndata and a.flags.writeable for a in loaded.values())
    assert read_dtypes(FIXTURES / "bf16.safetensors") == {"x": "BF16", "scalar": "BF16"}


def test_every_bfloat16_pattern(tmp_path):
    bits = np.arange(1 << 16, dtype="<u2")
    path = file_of(tmp_path, {"x": entry("BF16", [1 << 16], 0, 1 << 17)}, bits.tobytes())
    assert_same(load_safetensors(path)["x"], (bits.astype("u4") << 16).view("f4"))


# --- writing: refused before anything is written ---


@pytest.mark.parametrize(
    ("arrays", "metadata", "message"),
    [
        ({"a": np.ones(2, object)}, None, "tensor 'a' has dtype object.*convert it to one of"),
        ({"a": np.ones(2, "c16")}, None, "tensor 'a' has dtype complex128"),
        ({"a": np.array("text")}, None, "tensor 'a' has dtype <U4"),
        ({"a": np.array("2020", "M8[s]")}, None, "tensor 'a' has dtype datetime64"),
        ({"__metadata__": np.ones(2)}, None, "name must be text, not '__metadata__'"),
        ({3: np.ones(2)}, None, "name must be text, not 3"),
        ({"\ud800": np.ones(2)}, None, "not valid Unicode"),
        ({}, {"step": 3}, "metadata must map text to text, got {'step': 3}"),
        ({}, {3: "step"}, "metadata must map text to text"),
        ({}, "step", "metadata must map text to text"),
        ({}, {"a": "\udfff"}, "not valid Unicode"),
    ],
)
def test_what_the_format_cannot_hold(tmp_path, arrays, metadata, message):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(CheckpointError, match=message):
        save_safetensors(path, arrays, metadata)
    assert path.read_bytes() == b"old"


# --- reading: every lie is found, and before memory is spent on it ---


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def file_of(folder, header, data=b"", length=None):
    """A file of this header (JSON or raw bytes) and data, however wrong."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "x.safetensors"
    path.write_bytes((len(raw) if length is None else length).to_bytes(8, "little") + raw + data)
    return path


GOOD = entry("F32", [2], 0, 8)
LIES = {
    # header, data, message
    "empty header": (b"", b"", "begins with '{'"),
    "list": (b"[]", b"", "begins with '{'"),
    "leading space": (b" {}", b"", "begins with '{'"),
    "cut JSON": (b'{"a":', b"", "not JSON in UTF-8: Expecting value"),
    "two values": (b"{}{}", b"", "not JSON in UTF-8: Extra data"),
    "latin-1": ('{"ä":{}}'.encode("latin-1"), b"", "not JSON in UTF-8: 'utf-8' codec"),
    "utf-16": ("{}".encode("utf-16-le"), b"", "not JSON in UTF-8"),
    "half a surrogate": (b'{"\\ud800":' + json.dumps(GOOD).encode() + b"}", bytes(8), "surrogates"),
    "deep": (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", b"", "not JSON in UTF-8"),
    "huge integer": (b'{"a":' + b"9" * 10_000 + b"}", b"", "x.safetensors"),
    "twice": (
        b'{"a":' + json.dumps(GOOD).encode() + b',"a":' + json.dumps(GOOD).encode() + b"}",
        bytes(8),
        "the key 'a' appears 2 times",
    ),
    "twice within": (
        b'{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
        bytes(8),
        "the key 'dtype' appears 2 times",
    ),
    "metadata number": ({"__metadata__": {"a": 1}}, b"", "metadata must map text to text"),
    "metadata list": ({"__metadata__": ["a"]}, b"", "metadata must map text to text"),
    "metadata null": ({"__metadata__": None}, b"", "metadata must map text to text"),
    "entry number": ({"a": 3}, b"", "'a' is described by 3, expected dtype, shape and data_off"),
    "entry null": ({"a": None}, b"", "'a' is described by None"),
    "entry empty": ({"a": {}}, b"", "'a' is described by {}"),
    "no shape": ({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, bytes(8), "'a' is described by"),
    "one more field": ({"a": GOOD | {"strides": [1]}}, bytes(8), "'a' is described by"),
    "dtype unknown": ({"a": entry("F31", [2], 0, 8)}, bytes(8), "'a' has dtype 'F31', expected on"),
    "dtype number": ({"a": entry(32, [2], 0, 8)}, bytes(8), "'a' has dtype 32"),
    "dtype list": ({"a": entry(["F32"], [2], 0, 8)}, bytes(8), "'a' has dtype .'F32'."),
    "dtype numpy's": ({"a": entry("<f4", [2], 0, 8)}, bytes(8), "'a' has dtype '<f4'"),
    "shape number": ({"a": entry("F32", 2, 0, 8)}, bytes(8), "'a' has shape 2, expected"),
    "shape null": ({"a": entry("F32", None, 0, 8)}, bytes(8), "'a' has shape None"),
    "shape negative": ({"a": entry("F32", [-2, -1], 0, 8)}, bytes(8), "'a' has shape .-2, -1."),
    "shape bool": ({"a": entry("F32", [2, True], 0, 8)}, bytes(8), "'a' has shape .2, True."),
    "shape float": ({"a": entry("F32", [2.0], 0, 8)}, bytes(8), "'a' has shape .2.0."),
    "shape text": ({"a": entry("F32", ["2"], 0, 8)}, bytes(8), "'a' has shape .'2'."),
    "shape infinite": (
        b'{"a":{"dtype":"F32","shape":[Infinity],"data_offsets":[0,8]}}',
        bytes(8),
        "'a' has shape .inf.",
    ),
    "65 axes": ({"a": entry("F32", [1] * 65, 0, 4)}, bytes(4), "'a' has shape .*at most 64"),
    "too small": ({"a": entry("F32", [1], 0, 8)}, bytes(8), "has 8 bytes, but F32.*takes 4"),
    "too large": ({"a": entry("F32", [3], 0, 8)}, bytes(8), "has 8 bytes, but F32.*takes 12"),
    "far too large": ({"a": entry("F32", [2**50], 0, 8)}, bytes(8), "has 8 bytes, but.*takes"),
    "wraps to 0": ({"a": entry("F32", [2**32, 2**32], 0, 0)}, b"", "more than memory can address"),
    "wraps to 8": (
        {"a": entry("F32", [2**63 + 1, 2], 0, 8)},
        bytes(8),
        "more than memory can address",
    ),
    "zero of too many": ({"a": entry("F32", [0, 2**62], 0, 0)}, b"", "more than memory can addr"),
    "zero but bytes": ({"a": entry("F32", [0, 2], 0, 8)}, bytes(8), "8 bytes, but.*takes 0"),
    "offsets number": ({"a": GOOD | {"data_offsets": 8}}, bytes(8), "'a' has data_offsets 8, exp"),
    "offsets short": ({"a": GOOD | {"data_offsets": [8]}}, bytes(8), "'a' has data_offsets .8."),
    "offsets long": ({"a": GOOD | {"data_offsets": [0, 8, 8]}}, bytes(8), "'a' has data_offsets"),
    "offsets negative": ({"a": entry("F32", [2], -8, 0)}, bytes(8), "'a' has data_offsets .-8, 0."),
    "offsets float": ({"a": entry("F32", [2], 0, 8.0)}, bytes(8), "'a' has data_offsets .0, 8.0."),
    "offsets bool": ({"a": entry("U8", [1], 0, True)}, bytes(1), "'a' has data_offsets .0, True."),
    "offsets swapped": ({"a": entry("F32", [2], 8, 0)}, bytes(8), "'a' has data_offsets .8, 0."),
    "beyond the file": (
        {"a": GOOD},
        bytes(7),
        "'a' ends at byte 8 of the data, but the file has 7",
    ),
    "far beyond": ({"a": entry("F32", [2**40], 0, 2**42)}, bytes(7), "'a' ends at byte"),
    "shifted": ({"a": entry("F32", [2], 4, 12)}, bytes(12), "'a' begins at byte 4.*leaves a hole"),
    "same bytes": ({"a": GOOD, "b": GOOD}, bytes(8), "'b' begins at byte 0.*overlaps.*ends at 8"),
    "overlap": ({"a": GOOD, "b": entry("F32", [2], 4, 12)}, bytes(12), "'b' begins at.*overlaps"),
    "hole": ({"a": GOOD, "b": entry("F32", [1], 12, 16)}, bytes(16), "'b' begins at byte 12.*hole"),
    "empty in a hole": ({"a": GOOD, "b": entry("F32", [0], 12, 12)}, bytes(16), "'b' begins.*hole"),
    "trailing": ({"a": GOOD}, bytes(11), "3 bytes follow the last tensor"),
    "only data": ({}, bytes(11), "11 bytes follow the last tensor"),
    "bool of 2": ({"a": entry("BOOL", [2], 0, 2)}, b"\1\2", "'a' is BOOL, but has bytes above 1"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_header(tmp_path, lie):
    header, data, message = LIES[lie]
    path = file_of(tmp_path, header, data)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_safetensors(path)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) < 500
    if lie != "bool of 2":
        with pytest.raises(CheckpointError, match=message):
            read_metadata(path)


@pytest.mark.parametrize("length", [3, 100, 2**31, 2**63 + 5, 2**64 - 1])
def test_a_lying_header_length(tmp_path, length):
    path = file_of(tmp_path, b"{}", length=length)
    with pytest.raises(CheckpointError, match=f"a header of {length} bytes is announced, but 2 by"):
        load_safetensors(path)


def test_a_header_above_the_limit(tmp_path):
    path = tmp_path / "x.safetensors"
    with open(path, "wb") as file:  # sparse: takes no room on the disk
        file.write((100_000_001).to_bytes(8, "little") + b"{}")
        file.truncate(100_000_009)
    with pytest.raises(CheckpointError, match="100000000 are allowed"):
        load_safetensors(path)


@pytest.mark.parametrize("size", range(8))
def test_a_file_too_short_for_a_length(tmp_path, size):
    (tmp_path / "x").write_bytes(bytes(size))
    with pytest.raises(CheckpointError, match=f"at least 8 bytes, this one {size}"):
        load_safetensors(tmp_path / "x")


def test_a_missing_file_is_an_ordinary_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_safetensors(tmp_path / "x")


def test_every_truncation_is_found(tmp_path):
    whole = (FIXTURES / "official.safetensors").read_bytes()
    path = tmp_path / "x"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError):
            load_safetensors(path)


def mutate(raw: bytes, rng: np.random.Generator) -> bytes:
    """Damage a file as files get damaged, or as an attacker would."""
    raw = bytearray(raw)
    header = min(8 + int.from_bytes(raw[:8], "little"), len(raw))
    at, to = sorted(int(i) for i in rng.integers(0, header if rng.random() < 0.8 else len(raw), 2))
    match rng.integers(0, 6):
        case 0:
            raw[at] ^= 1 << int(rng.integers(8))
        case 1:
            raw[at] = int(rng.integers(256))
        case 2:
            del raw[at:to]
        case 3:
            raw[at:at] = raw[at:to]
        case 4:
            del raw[at:]
        case 5:  # another number in the header, its length kept true
            numbers = list(re.finditer(rb"\d+", raw[8:header])) or [re.match(b"", b"")]
            start, end = (8 + i for i in numbers[rng.integers(len(numbers))].span())
            value = rng.choice([b"0", b"-1", b"1e9", b"4294967296", b"9223372036854775807", b"6"])
            raw[start:end] = value
            raw[:8] = (header - 8 + len(value) - (end - start)).to_bytes(8, "little")
    return bytes(raw)


def test_damaged_files_load_well_formed_or_raise(tmp_path):
    path = tmp_path / "x"
    save_safetensors(path, official_arrays(), {"key": "value"})
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    outcomes = {"loaded": 0, "refused": 0}
    tracemalloc.start()
    try:
        for _ in range(1500):
            raw = whole
            for _ in range(rng.integers(1, 3)):
                raw = mutate(raw, rng) if len(raw) >= 16 else raw
            path.write_bytes(raw)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            try:
                loaded = load_safetensors(path)
            except CheckpointError as error:
                outcomes["refused"] += 1
                assert str(error).startswith(str(path))
            else:
                outcomes["loaded"] += 1
                assert sum(a.nbytes for a in loaded.values()) <= 2 * len(raw)  # BF16 doubles
                for array in loaded.values():
                    assert array.flags.owndata and array.flags.writeable and array.dtype.isnative
            # Python's own objects for a header of 2 kB take some; any believed lie takes gigabytes.
            assert tracemalloc.get_traced_memory()[1] - before < 200_000 + 20 * len(raw)
    finally:
        tracemalloc.stop()
    assert min(outcomes.values()) > 50  # both branches were really tried
