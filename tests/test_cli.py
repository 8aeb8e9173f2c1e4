"""The command line: kernels compiled ahead, and what the doctor says."""

from __future__ import annotations

import sys

import isolated
import numpy as np
import pytest

import minitx
from minitx import cli, coretype, doctor, jitcache, selftest
from minitx.selftest import Finding

# ---- commands ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["warmup", "--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_unknown_commands_are_refused(capsys, arguments, said):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2 and said in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"minitx {minitx.__version__}\n"


def test_python_runs_it_too():
    program = "import runpy, sys\nsys.argv[1:] = ['--version']\nrunpy.run_module('minitx')"
    assert isolated.run(program) == f"minitx {minitx.__version__}"


# ---- warmup --------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("dtypes", [["float32"], ["float32", "float64"]])
def test_warmup_leaves_no_kernel_out(dtypes):
    out = isolated.run(
        f"""
        import gc
        from minitx.cli import main
        from minitx.jit import Compiled

        assert main(["warmup"] + ["--float64"] * ("float64" in {dtypes})) == 0
        for each in gc.get_objects():
            if isinstance(each, Compiled):
                kinds = [kind for types in each.dispatcher.overloads for kind in types]
                missing = set({dtypes}) - {{str(getattr(kind, "dtype", "")) for kind in kinds}}
                if missing:
                    print("not compiled:", each.dispatcher.py_func.__name__, missing)
        """
    )
    assert "they are kept in" in out and "not compiled" not in out, out


def test_warmup_tells_what_it_compiles(tmp_path):
    program = """
        import sys
        import numpy as np
        from minitx import cli, kernels, warmup

        warmup.exercise = lambda dtype: kernels.softmax(np.ones((2, 2), dtype))
        sys.stderr = sys.stdout
        cli.main(["warmup"])
        """
    first, last = isolated.run(program, MINITX_CACHE_DIR=tmp_path).splitlines()[-2:]
    assert first.startswith("softmax float32  ") and first.endswith(" s")
    assert last.startswith("1 kernels compiled in ") and f"kept in {tmp_path}" in last
    again = isolated.run(program, MINITX_CACHE_DIR=tmp_path)
    assert again.startswith(f"all 1 kernels were compiled already; they are kept in {tmp_path}")


def test_warmup_needs_a_folder_and_numba(monkeypatch, capsys):
    monkeypatch.setattr(cli, "COMPILED", True)
    monkeypatch.setattr(cli, "cache_folder", lambda: None)
    assert cli.main(["warmup"]) == 1
    assert "no folder to keep kernels in; set MINITX_CACHE_DIR" in capsys.readouterr().err
    monkeypatch.setattr(cli, "COMPILED", False)
    assert cli.main(["warmup"]) == 1
    assert "NUMBA_DISABLE_JIT is set" in capsys.readouterr().err


# ---- doctor --------------------------------------------------------------------------------------

FACTS = ["versions", "processor", "cores", "BLAS", "threads", "cache", "environment"]


def test_the_doctor_describes_and_judges():
    out = isolated.run("from minitx.cli import main; print(main(['doctor']))")
    facts, _, found = out.partition("\n\n")
    names = [line.split()[0] for line in facts.splitlines() if not line.startswith("core type")]
    assert names == FACTS
    *lines, code = found.splitlines()
    assert code == "0"
    assert {line.split()[0] for line in lines} <= {"ok", "slow", "->"}
    for check in "matmul: ", "memory: ", "import: ", "pools: ":
        assert any(check in line for line in lines)


def test_the_doctor_sees_wrong_results():
    """And wrong results alone make the exit code 1."""
    out = isolated.run(
        """
        import numpy as np
        from minitx import doctor, selftest
        from minitx.cli import main
        from minitx.jit import KERNELS

        softmax, x = KERNELS["softmax"], np.ones((2, 3), np.float32)
        softmax(x)  # compiled, whatever else is not
        right = softmax.twin
        softmax.twin = lambda x: 1.1 * right(x)
        selftest.exercise = lambda dtype: [softmax(x)]
        doctor.findings = lambda: [selftest.results()]
        print(main(["doctor"]))
        """
    )
    assert "\nwrong results: products or kernels are off by " in out and out.endswith("\n1")


def test_findings(monkeypatch, capsys):
    found = [
        Finding("ok", "one"),
        Finding("ok", "two", "but"),
        selftest.judged(True, "three", "never said"),
        selftest.judged(False, "four", "do this"),
    ]
    monkeypatch.setattr(doctor, "facts", lambda: [("name", "text")])
    monkeypatch.setattr(doctor, "findings", lambda: found)
    assert doctor.main() == 0
    said = capsys.readouterr().out
    assert said.splitlines() == [
        "name         text",
        "",
        "ok    one",
        "ok    two",
        "      -> but",
        "ok    three",
        "slow  four",
        "      -> do this",
    ]
    monkeypatch.setattr(doctor, "findings", lambda: [Finding("wrong", "five"), *found])
    assert doctor.main() == 1


def test_difference():
    x = np.array([1.0, -4.0])
    assert selftest.difference([x], [x]) == 0
    assert selftest.difference([x, x + [0, 1]], [x, x]) == 0.25
    assert selftest.difference([x * np.nan, x], [x, x]) == np.inf


def test_kernels_that_are_not_compiled(monkeypatch):
    monkeypatch.setattr(selftest, "watched", lambda tell: tell("softmax", 0.6, True))
    found = selftest.results()
    assert found.verdict == "slow" and found.remedy == "minitx warmup"


@pytest.mark.parametrize(
    ("core", "chosen_by", "verdict", "remedy"),
    [
        ("SkylakeX", "OpenBLAS", "ok", ""),
        ("Cooperlake", "the user", "ok", ""),
        ("Haswell", "OpenBLAS", "slow", "export OPENBLAS_CORETYPE=SkylakeX"),
        ("Zen", "the user", "slow", "unset OPENBLAS_CORETYPE"),
        ("SkylakeX", "minitx", "ok", "where NumPy is imported before minitx: export OPENBLAS"),
    ],
)
def test_core_type(monkeypatch, core, chosen_by, verdict, remedy):
    cpu = {"flags": " ".join(coretype.SKYLAKEX)}
    monkeypatch.setattr(coretype, "processor", lambda: cpu)
    monkeypatch.setattr(coretype, "CHOSEN_BY", chosen_by)
    monkeypatch.setattr(selftest, "openblas", lambda: {"core": core})
    found = selftest.core_type()
    assert found.verdict == verdict and found.remedy.startswith(remedy)
    cpu["flags"] = "avx2"
    assert selftest.core_type() is None


@pytest.mark.parametrize(("alone", "verdict"), [(1.0, "slow"), (1.9, "ok")])
def test_speed_up(monkeypatch, alone, verdict):
    count = [2]
    monkeypatch.setattr(selftest, "get_threads", lambda: count[0])
    monkeypatch.setattr(selftest, "set_threads", lambda n: count.__setitem__(0, n))
    monkeypatch.setattr(selftest, "best", lambda f: alone if count[0] == 1 else 1.0)
    found = selftest.speed_up()
    assert found.verdict == verdict and f"2 are {alone} times as fast as one" in found.text
    assert count == [2]
    count[0] = 1
    monkeypatch.setattr(selftest, "usable", lambda: 4)
    assert selftest.speed_up().remedy == "unset NUMBA_NUM_THREADS"
    monkeypatch.setattr(selftest, "usable", lambda: 1)
    assert selftest.speed_up() is None


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_quota(tmp_path, files, quota):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert selftest._quota(str(tmp_path)) == quota


def test_a_new_process_that_cannot_import(monkeypatch, capfd):
    monkeypatch.setattr(sys, "path", [])
    found = selftest.start()
    assert found.verdict == "wrong" and "ModuleNotFoundError" in capfd.readouterr().err


def test_the_cache_as_described(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "COMPILED", True)
    monkeypatch.setenv("MINITX_CACHE_DIR", str(tmp_path))
    folder = jitcache.cache_folder()
    (folder / "code").write_bytes(bytes(2_000_000))
    assert doctor._cache() == f"{folder}: 1 files, 2.0 MB"
    monkeypatch.setenv("MINITX_CACHE_DIR", str(folder / "code"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert f"; instead of {folder / 'code'}, to which" in doctor._cache()
    monkeypatch.setattr(doctor, "cache_folder", lambda: None)
    assert doctor._cache().startswith("none, every process compiles anew")
    monkeypatch.setattr(doctor, "COMPILED", False)
    assert doctor._cache() == "none: NUMBA_DISABLE_JIT is set"
