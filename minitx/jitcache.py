"""Where the machine code of kernels is kept between runs.

Numba keeps it beside the sources, which fails where these are not writable, and does not see that a
helper in another file has changed.  Here a folder is named by a hash of all sources of kernels;
Numba's own index in it tells versions of Numba and Python, and kinds of processors, apart.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import stat
import tempfile
import warnings
from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # Windows: two processes that compile at once take their chances there
    fcntl = None  # type: ignore[assignment]


def _sources() -> list[pathlib.Path]:
    """All files that machine code is made of."""
    package = pathlib.Path(__file__).parent
    level0 = ("jit", "packing", "simd", "tasks", "threads")
    return [*(package / f"{name}.py" for name in level0), *sorted(package.glob("kernels/*.py"))]


def _source_key() -> str:
    """A hash over them: Numba alone does not see a change in another file."""
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _bases() -> Iterator[pathlib.Path]:
    """Where machine code may be kept unless the user says otherwise, the best place first."""
    with contextlib.suppress(RuntimeError):  # no home
        caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        yield pathlib.Path(caches) / "minitx"
    with contextlib.suppress(FileNotFoundError):  # no temporary folder
        user = f"-{os.getuid()}" if hasattr(os, "getuid") else ""
        yield pathlib.Path(tempfile.gettempdir()) / f"minitx{user}"


def _is_private(folder: pathlib.Path) -> bool:
    """Whether nobody but us, and root, can put code there for us to run or exchange the folder."""
    if not hasattr(os, "getuid"):
        return True
    inner, outer = folder.stat(), folder.parent.stat()
    ours = inner.st_uid == os.getuid() and outer.st_uid in (os.getuid(), 0)
    guarded = not outer.st_mode & 0o022 or outer.st_mode & stat.S_ISVTX
    return bool(ours and guarded and not inner.st_mode & 0o022)


def _usable(folder: pathlib.Path) -> bool:
    """Whether we, and we alone, can write there.  Makes the folder if need be."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            return _is_private(folder)
    except OSError:
        return False


def cache_folder() -> pathlib.Path | None:
    """``$MINITX_CACHE_DIR``, the user's cache or a temporary folder: the first usable one, or None.

    One that others may write to is not usable: we would run their code.  Warns if it is the one
    that the environment names.
    """
    key, named = _source_key(), os.environ.get("MINITX_CACHE_DIR")
    if named:
        if _usable(folder := pathlib.Path(named).resolve() / key):
            return folder
        warnings.warn(
            f"MINITX_CACHE_DIR: {named} is not a folder that you, and only you, can write to",
            RuntimeWarning,
            stacklevel=2,
        )
    folders = (base.resolve() / key for base in _bases())
    return next(filter(_usable, folders), None)


@contextlib.contextmanager
def alone(folder: pathlib.Path | None) -> Iterator[None]:
    """One process at a time compiles into the cache, and the next finds its work there.

    Numba numbers its files: of two that write at once, one could read the other's code as its own.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            if folder is not None and fcntl is not None:
                lock = stack.enter_context(open(folder / "lock", "wb"))
                fcntl.flock(lock, fcntl.LOCK_EX)
                stack.callback(fcntl.flock, lock, fcntl.LOCK_UN)  # a forked child may keep it open
        yield
