"""The only door to Numba: compiler flags, cheap calls, and the two forms of every kernel.

A kernel exists twice, side by side and with one signature: ``<name>_ref``, plain NumPy that a
reader can step through, and ``<name>_jit``, compiled.  ``kernel(ref, jit)`` makes the pair one
callable and registers it for the tests.  Which of the two runs is decided by
``use_kernels("ref" | "jit")``, or by ``MINITX_KERNELS`` in the environment.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np
from numba import types
from numba._dispatcher import compute_fingerprint
from numba.core import config as numba_config
from numba.extending import overload

from .jitcache import alone, cache_folder
from .threads import call, launched

__all__ = [
    "KERNELS",
    "Kernel",
    "by_dtype",
    "cache_folder",
    "chosen",
    "compiled",
    "jit",
    "kernel",
    "use_kernels",
]

# Loops may be reordered and fused; NaN and infinity keep their meaning: never ``fastmath=True``.
FLAGS = {"contract", "reassoc", "arcp", "nsz", "afn"}
# Transcendentals and compensated sums live off the order of their operations.
EXACT_FLAGS = {"contract"}

COMPILED = not numba_config.DISABLE_JIT
_CACHE = cache_folder() if COMPILED else None


# ---- compiling -----------------------------------------------------------------------------------


def jit(
    function: Callable | None = None,
    *,
    exact: bool = False,
    borrows: bool = False,
    strided: str = "",
) -> Any:
    """Compile on the first call; ``strided`` names the array arguments whose strides are free.

    A helper is inlined into each kernel that calls it, so that a kernel has the same machine code
    in the process that compiled it and in those that load it.  borrows: of a task that makes no
    array (Numba refuses to compile one that does).  Its caller holds all arrays, so that it need
    not count references, an atomic instruction each.
    """
    if function is None:
        return lambda f: jit(f, exact=exact, borrows=borrows, strided=strided)
    # Flags are a function's own: where they differ from the caller's, LLVM inlines, later.
    dispatcher = numba.njit(
        inline="never" if exact else "always",
        forceinline=exact,
        fastmath=EXACT_FLAGS if exact else FLAGS,
        error_model="numpy",
        no_cfunc_wrapper=True,
        _nrt=not borrows,
    )(function)
    if COMPILED:
        dispatcher.strided = frozenset(strided.split())
    return dispatcher


def by_dtype(single: Callable, double: Callable) -> Callable:
    """One name for a scalar function in two forms, float32 and float64, chosen when compiling."""

    def function(x):
        return single(x) if isinstance(x, np.float32) else double(x)

    @overload(function, jit_options={"forceinline": True})
    def choose(x):
        return (lambda x: single(x)) if x == types.float32 else (lambda x: double(x))

    return function


_SCALARS = {
    bool: types.boolean,
    int: types.int64,
    float: types.float64,
    np.uint64: types.uint64,
}
_PATIENCE = 0.8  # seconds of compiling after which we say why nothing seems to happen
_told = threading.Event()
_launching = threading.RLock()  # Numba's own pool ends the process if two threads launch at once


def _tell() -> None:
    if not _told.is_set():
        _told.set()
        print("minitx: compiling kernels (once) ...", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Numba's many small objects live for one compilation: looking for cycles costs a tenth."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Compiled:
    """A compiled function, called with one layout per argument.

    Numba compiles anew for each layout and for read-only arrays.  Here each argument has one layout
    by declaration (contiguous, or free strides), so that an odd input costs at most a copy, and the
    machine code is entered directly.
    """

    def __init__(self, dispatcher: Any):
        self.dispatcher = dispatcher
        self.names = list(inspect.signature(dispatcher.py_func).parameters)
        self.free = [name in dispatcher.strided for name in self.names]
        self.codes: dict[tuple, Callable] = {}
        self.entries: dict[bytes, tuple[Callable, list[int], list[np.dtype], list[int]]] = {}
        if _CACHE is not None:
            saved, numba_config.CACHE_DIR = numba_config.CACHE_DIR, str(_CACHE)
            try:
                dispatcher.enable_caching()
            finally:
                numba_config.CACHE_DIR = saved

    def __call__(self, *args: Any) -> Any:
        kinds = compute_fingerprint(args)  # dtypes and layouts, but not the byte order
        with _launching:
            found = self.entries.get(kinds)
            if found is None:
                found = self.entries[kinds] = self._entry(args)
            entry, arrays, dtypes, unfit = found
            if unfit or [args[i].dtype for i in arrays] != dtypes:
                args = _fitting(args, arrays, unfit)
            return call(entry, args)

    def _entry(self, args: tuple) -> tuple[Callable, list[int], list[np.dtype], list[int]]:
        """Machine code, where its arrays stand, their dtypes, and which of these do not fit."""
        arrays = [i for i, x in enumerate(args) if isinstance(x, np.ndarray)]
        dtypes = [_native(args[i].dtype) for i in arrays]
        unfit = [i for i in arrays if not (self.free[i] or args[i].flags.c_contiguous)]
        layouts = ["A" if free else "C" for free in self.free]
        signature = [
            types.Array(numba.from_dtype(_native(x.dtype)), x.ndim, layout)
            if isinstance(x, np.ndarray)
            else _SCALARS.get(type(x)) or numba.typeof(x)
            for x, layout in zip(args, layouts, strict=True)
        ]
        kinds = tuple(signature)
        code = self.codes[kinds] = self.codes.get(kinds) or self._compile(kinds)
        return code, arrays, dtypes, unfit

    def _compile(self, signature: tuple) -> Callable:
        timer = threading.Timer(_PATIENCE, _tell)
        timer.daemon = True
        timer.start()
        try:
            with alone(_CACHE), _uncollected():
                return self.dispatcher.compile(signature)
        finally:
            timer.cancel()


def _native(dtype: np.dtype) -> np.dtype:
    return dtype if dtype.isnative else dtype.newbyteorder("=")


def _fitting(args: tuple, arrays: list[int], unfit: list[int]) -> tuple:
    """The arguments, with copies of arrays that lie in memory as machine code does not know it."""
    fitting = list(args)
    for i in arrays:
        if i in unfit or not args[i].dtype.isnative:
            fitting[i] = np.ascontiguousarray(args[i], _native(args[i].dtype))
    return tuple(fitting)


# ---- which of the two runs -----------------------------------------------------------------------


class _Choice(threading.local):
    name: str | None = None


_choice = _Choice()
_default = os.environ.get("MINITX_KERNELS", "jit")
_forked = False
if _default not in ("ref", "jit"):
    raise ValueError(f"MINITX_KERNELS is {_default!r}; it must be 'ref' or 'jit'")


def _after_fork() -> None:
    """A forked child has none of its parent's threads, and GNU OpenMP ends it for trying.

    If one of these was compiling or computing, its locks stay locked in the child.
    """
    global _forked
    if idle := _launching.acquire(blocking=False):
        _launching.release()
    _forked = _forked or launched() or not idle


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def chosen() -> str:
    """The form that kernels called by this thread take now: "ref" or "jit".

    Always "ref" with Numba switched off, and in the forked child of a process that had used "jit".
    """
    if not COMPILED or _forked:
        return "ref"
    return _choice.name or _default


@contextlib.contextmanager
def use_kernels(name: str) -> Iterator[None]:
    """Within the block, and in this thread only, run every kernel's "ref" or "jit" form.

    Raises ValueError for any other name.
    """
    if name not in ("ref", "jit"):
        raise ValueError(f"use_kernels: {name!r} is no form of a kernel; use 'ref' or 'jit'")
    saved, _choice.name = _choice.name, name
    try:
        yield
    finally:
        _choice.name = saved


KERNELS: dict[str, Kernel] = {}


class Kernel:
    """A reference and its compiled twin behind one name; ``.ref`` and ``.jit`` call either."""

    def __init__(self, ref: Callable, twin: Callable, rows: str):
        self.name = ref.__name__.removesuffix("_ref")
        self.ref = ref
        self.twin = compiled(twin) if hasattr(twin, "py_func") or not COMPILED else twin
        parameters = list(inspect.signature(ref).parameters)
        self.rows = [parameters.index(name) for name in rows.split()]
        self.jit = self._by_rows if rows else self.twin
        self.__doc__ = ref.__doc__

    def __call__(self, *args: Any) -> Any:
        return self.ref(*args) if chosen() == "ref" else self.jit(*args)

    def _by_rows(self, *args: Any) -> Any:
        """The compiled twin, which arguments declared as ``rows`` reach as (N, C)."""
        if args[self.rows[0]].ndim == 2:
            return self.twin(*args)
        shape = args[self.rows[0]].shape
        if not shape:
            return self.ref(*args)  # a single number has no rows
        lead, count, folded = shape[:-1], math.prod(shape[:-1]), list(args)
        for i in self.rows:
            folded[i] = args[i].reshape(count, args[i].shape[-1])
        out = self.twin(*folded)
        if type(out) is tuple:
            return tuple([_unfold(o, lead) for o in out])
        return _unfold(out, lead)

    def __repr__(self) -> str:
        return f"<kernel {self.name}>"


def _unfold(out: np.ndarray, lead: tuple[int, ...]) -> np.ndarray:
    """(N, ...) rows back to their leading axes; of another rank, a (C,) sum over rows, it stays."""
    return out.reshape(lead + out.shape[1:]) if out.ndim == 2 else out


def compiled(dispatcher: Any) -> Callable:
    """Enter ``dispatcher`` as kernels do, for one that a plain Python twin calls.

    With Numba switched off it is plain Python, kept as quiet about overflow as machine code is.
    """
    return Compiled(dispatcher) if COMPILED else np.errstate(all="ignore")(dispatcher)


def kernel(ref: Callable, twin: Callable, rows: str = "") -> Kernel:
    """Join a reference function ``<name>_ref`` and its twin ``<name>_jit``, and register the pair.

    ``rows`` names the arguments of shape (..., C) whose leading axes are folded into one before the
    twin runs; its two-dimensional results are unfolded again.
    """
    pair = Kernel(ref, twin, rows)
    if pair.name in KERNELS:
        raise ValueError(f"kernel: there is already a kernel named {pair.name!r}")
    KERNELS[pair.name] = pair
    return pair
