"""The core type of NumPy's OpenBLAS: set where it is due, and nowhere else."""

from __future__ import annotations

import io
import platform

import isolated
import pytest

from minitx import coretype, threads
from minitx.coretype import SKYLAKEX, VARIABLE, due

BASE = "fpu sse sse2 avx avx2 fma f16c bmi1 bmi2 abm movbe popcnt"
AVX512 = "avx512f avx512dq avx512cd avx512bw avx512vl"


def cpuinfo(vendor, name, *flags):
    """As Linux writes it: a paragraph for each of two processors."""
    text = f"vendor_id\t: {vendor}\nmodel name\t: {name}\nflags\t\t: {' '.join(flags)}\npower:\n\n"
    return f"processor\t: 0\n{text}processor\t: 1\n{text}"


ZEN5 = cpuinfo("AuthenticAMD", "AMD EPYC 9965", BASE, AVX512, "avx512_bf16 avx512_vnni")
ZEN3 = cpuinfo("AuthenticAMD", "AMD EPYC 7763", BASE)
INTEL = cpuinfo("GenuineIntel", "Intel(R) Xeon(R)", BASE, AVX512)


@pytest.fixture
def read(monkeypatch):
    """A function: what ``processor()`` makes of a text, or of an error, as /proc/cpuinfo."""

    def processor(found):
        def opened(path, **_):
            assert path == "/proc/cpuinfo"
            if isinstance(found, OSError):
                raise found
            return io.StringIO(found)

        monkeypatch.setattr(coretype, "open", opened, raising=False)
        return coretype.processor()

    return processor


def test_it_is_due_on_amd_with_avx512(read):
    assert read(ZEN5)["model name"] == "AMD EPYC 9965"
    assert due(read(ZEN5), {}, {}) == "SkylakeX"


@pytest.mark.parametrize(
    "text",
    [ZEN3, INTEL, "", "\n\n", "flags", "vendor_id : AuthenticAMD\n", FileNotFoundError()],
    ids=["Zen 3", "Intel", "empty", "blank", "cut", "no flags", "unreadable"],
)
def test_elsewhere_openblas_chooses(read, text):
    assert due(read(text), {}, {}) is None


@pytest.mark.parametrize("missing", sorted(SKYLAKEX))
def test_not_an_instruction_may_be_missing(read, missing):
    assert due(read(cpuinfo("AuthenticAMD", "AMD", *SKYLAKEX)), {}, {}) == "SkylakeX"
    assert due(read(cpuinfo("AuthenticAMD", "AMD", *SKYLAKEX - {missing})), {}, {}) is None


@pytest.mark.parametrize("setting", ["Haswell", ""])
def test_the_users_setting_stands(read, setting):
    assert due(read(ZEN5), {VARIABLE: setting}, {}) is None


def test_after_numpy_it_is_too_late(read):
    assert due(read(ZEN5), {}, {"numpy"}) is None


CHECK = """
import os
import numpy as np
from minitx import coretype, threads

a, b = np.arange(40 * 50.0).reshape(40, 50), np.arange(50 * 30.0).reshape(50, 30)
right = sum(int(a[3, k] * b[k, 7]) for k in range(50))
for dtype in np.float32, np.float64:
    assert abs((a.astype(dtype) @ b.astype(dtype))[3, 7] / right - 1) < 1e-6
core = (threads.openblas() or {}).get("core")
print(core, coretype.CHOSEN_BY, "in", os.environ.get("OPENBLAS_CORETYPE"), sep=", ")
"""
OPENBLAS = threads.openblas()


@pytest.fixture
def unset(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def test_what_is_chosen_here_runs(unset):
    """And leaves no trace in the environment, whoever chose."""
    who = "minitx" if due(coretype.processor(), {}, {}) else "OpenBLAS"
    assert isolated.run("import minitx" + CHECK).endswith(f", {who}, in, None")
    assert isolated.run("import numpy" + CHECK).endswith(", OpenBLAS, in, None")


@pytest.mark.skipif(not OPENBLAS or platform.machine() != "x86_64", reason="no OpenBLAS for x86-64")
def test_the_users_core_type_is_the_one_that_runs():
    out = isolated.run("import minitx" + CHECK, OPENBLAS_CORETYPE="Nehalem")
    assert out == "Nehalem, the user, in, Nehalem"


AS_AMD = """
import builtins, io

def opened(path, *args, real=open, **options):
    file = real(path, *args, **options)
    if path == "/proc/cpuinfo":
        file = io.StringIO(file.read().replace("GenuineIntel", "AuthenticAMD"))
    return file

builtins.open = opened
import minitx
"""


@pytest.mark.skipif(
    not OPENBLAS or not coretype.runs_skylakex(coretype.processor()),
    reason="this processor has no AVX-512, or NumPy no OpenBLAS",
)
def test_as_if_on_amd(unset):
    """This processor under another name: the type is set while NumPy is loaded."""
    assert isolated.run(AS_AMD + CHECK) == "SkylakeX, minitx, in, None"
