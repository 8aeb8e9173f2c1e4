"""Keep freed memory for the next array, instead of handing it back to the system.

A training step makes and frees the same large arrays again and again.  By default the C library
maps each anew, and the system clears every page of it: up to a third of a step, measured.  glibc
can be told to keep it.  Whoever sets a ``MALLOC_...`` variable, or ``GLIBC_TUNABLES``, has chosen
already.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of mallopt's settings, from malloc.h
_KEPT = 2**30  # bytes: arrays up to so large are kept, and so much free memory at the heap's end


def keep_freed_memory() -> bool:
    """Tell glibc's malloc; returns whether it listened.  Counts for the whole process."""
    chosen = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if chosen or not sys.platform.startswith("linux"):
        return False
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        return all([mallopt(name, _KEPT) for name in (_MMAP_THRESHOLD, _TRIM_THRESHOLD)])
    return False
