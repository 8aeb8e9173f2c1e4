"""The suite of small cases: it covers every op, right ports pass it, wrong ones are caught."""

from __future__ import annotations

import pathlib
import shutil
import sys
import zlib

import numpy as np
import pytest

from minitx import cli, use_kernels
from minitx.oracle import BundleError, conformance, judge
from minitx.oracle.cases import CASES, arguments
from minitx.oracle.conformance import _run, _text, write
from minitx.oracle.judge import _apart, _read_expected, check
from minitx.tensor import OPS

PORT = pathlib.Path(__file__).with_name("port_numpy.py")
RUN = f"{sys.executable} {PORT} {{case}} {{out}}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite") / "cases"
    assert write(folder) == list(CASES)
    return folder


# ---- the cases -----------------------------------------------------------------------------------


def test_every_op_has_a_case():
    ours = {name for name, op in OPS.items() if op.__module__.startswith("minitx.")}
    assert ours == {name.partition(".")[0] for name in CASES}


def test_cases_are_the_same_every_time_and_small(folder, tmp_path):
    write(tmp_path / "again", "attend.*")
    for file in (tmp_path / "again").glob("*/*"):
        assert file.read_bytes() == (folder / file.relative_to(tmp_path / "again")).read_bytes()
    assert sum(file.stat().st_size for file in folder.rglob("*")) < 2_000_000


def test_every_gradient_of_every_case_is_there_and_none_is_zero_by_chance(folder):
    vanishing = set()
    for name in CASES:
        expected = _read_expected(folder / name)
        args, _ = arguments(name)
        floats = [x for x in args if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
        assert len(expected) == 1 + len(floats), name
        vanishing |= {f"{name} {key}" for key, (x, _, _) in expected.items() if not x.any()}
    assert vanishing == {
        "attend.one_key grad.k",
        "attend.one_key grad.q",
        "cross_entropy.nothing grad.logits",
        "cross_entropy.nothing output",
        "matmul.nothing_inside grad.a",
        "matmul.nothing_inside grad.b",
        "matmul.nothing_inside output",
    }


@pytest.mark.parametrize("name", CASES)
def test_the_compiled_kernels_conform(name, folder):
    """In both precisions, within the tolerances that the plain kernels gave."""
    expected = _read_expected(folder / name)
    for dtype, column in (np.float64, 2), (np.float32, 1):
        with use_kernels("jit"):
            found = _run(name, dtype)
        if dtype == np.float64:
            np.testing.assert_array_equal(found["cotangent"], _cotangent(folder / name))
        for key, entry in expected.items():
            assert _apart(entry[0], found[key]).max(initial=0.0) <= entry[column], (key, dtype)


def _cotangent(case):
    (line,) = [x for x in (case / "case.txt").read_text().splitlines() if " cotangent " in x]
    dtype, shape = line.split()[2], [int(n) for n in line.split()[5:]]
    return np.fromfile(case / "input.cotangent.bin", dtype).reshape(shape)


def test_what_dropout_keeps_is_told(folder):
    case = folder / "dropout.half"
    x, kept = np.fromfile(case / "input.x.bin"), np.fromfile(case / "input.kept.bin", bool)
    np.testing.assert_array_equal(x * kept * 2, _read_expected(case)["output"][0].ravel())
    kept = np.fromfile(folder / "attend.dropout" / "input.kept.bin", bool)
    assert kept.size == 2 * 2 * 4 * 5 and 0 < kept.sum() < kept.size
    case = folder / "self_attend.dropout"
    qkv = np.fromfile(case / "input.qkv.bin").reshape(2, 4, 3, 2, 2).transpose(2, 0, 3, 1, 4)
    e = np.exp(qkv[0] @ qkv[1].swapaxes(-1, -2) / np.sqrt(2))
    kept = np.fromfile(case / "input.kept.bin", bool).reshape(2, 2, 4, 4)
    y = (e / e.sum(-1, keepdims=True) * kept / 0.8 @ qkv[2]).swapaxes(1, 2).reshape(2, 4, 4)
    np.testing.assert_allclose(y, _read_expected(case)["output"][0], rtol=1e-12)


def test_options_are_words(folder):
    def options(name):
        lines = (folder / name / "case.txt").read_text().splitlines()
        words = [line.split() for line in lines]
        assert all(len(x) == 3 for x in words if x[0] == "option")
        return {x[1]: x[2] for x in words if x[0] == "option"}

    assert options("getitem.rest") == {"index": "...;none;1"}
    assert options("getitem.slices") == {"index": "1:4;::-2"}
    assert options("getitem.places") == {"index": "@index.0;@index.1"}
    assert options("getitem.mask") == {"index": "@index.0"}
    assert options("pad.value") == {"width": "0,0;0,1", "value": "-1.5"}
    assert options("reshape.split") == {"shape": "2,3,2,2"}
    assert options("transpose.reversed") == {"axes": "none"}
    assert options("sum.last") == {"axis": "-1", "keepdims": "true"}
    assert options("einsum.product") == {"subscripts": "ij,jk->ik"}
    assert options("power.of_number") == {"a": "1.5"}
    assert options("attend.dropout").keys() > {"key", "dropout"}
    assert "rng" not in options("attend.plain") and _text(True) == "true"


# ---- the judge -----------------------------------------------------------------------------------


def judged(folder, mistake="", only="*", **options):
    found = check(folder, f"{RUN} {mistake}".strip(), only, **options)
    return {x.case: x for x in found}


def test_a_right_port_passes(folder, capsys):
    command = ["conformance", "check", str(folder), "--run", RUN]
    assert cli.main([*command, "--only", "multiply.*"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == "4 cases: 4 ok"
    assert lines[0].startswith("ok       multiply.same ") and "allowed" in lines[0]
    for only in "layer_norm.deep", "softmax.nothing":
        assert cli.main([*command, "--only", only]) == 0


@pytest.mark.parametrize(
    ("mistake", "only", "wrong", "said"),
    [
        ("eps", "layer_norm.[rs]*", {"layer_norm.rows", "layer_norm.small"}, "off by"),
        ("softmax", "softmax.middle", {"softmax.middle"}, "grad.x off by"),
        ("float32", "softmax.last", set(), ""),
    ],
)
def test_a_wrong_port_is_caught(mistake, only, wrong, said, folder, capsys):
    command = ["conformance", "check", str(folder), "--run", f"{RUN} {mistake}", "--only", only]
    assert cli.main(command) == bool(wrong)
    out = capsys.readouterr().out
    assert {line.split()[1] for line in out.splitlines() if line.startswith("wrong")} == wrong
    assert said in out and ("; at (" in out) == bool(wrong)


def test_what_a_port_does_not_have_is_skipped(folder, capsys):
    command = ["conformance", "check", str(folder), "--run", RUN]
    assert cli.main([*command, "--only", "gelu.far"]) == 1
    assert "skipped  gelu.far\n1 cases: 1 skipped" in capsys.readouterr().out


def test_a_port_that_fails(folder):
    (verdict,) = judged(folder, "crash", "add.row").values()
    assert verdict.verdict == "failed"
    assert verdict.text == "exit code 1: FloatingPointError: out of numbers"
    (verdict,) = check(folder, f"{sys.executable} -S -c 'import time; time.sleep(9)' {{case}}",
                       "add.row", timeout=0.05)  # fmt: skip
    assert verdict.text == "took more than 0.05 s"
    (verdict,) = check(folder, f"{sys.executable} -S -c 'raise SystemExit(3)' {{case}}", "add.row")
    assert verdict.text == "exit code 3: nothing said"
    (verdict,) = check(folder, f"{sys.executable} -S -c pass {{case}}", "add.row")
    assert verdict.verdict == "wrong" and verdict.text == "output.bin was not written"


SCRIPT = """
for file in "$1"/expected.*.bin; do
    name=${file##*/expected.}
    cp "$file" "$2/$name"
done
"""


@pytest.mark.skipif(shutil.which("sh") is None, reason="there is no sh")
def test_the_right_numbers_pass_and_leave_nothing_behind(folder, tmp_path):
    """By a program that copies what is expected, to a folder or into the case's."""
    (tmp_path / "copy.sh").write_text(SCRIPT)
    before = sorted(folder.rglob("*"))
    for words, only in ("{case} {out}", "[dg]*"), ("{case} {case}", "sum.*"):
        found = check(folder, f"sh {tmp_path}/copy.sh {words}", only)
        assert {x.verdict for x in found} == {"ok"} and len(found) > 3
    assert sorted(folder.rglob("*")) == before


def test_float64_files_can_be_judged_as_float32(folder, tmp_path):
    (tmp_path / "port.py").write_text(
        "import array, sys\n"
        "for name in 'output', 'grad.x':\n"
        "    x = array.array('d', open(f'{sys.argv[1]}/expected.{name}.bin', 'rb').read())\n"
        "    open(f'{sys.argv[2]}/{name}.bin', 'wb').write(bytes(array.array('d', [v * (1 + 1e-7)"
        " for v in x])))\n"
    )
    command = f"{sys.executable} -S {tmp_path}/port.py {{case}} {{out}}"
    (strict,), (loose,) = (check(folder, command, "exp.matrix", float32=x) for x in (False, True))
    assert (strict.verdict, loose.verdict) == ("wrong", "ok")


def test_differences():
    x = np.array([1.0, np.nan, np.inf, -np.inf, 2.0])
    np.testing.assert_array_equal(_apart(x, x), 0)
    apart = _apart(x, np.array([1.5, 0, np.inf, np.inf, np.nan]))
    np.testing.assert_array_equal(apart, [0.5, np.inf, 0, np.inf, np.inf])


def test_lengths_that_do_not_fit(tmp_path):
    file = tmp_path / "output.bin"
    file.write_bytes(bytes(20))
    expected = {"output": (np.zeros(3), 0.0, 0.0)}
    verdict = judge._compare({"output": file}, expected, False)
    assert verdict == ("wrong", "output.bin has 20 bytes, expected 12 or 24")
    file.write_bytes(bytes(24))
    assert judge._compare({"output": file}, expected, False)[0] == "ok"


# ---- what is refused -----------------------------------------------------------------------------


@pytest.fixture
def few(tmp_path):
    write(tmp_path / "few", "add.*")
    return tmp_path / "few"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "index.txt").unlink(), "index.txt"),
        (lambda f: (f / "index.txt").write_text(""), "index.txt is damaged"),
        (lambda f: (f / "index.txt").write_text("end 00000000\n"), "index.txt is damaged"),
        (lambda f: (f / "add.row/case.txt").write_text("op add\n"), "add.row/case.txt is damaged"),
        (lambda f: (f / "add.row/input.a.bin").write_bytes(b""), "add.row/input.a.bin is damaged"),
        (lambda f: (f / "add.row/expected.output.bin").unlink(), "expected.output.bin"),
    ],
)
def test_damaged_folders(damage, said, few, capsys):
    damage(few)
    command = f"{sys.executable} -S -c pass {{case}}"
    assert cli.main(["conformance", "check", str(few), "--run", command]) == 2
    assert "minitx conformance: " in (err := capsys.readouterr().err) and said in err


@pytest.mark.parametrize(
    ("run", "only", "said"),
    [
        ("port", "*", "command 'port': expected {case} among its words"),
        ("/no/such/port {case}", "*", "No such file"),
        ("port {case}", "adds.*", "no case fits 'adds.*'"),
    ],
)
def test_bad_commands(run, only, said, few, capsys):
    assert cli.main(["conformance", "check", str(few), "--run", run, "--only", only]) == 2
    assert said in capsys.readouterr().err


def test_bad_folders_to_write(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("precious")
    assert cli.main(["conformance", "write", str(tmp_path)]) == 2
    assert "there is something else in it, mine.txt" in capsys.readouterr().err
    with pytest.raises(BundleError, match="no case fits 'summa'; there are negative.matrix"):
        write(tmp_path / "new", "summa")
    assert list(tmp_path.iterdir()) == [tmp_path / "mine.txt"]


def test_the_command_writes_and_writes_again(few, capsys):
    assert cli.main(["conformance", "write", str(few), "--only", "add.[rs]*"]) == 0
    assert capsys.readouterr().out == f"{few}: 2 cases of 1 ops\n"
    head, *lines, end = (few / "index.txt").read_text().splitlines(keepends=True)
    assert head == "minitx-conformance 1 2\n" and end.startswith("end ")
    assert [line.split()[:2] for line in lines] == [["add.same", "add"], ["add.row", "add"]]
    assert int(end.split()[1], 16) == zlib.crc32("".join([head, *lines]).encode())


def test_an_interrupted_write_leaves_no_folder_of_cases(few, monkeypatch):
    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(conformance, "_write_case", fail)
    with pytest.raises(KeyboardInterrupt):
        write(few)
    with pytest.raises(FileNotFoundError):
        check(few, "port {case}")
    monkeypatch.undo()
    assert len(write(few, "add.*")) == 4
