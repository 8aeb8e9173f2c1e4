"""``minitx doctor``: the machine as minitx sees it, and what is slow on it.

One line per fact, then one per check: "ok", "slow" with a remedy, or "wrong".
"""

from __future__ import annotations

import os
import pathlib
import platform
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import version

import numpy as np

from . import coretype, kernels, threads
from .jit import COMPILED, cache_folder
from .jitcache import _bases
from .selftest import cores, findings

PREFIXES = "MINITX_", "NUMBA_", "OPENBLAS_", "OMP_", "GOMP_", "KMP_", "MKL_", "XDG_CACHE_HOME"


def _cache() -> str:
    """The folder of compiled kernels: why this one, and what is in it."""
    if not COMPILED:
        return "none: NUMBA_DISABLE_JIT is set"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is said below
        folder = cache_folder()
    if folder is None:
        return "none, every process compiles anew: set MINITX_CACHE_DIR to a folder of your own"
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    text = f"{folder}: {len(sizes)} files, {sum(sizes) / 1e6:.1f} MB"
    wanted = pathlib.Path(os.environ.get("MINITX_CACHE_DIR") or next(_bases())).resolve()
    if folder.parent == wanted:
        return text
    return f"{text}; instead of {wanted}, to which you, and only you, must be able to write"


def _pool() -> str:
    if not COMPILED:
        return "none: NUMBA_DISABLE_JIT is set"
    kernels.column_sums(np.ones((200, 200), np.float32))  # Numba chooses its layer at a launch
    return f"{threads.get_threads()} on Numba's {threads.numba.threading_layer()} layer"


def facts() -> Iterator[tuple[str, str]]:
    """(name, text) of everything that speed depends on here."""
    processor = coretype.processor().get("model name") or platform.processor()
    blas = threads.openblas()
    name = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    settings = [f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith(PREFIXES)]
    yield (
        "versions",
        f"minitx {sys.modules['minitx'].__version__}, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, Numba {version('numba')}, {platform.platform()}",
    )
    yield "processor", processor or platform.machine()
    yield "cores", cores()
    yield "BLAS", blas["path"] if blas else name
    if blas:
        yield "core type", f"{blas['core']}, chosen by {coretype.CHOSEN_BY}"
    yield "threads", _pool()
    yield "cache", _cache()
    yield "environment", ", ".join(settings) or "nothing set"


def main() -> int:
    """Print facts and findings; returns 0, or 1 if results are wrong."""
    for name, text in facts():
        print(f"{name:<12} {text}", flush=True)
    print()
    before, code = threads.get_threads(), 0
    try:
        for found in findings():
            remedy = f"\n{'':<5} -> {found.remedy}" if found.remedy else ""
            print(f"{found.verdict:<5} {found.text}{remedy}", flush=True)
            code = max(code, int(found.verdict == "wrong"))
    finally:
        threads.set_threads(before)
        threads.release_blas()
    return code
