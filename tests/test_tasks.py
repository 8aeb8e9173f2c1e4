"""The one parallel loop: every task runs once, on what it was given, however many there are."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from numba.core.errors import TypingError

from minitx.jit import COMPILED, compiled, jit
from minitx.tasks import WORTH_WAKING, run_tasks

COUNTS = [0, 1, 2, 3, 1000]


@jit
def _note(task, offset, factor, really, out):
    if really:
        out[task] += offset + factor * task


@jit
def _note_all(count, offset, factor, really, out):
    run_tasks(_note, count, (offset, factor, really, out))


_note_all = compiled(_note_all)


@pytest.mark.parametrize("size", [10_000, 1000])
@pytest.mark.parametrize("count", COUNTS)
def test_each_task_runs_once(count, size):
    """On all threads, or on one where the work is small; among numbers, a float and a bool."""
    out = np.zeros(size)
    for really in False, True, True:
        _note_all(count, 3, 0.5, really, out)
    expected = np.zeros(size)
    expected[:count] = 2 * (3 + 0.5 * np.arange(count))
    np.testing.assert_array_equal(out, expected)


@jit
def _add_up(task, rows, scale, out):
    scratch = np.zeros(100)  # may take the place of any array that is no longer alive
    for j in range(rows.shape[1]):
        scratch[j % 100] += rows[task, j] * scale[0]
    out[task] = scratch.sum()


@jit
def _temporaries(count, x):
    """The tuple alone holds on to these arrays."""
    out = np.zeros(count)
    run_tasks(_add_up, count, (x[:count] + 1.0, np.full(1, 2.0), out))
    return out


_temporaries = compiled(_temporaries)


@pytest.mark.parametrize("count", COUNTS[:-1] + [200 if COMPILED else 20])
def test_arrays_in_the_tuple_stay_alive(count):
    x = np.random.default_rng(0).normal(size=(200, 100))
    expected = 2 * (x[:count] + 1).sum(axis=1)
    for _ in range(20):
        np.testing.assert_allclose(_temporaries(count, x), expected, rtol=1e-10)


@jit
def _room(rows, out):
    """A thread's working arrays; they may take the place of any array that is no longer alive."""
    return np.empty(rows.shape[1]), np.empty(3, np.int64)


@jit(borrows=True)
def _add_up_there(task, rows, out, room, counts):
    room[:] = 0.0  # other tasks of the thread were here before
    counts[:] = 0
    for j in range(rows.shape[1]):
        room[j] += rows[task, j]
        counts[j % 3] += 1
    total = 0.0
    for x in room:
        total += x
    out[task] = total if counts[0] + counts[1] + counts[2] == rows.shape[1] else np.nan


@jit
def _with_room(count, rows):
    out = np.zeros(count)
    run_tasks(_add_up_there, count, (rows, out), _room)
    return out


_with_room = compiled(_with_room)


@pytest.mark.parametrize("count", COUNTS[:-1] + [200 if COMPILED else 20])
def test_tasks_work_in_arrays_of_their_thread(count):
    rows = np.random.default_rng(0).normal(size=(200, 100))
    for _ in range(20):
        np.testing.assert_allclose(_with_room(count, rows), rows[:count].sum(axis=1), rtol=1e-10)


@jit
def _inner(task, x, out):
    out[task] = x[task, 0] if x.shape[1] else -1.0


@jit(strided="x")
def _twice(x, y, out, other):
    """Two loops of one body, over arrays of two layouts: x has free strides."""
    run_tasks(_inner, x.shape[0], (x, out))
    run_tasks(_inner, y.shape[0], (y, other))


_twice = compiled(_twice)


def test_one_body_may_take_arrays_of_several_layouts():
    x, y = np.arange(12.0).reshape(3, 4).T, np.arange(10, dtype=np.float32).reshape(5, 2)
    out, other = np.zeros(4), np.zeros(5)
    _twice(x, y, out, other)
    np.testing.assert_array_equal(out, [0, 1, 2, 3])
    np.testing.assert_array_equal(other, [0, 2, 4, 6, 8])


@jit
def _fail(task, out):
    if task == 1:
        raise ValueError("lost")
    out[task] = 1.0


@jit
def _fail_all(out):
    run_tasks(_fail, out.size, (out,))


_fail_all = compiled(_fail_all)


@pytest.mark.parametrize("size", [3, 10_000])
def test_a_task_that_fails_is_told_and_the_others_run(size):
    out = np.zeros(size)
    with pytest.raises(MemoryError if COMPILED else ValueError):
        _fail_all(out)
    if COMPILED:
        np.testing.assert_array_equal(out, np.arange(size) != 1)


@jit
def _linger(task, patience, seen):
    if task == 0:  # until another has done task 1; for the call's sake LLVM looks each time
        while seen[1] < 0 and patience[0] > 0 and numba.get_thread_id() >= 0:
            patience[0] -= 1
    seen[task] = numba.get_thread_id()


@jit
def _linger_all(patience, seen):
    run_tasks(_linger, seen.size, (patience, seen))


_linger_all = compiled(_linger_all)


@pytest.mark.skipif(not COMPILED or numba.config.NUMBA_NUM_THREADS < 2, reason="there is but one")
def test_who_is_done_takes_from_the_share_of_others():
    seen = np.full(2 * numba.config.NUMBA_NUM_THREADS, -1)
    _linger_all(np.full(WORTH_WAKING, 10**10), seen)
    assert seen[1] != seen[0], f"both tasks of one share were done by its thread: {seen}"


@jit
def _allocate(task, size, out):
    scratch = np.empty(size if task == 2 else 1)
    scratch[0] = task
    out[task] = scratch[0]


@jit
def _allocate_all(count, size, out):
    run_tasks(_allocate, count, (size, out))


_allocate_all = compiled(_allocate_all)


@jit
def _large(size, out):
    return (np.empty(size),)


@jit(borrows=True)
def _use(task, size, out, room):
    room[0] = task
    out[task] = room[0]


@jit
def _use_all(count, size, out):
    run_tasks(_use, count, (size, out), _large)


_use_all = compiled(_use_all)


@pytest.mark.parametrize("count", [3, 1000])
@pytest.mark.parametrize("run", [_allocate_all, _use_all], ids=["in the task", "for the task"])
def test_a_task_without_memory_ends_the_kernel_with_an_error(run, count):
    out = np.zeros(10_000)
    run(count, 5, out)
    np.testing.assert_array_equal(out[:count], np.arange(count))
    with pytest.raises(MemoryError):
        run(count, 2**58, out)


@jit(borrows=True)
def _makes(task, out):
    out[task] = np.ones(3).sum()


@jit
def _makes_all(out):
    run_tasks(_makes, out.size, (out,))


_makes_all = compiled(_makes_all)


@pytest.mark.skipif(not COMPILED, reason="plain Python counts references anyway")
def test_a_task_that_borrows_may_make_no_array():
    with pytest.raises(TypingError):
        _makes_all(np.zeros(3))
