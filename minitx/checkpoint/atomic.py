"""Files that appear whole or not at all.

A training run can be killed at any instant, also while it writes its checkpoint.  So the bytes go
to a draft beside the target, are forced to the disk, and only then take the target's name: renaming
within a folder is one indivisible step, and whoever opens the path sees the old file or the new.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_own_drafts: set[str] = set()  # what threads of this process are writing at the moment


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open `path` for writing bytes; the file changes only if the `with` block ends without error.

    Until then everything is in a draft, `.<name>.<pid>-<random>.tmp` in the same folder, which an
    exception removes.  Drafts of `path` that a killed process left behind are removed by the next
    successful write.  A symbolic link is written through, as `open` does.

    Raises FileNotFoundError if the folder does not exist, IsADirectoryError if `path` is one.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {target.parent} does not exist; create it")
    if target.is_dir():
        raise IsADirectoryError(f"{path}: expected the path of a file, got a folder")
    name = f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    draft = target.with_name(name)
    _own_drafts.add(name)
    try:
        with open(draft, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    finally:
        _own_drafts.discard(name)
    _sync_folder(target.parent)
    _remove_abandoned_drafts(target)


def _sync_folder(folder: Path) -> None:
    """Force the renaming itself to the disk, where the platform can (Windows cannot)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove_abandoned_drafts(target: Path) -> None:
    pattern = re.compile(rf"\.{re.escape(target.name)}\.([0-9]+)-[0-9a-f]{{8}}\.tmp")
    with suppress(OSError):  # tidying up must not make a finished write fail
        for name in os.listdir(target.parent):
            match = pattern.fullmatch(name)
            if match and not _in_use(name, int(match[1])):
                target.with_name(name).unlink(missing_ok=True)


def _in_use(draft: str, pid: int) -> bool:
    if pid == os.getpid():  # a container gives the same number to each run
        return draft in _own_drafts
    if os.name == "nt":
        return False  # there an open file refuses to be deleted, which is the better test
    try:
        os.kill(pid, 0)  # sends nothing, only asks
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # alive, and another user's
    return True
