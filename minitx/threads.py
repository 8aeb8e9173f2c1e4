"""One pool of threads: Numba's.

Our products do not need NumPy's OpenBLAS (kernels/linalg.py), but a program may use it between our
kernels.  Its threads spin for some 26 ms after each product, and fight ours for the cores: a step
takes up to twenty times longer, measured.  So OpenBLAS is set to one thread at our first kernel;
``release_blas()`` gives it its threads back.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import glob
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

# Between two kernels GNU OpenMP's threads spin, as if forever; with another program on the cores,
# every kernel then waits for the scheduler (ten times slower, measured).  This bounds the spinning
# to about a millisecond: with much less they fall asleep within a step, and to wake one takes as
# long again.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "50000"


# ---- how many threads ----------------------------------------------------------------------------


class _Thread(threading.local):
    count: int | None = None  # what this thread has told Numba


_thread = _Thread()
_wanted: int | None = None  # what set_threads was told; None: Numba's own default


def set_threads(n: int) -> None:
    """Let minitx compute on ``n`` threads, at most as many as ``NUMBA_NUM_THREADS`` says.

    Counts for the whole process; results do not depend on it.  Raises ValueError for a number
    outside the range.
    """
    global _wanted
    most = numba.config.NUMBA_NUM_THREADS
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or not 1 <= n <= most:
        raise ValueError(f"set_threads: {n!r} threads; expected a whole number from 1 to {most}")
    _wanted = int(n)


def get_threads() -> int:
    """The number of threads that minitx computes on."""
    return _wanted or numba.get_num_threads()


def call(entry: Callable, arguments: tuple) -> Any:
    """``entry(*arguments)`` on as many threads as set_threads said.

    Numba counts per Python thread, so the calling one is told first.
    """
    if _taken is None:
        _quiet_blas()
    if _thread.count != _wanted:
        numba.set_num_threads(_wanted)
        _thread.count = _wanted
    return entry(*arguments)


def launched() -> bool:
    """Whether Numba has started its pool in this process."""
    with contextlib.suppress(ValueError):
        return bool(numba.threading_layer())
    return False


# ---- NumPy's OpenBLAS ----------------------------------------------------------------------------

_SPELLINGS = [("scipy_", "64_"), ("", "64_"), ("scipy_", ""), ("", "")]
_NAMES = ["openblas_get_corename", "openblas_get_num_threads", "openblas_set_num_threads"]


def _libraries() -> list[str]:
    """Paths of the OpenBLAS libraries in this process, NumPy's own first."""
    numpy = os.path.dirname(np.__file__)
    found = glob.glob(os.path.join(os.path.dirname(numpy), "numpy.libs", "*openblas*"))
    found += glob.glob(os.path.join(numpy, ".dylibs", "*openblas*"))
    if not found and sys.platform == "linux":
        with open("/proc/self/maps") as maps:
            paths = {line.split(maxsplit=5)[5].strip() for line in maps if "openblas" in line}
        found = sorted(paths)
    return found


@functools.cache
def openblas() -> dict | None:
    """NumPy's OpenBLAS: its ``path``, ``core`` type, ``get_num_threads`` and ``set_num_threads``.

    None if NumPy has none.
    """
    for path in _libraries():
        with contextlib.suppress(OSError):
            library = ctypes.CDLL(path)
            for before, after in _SPELLINGS:
                found = {name: getattr(library, before + name + after, None) for name in _NAMES}
                if all(found.values()):
                    return _described(path, found)
    return None


def _described(path: str, found: dict) -> dict:
    found["openblas_get_corename"].restype = ctypes.c_char_p
    return {
        "path": path,
        "core": found["openblas_get_corename"]().decode(),
        "get_num_threads": found["openblas_get_num_threads"],
        "set_num_threads": found["openblas_set_num_threads"],
    }


_taken: int | None = None  # threads that OpenBLAS had before we left it one; 0: no OpenBLAS
_taking = threading.Lock()


def _quiet_blas() -> None:
    global _taken
    with _taking:
        if _taken is None:
            blas = openblas()
            before = blas["get_num_threads"]() if blas else 0
            if blas:
                blas["set_num_threads"](1)
            _taken = before


def release_blas() -> None:
    """Give OpenBLAS its threads back, as they were; our next kernel takes them again."""
    global _taken
    with _taking:
        if _taken:
            openblas()["set_num_threads"](_taken)  # type: ignore[index]
        _taken = None
