"""Who takes part on this machine, and under which conditions."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import platform
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass, field
from importlib import metadata

from .tasks import GPT, Product, Task

LIE = "int mkl_serv_intel_cpu_true(void) { return 1; }\n"  # to MKL, which asks who made the CPU
UNHANDICAPPED = "torch unhandicapped: its MKL is told that this CPU is Intel's, and uses AVX-512."
AS_ON_AMD = "torch as on AMD: its MKL is held to AVX2, which is what it uses on AMD's CPUs."


@dataclass(frozen=True)
class Library:
    name: str
    module: str  # the file of this package that does the tasks
    environment: dict[str, str] = field(default_factory=dict)  # on top of our own
    numpy_first: bool = False  # NumPy is imported, and multiplies, before minitx
    kinds: tuple[type[Task], ...] = (Task,)  # what it takes part in
    note: str = ""  # what readers of its columns must know

    def does(self, task: Task) -> bool:
        return isinstance(task, self.kinds)


FLOOR = Library("np.matmul", "floor", kinds=(Product,))
TORCH = Library("torch", "theirs")
COMPILED = Library("torch.compile", "compiled", kinds=(GPT,))


def ours(environment: dict[str, str], numpy_first: bool) -> Library:
    return Library("minitx", "ours", environment, numpy_first)


def peers(folder: pathlib.Path, compiled: bool) -> list[Library]:
    """PyTorch's columns: none where it is not installed.

    MKL, which multiplies for PyTorch, uses AVX-512 on Intel's CPUs and no more than AVX2 on AMD's.
    So that this is not taken for anybody's merit, one column has it the other way round: on AMD's
    CPUs, a preloaded library (made in ``folder``) tells MKL that they are Intel's; on Intel's, MKL
    is held to AVX2.  (The opposite lie makes it use SSE2 there, which AMD's need not bear.)
    """
    if not importlib.util.find_spec("torch"):
        return []
    found = [TORCH]
    vendor = cpu().get("vendor_id")
    if vendor == "AuthenticAMD" and shutil.which("gcc"):
        preload = {"LD_PRELOAD": str(make_lie(folder))}
        found.append(Library("torch unhandicapped", "theirs", preload, note=UNHANDICAPPED))
    if vendor == "GenuineIntel":
        avx2 = {"MKL_ENABLE_INSTRUCTIONS": "AVX2"}
        found.append(Library("torch as on AMD", "theirs", avx2, note=AS_ON_AMD))
    return found + [COMPILED] * (compiled and can_compile())


def make_lie(folder: pathlib.Path) -> pathlib.Path:
    source, library = folder / "lie.c", folder / "lie.so"
    source.write_text(LIE)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


def can_compile() -> bool:
    """Whether torch.compile finds a C++ compiler and Python's headers."""
    header = pathlib.Path(sysconfig.get_paths()["include"], "Python.h")
    return bool(shutil.which("g++") or shutil.which("clang++")) and header.exists()


def cpu() -> dict[str, str]:
    """What Linux says of the first core, by its names; nothing elsewhere."""
    path = pathlib.Path("/proc/cpuinfo")
    text = path.read_text().split("\n\n")[0] if path.exists() else ""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load() -> float:
    """How many programs wanted a core in the last minute, on average."""
    return os.getloadavg()[0]


def machine(threads: int) -> str:
    """One line: the CPU, how busy it was, the number of threads, the versions."""
    parts = [cpu().get("model name") or platform.processor() or platform.machine()]
    parts += [f"{cores()} cores (load {load():.1f} at the start)", f"{threads} threads"]
    parts.append(f"Python {platform.python_version()}")
    for name in ("numpy", "numba", "torch"):
        if importlib.util.find_spec(name):
            parts.append(f"{name} {metadata.version(name)}")
    return ", ".join(parts)
