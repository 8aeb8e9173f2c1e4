"""One pool of threads: Numba's.  NumPy's OpenBLAS is lent to it, one block of a product at a time.

OpenBLAS keeps threads of its own, which spin after each product and fight Numba's for the cores.
So its own threading is switched off at our first product (``openblas_set_num_threads(1)``), and a
product is cut into blocks of rows that Numba's threads compute by calling ``cblas_?gemm`` through
its address.  ``release_blas()`` gives the threads back.  Where NumPy stands on another library
(Accelerate, MKL), there is no address and products go through ``np.matmul``.
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
import numba.experimental.function_type  # noqa: F401  (numba.typeof learns WrapperAddressProtocol)
import numpy as np
from numba import types

# Between two kernels GNU OpenMP's threads spin, as if forever; with another program on the cores,
# every kernel then waits for the scheduler (ten times slower, measured).  This bounds the spinning.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "5000"


# ---- how many threads ----------------------------------------------------------------------------


class _Thread(threading.local):
    count: int | None = None  # what this thread has told Numba


_thread = _Thread()
_WORTH_WAKING = 8192  # elements: waking a thread takes microseconds, on busy cores a time slice
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


def call(entry: Callable, arguments: list, work: int) -> Any:
    """``entry(*arguments)`` on as many threads as set_threads said; on one if the work is small.

    work: the number of elements.  Numba counts per Python thread, so the calling one is told first.
    """
    if _thread.count != _wanted:
        numba.set_num_threads(_wanted)
        _thread.count = _wanted
    if work >= _WORTH_WAKING or (count := numba.get_num_threads()) == 1:
        return entry(*arguments)
    numba.set_num_threads(1)
    try:
        return entry(*arguments)
    finally:
        numba.set_num_threads(count)


def launched() -> bool:
    """Whether Numba has started its pool in this process."""
    with contextlib.suppress(ValueError):
        return bool(numba.threading_layer())
    return False


# ---- NumPy's OpenBLAS ----------------------------------------------------------------------------

_I = types.int64  # an enum or a 32-bit BLAS integer reads the low half of the same register
_SPELLINGS = [("scipy_", "64_"), ("", "64_"), ("scipy_", ""), ("", "")]
_NAMES = [
    "cblas_sgemm",
    "cblas_dgemm",
    "openblas_get_corename",
    "openblas_get_num_threads",
    "openblas_set_num_threads",
]


class _Gemm(types.WrapperAddressProtocol):
    """The address of ``cblas_?gemm``, in the form in which compiled code takes a function.

    (order, transpose a, transpose b, M, N, K, alpha, *a, lda, *b, ldb, beta, *c, ldc)
    """

    def __init__(self, function, real):
        self.address = ctypes.cast(function, ctypes.c_void_p).value
        integers, pointer = [_I] * 6, types.uintp
        self.type = types.void(*integers, real, pointer, _I, pointer, _I, real, pointer, _I)

    def __wrapper_address__(self):
        return self.address

    def signature(self):
        return self.type


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
    """NumPy's OpenBLAS: its ``path``, ``core`` type, both products by dtype, and thread counts.

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
        "float32": _Gemm(found["cblas_sgemm"], types.float32),
        "float64": _Gemm(found["cblas_dgemm"], types.float64),
        "get_num_threads": found["openblas_get_num_threads"],
        "set_num_threads": found["openblas_set_num_threads"],
    }


_lent: int | None = None  # how many threads OpenBLAS had before we switched them off
_lending = threading.Lock()


def gemm(dtype: np.dtype) -> _Gemm | None:
    """``cblas_?gemm`` for float32 or float64 on the calling thread alone; None without OpenBLAS."""
    global _lent
    blas = openblas()
    if blas is None:
        return None
    if _lent is None:
        with _lending:
            if _lent is None:
                before = blas["get_num_threads"]()
                blas["set_num_threads"](1)
                _lent = before
    return blas.get(dtype.name) if dtype.isnative else None


def release_blas() -> None:
    """Give OpenBLAS its own threads back, as they were; our next product takes them again."""
    global _lent
    with _lending:
        if _lent is not None:
            openblas()["set_num_threads"](_lent)  # type: ignore[index]
            _lent = None
