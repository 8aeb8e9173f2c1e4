"""Freed memory is kept for the next array, unless the user has told malloc something else."""

from __future__ import annotations

import sys

import isolated
import pytest

from minitx import memory

PROGRAM = """
    import numpy as np
    import minitx
    from minitx.memory import keep_freed_memory

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    before = resident()
    np.ones(100_000_000, np.uint8)
    print(resident() - before > 50_000_000, keep_freed_memory())
"""


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch):
    for name in list(memory.os.environ):
        if name.startswith(("MALLOC_", "GLIBC_TUNABLES")):
            monkeypatch.delenv(name)


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@on_linux
@pytest.mark.parametrize(
    "setting", [{"MALLOC_ARENA_MAX": "2"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}]
)
def test_the_users_choice_stands(setting):
    assert isolated.run(PROGRAM, **setting) == "False False"


@on_linux
def test_freed_memory_is_kept():
    assert isolated.run(PROGRAM) in ("True True", "False False")  # the latter: no glibc


@pytest.mark.parametrize("error", [OSError, AttributeError])
def test_another_c_library_is_left_alone(monkeypatch, error):
    def refuse(name):
        raise error

    monkeypatch.setattr(memory.ctypes, "CDLL", refuse)
    assert memory.keep_freed_memory() is False


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert memory.keep_freed_memory() is False
