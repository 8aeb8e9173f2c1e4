"""A file appears whole or not at all, whatever interrupts its writing."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading

import pytest

from minitx.checkpoint import atomic, atomic_write


def write(path, data):
    with atomic_write(path) as file:
        file.write(data)


def test_writes_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "model.npz"
    write(path, b"one")
    write(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["model.npz"]


def test_nothing_is_visible_before_the_end(tmp_path):
    path = tmp_path / "model.npz"
    write(path, b"old")
    with atomic_write(path) as file:
        file.write(b"new" * 100_000)
        file.flush()
        assert path.read_bytes() == b"old"
        assert [p.name for p in tmp_path.glob("*.npz")] == ["model.npz"]
        assert all(name.endswith(("model.npz", ".tmp")) for name in os.listdir(tmp_path))
    assert path.read_bytes() == b"new" * 100_000


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("existed", [True, False])
def test_an_exception_keeps_the_old_file(tmp_path, error, existed):
    path = tmp_path / "model.npz"
    if existed:
        path.write_bytes(b"old")
    with pytest.raises(error), atomic_write(path) as file:
        file.write(b"half of the n")
        raise error
    assert os.listdir(tmp_path) == ["model.npz"] * existed
    assert not existed or path.read_bytes() == b"old"


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "model.npz"
    path.write_bytes(b"old")

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, call, fail)
    with pytest.raises(OSError, match="No space"):
        write(path, b"new")
    assert os.listdir(tmp_path) == ["model.npz"]
    assert path.read_bytes() == b"old"


def test_bytes_reach_the_disk_before_the_name_does(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(
            atomic.os, name, lambda *args, n=name, f=real: (calls.append(n), f(*args))[1]
        )
    write(tmp_path / "x", b"data")
    assert calls[:2] == ["fsync", "replace"]


KILLED = """
import os, sys
from minitx.checkpoint import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    os._exit(9)
"""


def test_a_killed_writer_leaves_a_draft_that_the_next_write_removes(tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(b"old")
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=root)
    assert done.returncode == 9
    assert path.read_bytes() == b"old"
    (draft,) = set(os.listdir(tmp_path)) - {"model.npz"}
    assert draft.startswith(".model.npz.") and draft.endswith(".tmp")
    write(tmp_path / "other.npz", b"")
    assert draft in os.listdir(tmp_path)  # another path's draft is none of its business
    write(path, b"new")
    assert sorted(os.listdir(tmp_path)) == ["model.npz", "other.npz"]


def test_drafts_in_use_and_look_alikes_stay(tmp_path):
    path = tmp_path / "a.npz"
    keep = {
        f".a.npz.{os.getppid()}-01234567.tmp",  # a living process
        ".a.npz.99999999-0123.tmp",  # not our pattern
        ".a.npz.tmp",
        ".aXnpz.99999999-01234567.tmp",  # the dot is no wildcard
    }
    gone = {
        f".a.npz.{os.getpid()}-01234567.tmp",  # our number, but from an earlier life
        ".a.npz.99999999-01234567.tmp",
        f".a.npz.{10**30}-01234567.tmp",
    }
    for name in keep | gone:
        (tmp_path / name).write_bytes(b"")
    write(path, b"")
    assert set(os.listdir(tmp_path)) == keep | {"a.npz"}


def test_two_threads_write_the_same_path(tmp_path):
    path = tmp_path / "a"
    with atomic_write(path) as file:
        other = threading.Thread(target=write, args=(path, b"other"))
        other.start()
        other.join()
        assert path.read_bytes() == b"other"
        file.write(b"mine")
    assert path.read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["a"]


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write(tmp_path / "atomic", b"")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "atomic")]
    assert modes[0] == modes[1]


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "run").mkdir()
    link = tmp_path / "latest"
    link.symlink_to(tmp_path / "run" / "step-3")
    write(link, b"data")
    assert link.is_symlink()
    assert (tmp_path / "run" / "step-3").read_bytes() == b"data"


def test_impossible_targets_are_named_before_any_work(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; create it"):
        write(tmp_path / "nowhere" / "x", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="folder: expected the path of a file"):
        write(tmp_path / "folder", b"")
    assert os.listdir(tmp_path) == ["folder"]
