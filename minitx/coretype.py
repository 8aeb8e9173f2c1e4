"""Which kernels NumPy's OpenBLAS takes, chosen for it where it may misread the processor.

OpenBLAS goes by the model number first: AMD processors with AVX-512 that it does not know, or that
a virtual machine shows as older ones, get "Haswell" kernels and multiply at half their speed.
``OPENBLAS_CORETYPE`` overrules it, but is read only when NumPy is loaded.  So this module comes
first of all, and loads NumPy itself, with that variable set where it is due.

It is due on 64-bit Linux, on an AMD processor that has every instruction of the chosen kernels, and
never over the user's own setting.  Where OpenBLAS knows better nothing is lost: it takes such
processors for "Cooperlake", the same kernels for float32 and float64.  Afterwards the environment
is as it was, so that a child on another machine inherits nothing.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Container

VARIABLE = "OPENBLAS_CORETYPE"

# What its compiler may use for SkylakeX, as Linux spells it: one missing would end the process.
SKYLAKEX = frozenset(
    "avx512f avx512cd avx512bw avx512dq avx512vl "
    "avx avx2 fma f16c bmi1 bmi2 abm movbe popcnt".split()
)


def processor() -> dict[str, str]:
    """What Linux says of the first processor: "model name", "flags", ...; elsewhere nothing.

    Its flags are the instructions that both the processor and the system support.
    """
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            pairs = [line.partition(":") for line in itertools.takewhile(str.strip, file)]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in pairs}


def runs_skylakex(cpu: dict[str, str]) -> bool:
    """Whether it has every instruction of OpenBLAS's kernels for AVX-512."""
    return SKYLAKEX <= set(cpu.get("flags", "").split())


def due(cpu: dict[str, str], environment: Container[str], loaded: Container[str]) -> str | None:
    """The core type to set; None where NumPy is loaded already, or another's choice stands."""
    if VARIABLE in environment or "numpy" in loaded:
        return None
    return "SkylakeX" if cpu.get("vendor_id") == "AuthenticAMD" and runs_skylakex(cpu) else None


def _load_numpy() -> str:
    """Import NumPy with the core type that is due; returns who chose it."""
    on_linux = sys.platform == "linux" and sys.maxsize > 2**32
    core = due(processor(), os.environ, sys.modules) if on_linux else None
    if core is None:
        return "the user" if VARIABLE in os.environ else "OpenBLAS"
    os.environ[VARIABLE] = core
    try:
        import numpy  # noqa: F401
    finally:
        del os.environ[VARIABLE]
    return "minitx"


CHOSEN_BY = _load_numpy()  # "minitx", "the user" or "OpenBLAS"
