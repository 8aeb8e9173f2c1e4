"""Bundles on disk: three readers agree on a good one, and each refuses every damaged one."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys
import zlib

import numpy as np
import pytest

import minitx
from minitx.checkpoint import CheckpointError
from minitx.oracle import Bundle, BundleError
from minitx.oracle.bundle import KINDS, VERSION, write
from minitx.oracle.literal import decode, encode, tensors_in

DEMOS = pathlib.Path(__file__).parents[1] / "demos"
GCC = shutil.which("gcc")

ARRAYS = {
    "parameter/w": np.arange(6.0).reshape(2, 3),
    "input/ids": np.array([[3, -1]]),
    "input/mask": np.array([True, False, True]),
    "value/sum": np.array(15.0),
    "value/none": np.zeros((0, 4), np.float32),
    "constant/sum/1": np.arange(5, dtype=np.int32),
}
NODE = {
    "name": "sum",
    "op": "sum",
    "module": "",
    "source": "here.py:1",
    "arguments": [{"tensor": "parameter/w"}],
    "options": {"axis": None},
}


def make(folder, arrays=ARRAYS, node=NODE):
    return write(folder / "gold", arrays, {"parameter/w": 1e-5}, {"model": "M", "nodes": [node]})


@pytest.fixture(scope="module")
def read_in_c(tmp_path_factory):
    if GCC is None:
        pytest.skip("there is no gcc")
    program = tmp_path_factory.mktemp("c") / "read_bundle"
    flags = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run([GCC, *flags, "-o", program, DEMOS / "read_bundle.c"], check=True)
    return lambda *stem: subprocess.run([program, *stem], capture_output=True, text=True)


def read_in_python(*stem):
    program = [sys.executable, "-S", DEMOS / "read_bundle.py", *stem]
    return subprocess.run(program, capture_output=True, text=True)


def listed(arrays=ARRAYS):
    """What both demos are to print, in any order."""
    return sorted(
        f"{name} {x.dtype} ({', '.join(map(str, x.shape))}) {zlib.crc32(x.tobytes()):08x}"
        for name, x in arrays.items()
    )


# ---- good ones -----------------------------------------------------------------------------------


def test_a_bundle_survives(tmp_path):
    bundle = make(tmp_path)
    for stem in "gold", "gold.json", "gold.txt", "gold.safetensors":
        bundle = Bundle.read(tmp_path / stem)
    assert bundle.path == tmp_path / "gold"
    assert bundle.arrays.keys() == ARRAYS.keys() == bundle.manifest["tensors"].keys()
    for name, x in ARRAYS.items():
        np.testing.assert_array_equal(bundle.arrays[name], x)
        assert bundle.arrays[name].dtype == x.dtype
    assert (
        bundle.nodes["sum"].run(bundle.arrays)[0] == 15 and bundle.tolerance("parameter/w") == 1e-5
    )
    assert bundle.kind("input").keys() == {"ids", "mask"}
    first = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    make(tmp_path)
    assert first == {file.name: file.read_bytes() for file in tmp_path.iterdir()}


def test_the_list_says_where_each_array_is(tmp_path):
    make(tmp_path)
    data = (tmp_path / "gold.safetensors").read_bytes()
    head, *lines, end = (tmp_path / "gold.txt").read_text().splitlines()
    assert head.split()[:4] == ["minitx-bundle", "1", "6", str(len(data))]
    assert end.startswith("end ")
    for line in lines:
        name, dtype, offset, size, crc, axes, *shape = line.split()
        piece = data[int(offset) : int(offset) + int(size)]
        x = np.frombuffer(piece, dtype).reshape([int(n) for n in shape])
        np.testing.assert_array_equal(x, ARRAYS[name])
        assert x.ndim == int(axes) and zlib.crc32(piece) == int(crc, 16)


def test_the_c_program_reads_it(tmp_path, read_in_c):
    make(tmp_path)
    done = read_in_c(tmp_path / "gold")
    assert done.returncode == 0 and not done.stderr
    assert sorted(done.stdout.splitlines()) == listed()


def test_the_python_program_reads_it(tmp_path):
    make(tmp_path)
    done = read_in_python(tmp_path / "gold")
    assert done.returncode == 0 and sorted(done.stdout.splitlines()) == listed()
    assert read_in_python(tmp_path / "none").returncode == 1
    assert read_in_python().returncode == 1


def test_the_format_is_described_and_installed():
    text = (pathlib.Path(minitx.__file__).parent / "oracle" / "FORMAT.md").read_text()
    assert f"version {VERSION}" in text
    assert all(f"`{kind}/<" in text for kind in KINDS)


def test_the_c_program_is_short_enough_to_copy():
    lines = (DEMOS / "read_bundle.c").read_text().splitlines()
    assert len(lines) <= 115 and max(map(len, lines)) <= 100


# ---- damaged ones --------------------------------------------------------------------------------


def flip(file, place):
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def relist(folder, change):
    """Change the lines of the list, with an end that fits again."""
    *lines, _ = (folder / "gold.txt").read_text().splitlines(keepends=True)
    text = "".join(change(lines))
    (folder / "gold.txt").write_text(f"{text}end {zlib.crc32(text.encode()):08x}\n")


def edit(old, new):
    return lambda lines: [line.replace(old, new) for line in lines]


def truncate(name, count):
    def damage(folder):
        file = folder / name
        file.write_bytes(file.read_bytes()[:count])

    return damage


def forge(length):
    """Another length of the header, and sums that fit it."""

    def damage(folder):
        file = folder / "gold.safetensors"
        before = file.read_bytes()
        after = length.to_bytes(8, "little") + before[8:]
        file.write_bytes(after)
        relist(folder, edit(f"{zlib.crc32(before):08x}", f"{zlib.crc32(after):08x}"))

    return damage


def longer(folder):
    file = folder / "gold.safetensors"
    file.write_bytes(file.read_bytes() + b"\0")


OF_DATA = {  # (what happens to the file of arrays, what the C program says)
    "a byte of data flipped": (lambda f: flip(f / "gold.safetensors", -5), "CRC-32 differs"),
    "a byte of the header flipped": (lambda f: flip(f / "gold.safetensors", 20), "CRC-32 differs"),
    "the header's length flipped": (lambda f: flip(f / "gold.safetensors", 7), "CRC-32 differs"),
    "truncated": (truncate("gold.safetensors", -8), "bytes, not"),
    "almost empty": (truncate("gold.safetensors", 4), "has 4 bytes, not"),
    "empty": (truncate("gold.safetensors", 0), "has 0 bytes, not"),
    "too long": (longer, "bytes, not"),
    "a huge header": (forge(2**64 - 4), "header is longer than the file"),
    "a shorter header": (forge(99), "not where the list says"),
    "missing": (lambda f: (f / "gold.safetensors").unlink(), "cannot open"),
}
OF_LIST = {
    "a byte flipped": (lambda f: flip(f / "gold.txt", 60), "the list is damaged"),
    "a byte of its sum flipped": (lambda f: flip(f / "gold.txt", -3), "the list is damaged"),
    "truncated": (truncate("gold.txt", -20), "the list is damaged"),
    "short": (truncate("gold.txt", 9), "not one of a bundle"),
    "empty": (truncate("gold.txt", 0), "not one of a bundle"),
    "missing": (lambda f: (f / "gold.txt").unlink(), "cannot open"),
    "another version": (lambda f: relist(f, edit("bundle 1 ", "bundle 2 ")), "version 1"),
    "a zero byte": (lambda f: relist(f, edit("constant/", "\0onstant/")), "the list is damaged"),
    "a line less": (lambda f: relist(f, lambda x: [x[0], *x[2:]]), "not where the list says"),
    "the last line less": (lambda f: relist(f, lambda x: x[:-1]), "more or fewer tensors"),
    "an empty line": (lambda f: relist(f, lambda x: [*x, "\n"]), "malformed line"),
    "a line of other words": (lambda f: relist(f, edit("float64 ", "float64 at ")), "malformed"),
    "another length": (lambda f: relist(f, edit(" 48 ", " 56 ")), "does not fit its length"),
    "another shape": (lambda f: relist(f, edit(" 2 2 3", " 2 2 4")), "does not fit its length"),
    "another count of axes": (lambda f: relist(f, edit(" 2 2 3", " 3 2 3")), "a size lacks"),
    "fewer axes": (lambda f: relist(f, edit(" 2 2 3", " 1 2 3")), "more sizes than axes"),
    "a huge shape": (lambda f: relist(f, edit(" 2 2 3", f" 2 {2**40} {2**40}")), "too large"),
    "another dtype": (lambda f: relist(f, edit("float64", "float32")), "does not fit its length"),
    "an unknown dtype": (lambda f: relist(f, edit("float64", "float80")), "unknown dtype float80"),
}


@pytest.mark.parametrize(
    ("part", "what"), [*(("data", x) for x in OF_DATA), *(("list", x) for x in OF_LIST)]
)
def test_every_reader_refuses(part, what, tmp_path, request):
    make(tmp_path)
    damage, said = (OF_DATA if part == "data" else OF_LIST)[what]
    damage(tmp_path)
    with pytest.raises((BundleError, CheckpointError, FileNotFoundError)):
        Bundle.read(tmp_path / "gold")
    if part == "data":
        done = read_in_python(tmp_path / "gold")
        assert done.returncode == 1 and "read_bundle: " in done.stderr
        assert "Traceback" not in done.stderr
    if GCC is not None:
        done = request.getfixturevalue("read_in_c")(tmp_path / "gold")
        assert done.returncode == 1 and said in done.stderr


def test_every_flipped_bit_is_noticed(tmp_path):
    make(tmp_path)
    rng = np.random.default_rng(0)
    for file in sorted(tmp_path.iterdir()):
        whole = file.read_bytes()
        for place in rng.choice(len(whole), 60, replace=False):
            flip(file, place)
            with pytest.raises((BundleError, CheckpointError)):
                Bundle.read(tmp_path / "gold")
            file.write_bytes(whole)
    Bundle.read(tmp_path / "gold")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no manifest of a bundle"),
        (b"[1]", "no manifest of a bundle"),
        (b"\xff", "no manifest of a bundle"),
        (b'{"format": "minitx golden bundle", "version": 2}', "read by version 1 only"),
        (b'{"format": "minitx golden bundle", "version": 1}', "the manifest is incomplete"),
    ],
)
def test_manifests_that_are_none(content, said, tmp_path):
    make(tmp_path)
    (tmp_path / "gold.json").write_bytes(content)
    with pytest.raises(BundleError, match=said):
        Bundle.read(tmp_path / "gold")
    assert read_in_python(tmp_path / "gold").returncode == 1


def test_verify_lists_everything(tmp_path):
    bundle = make(tmp_path)
    bundle.arrays["parameter/w"][0, 0] = 7
    bundle.arrays["value/more"] = bundle.arrays.pop("value/sum")
    with pytest.raises(BundleError) as caught:
        bundle.verify()
    for said in "parameter/w: sha256 is", "value/sum is missing", "value/more is not in the":
        assert said in str(caught.value)
    needy = NODE | {"options": {"axis": {"tuple": [{"tensor": "constant/gone"}]}}}
    with pytest.raises(BundleError, match="sum needs constant/gone"):
        make(tmp_path, node=needy)


@pytest.mark.parametrize("name", ["w", "odd/w", "value/", "value/a b", "value/a\n"])
def test_names_that_a_list_cannot_hold(name, tmp_path):
    with pytest.raises(BundleError, match="expected kind/name without spaces"):
        make(tmp_path, {name: np.zeros(1)})
    assert not list(tmp_path.iterdir())


def test_an_op_of_another_version(tmp_path):
    bundle = make(tmp_path, node=NODE | {"op": "summa"})
    with pytest.raises(BundleError, match="no op 'summa'"):
        bundle.nodes["sum"].run(bundle.arrays)
    with pytest.raises(BundleError, match="sum needs parameter/w"):
        make(tmp_path).nodes["sum"].run({})


# ---- what stands in a manifest for an argument ---------------------------------------------------


def test_arguments_survive_json():
    arrays = {"a": np.arange(3), "b": np.ones(2)}
    given = [
        None, True, 3, 0.1, "mean", [1, [2]], (0, -1), (slice(None, 2, -1), ..., None),
        float("inf"), float("-inf"), np.float32(0.5), np.int64(3), np.dtype("float32"), np.float64,
        (arrays["a"], slice(1)), [arrays["b"]],
    ]  # fmt: skip
    names = {id(x): name for name, x in arrays.items()}
    text = json.dumps(encode(given, lambda x, place: names[id(x)], "x"), allow_nan=False)
    back = decode(json.loads(text), arrays)
    assert back[:13] == given[:13] and back[13] == np.dtype("float64")
    assert back[14][0] is arrays["a"] and back[14][1] == slice(1) and back[15][0] is arrays["b"]
    assert tensors_in(json.loads(text)) == ["a", "b"]
    assert np.isnan(decode(encode(float("nan"), None, "x"), {}))


def test_generators_go_on_where_they_were():
    rng = np.random.default_rng(3)
    rng.random(5)
    encoded = json.loads(json.dumps(encode(rng, None, "x")))
    back = decode(encoded, {})
    assert encoded["generator"]["first"] == back.integers(0, 2**64, dtype=np.uint64)
    rng.integers(0, 2**64, dtype=np.uint64)
    assert rng.random() == back.random()


def test_arguments_without_a_form_are_refused():
    with pytest.raises(TypeError, match="blocks.0/1 is <object object"):
        encode(object(), None, "blocks.0/1")
    with pytest.raises(ValueError, match="'magic' is no kind of value"):
        decode({"magic": 1}, {})
