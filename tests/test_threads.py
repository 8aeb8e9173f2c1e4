"""One pool: OpenBLAS is found, lent and given back; set_threads governs every thread."""

from __future__ import annotations

import isolated
import numba
import numpy as np
import pytest

from minitx import kernels as K
from minitx import threads
from minitx.jit import COMPILED

BLAS = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
LARGE = np.random.default_rng(0).normal(size=(2, 150, 150))


@pytest.fixture(autouse=True)
def _as_before():
    before = threads.get_threads()
    yield
    threads.set_threads(before)
    threads.release_blas()


@pytest.fixture
def blas():
    """NumPy's OpenBLAS, or, where NumPy stands on another library, one that we make up."""
    found = threads.openblas()
    assert found or "openblas" not in BLAS
    if found:
        yield found
    else:
        with pytest.MonkeyPatch.context() as patch:
            count = [7]
            made_up = {
                "get_num_threads": lambda: count[0],
                "set_num_threads": lambda n: count.__setitem__(0, n),
            }
            patch.setattr(threads, "openblas", lambda: made_up)
            yield made_up


def test_openblas_is_found_where_numpy_has_it():
    found = threads.openblas()
    if "openblas" in BLAS:
        assert "openblas" in found["path"] and found["core"]
        assert found["get_num_threads"]() >= 1


def entry(*numbers):
    """Stands in for a compiled kernel."""
    return sum(numbers)


def test_a_kernel_takes_the_threads_of_blas_and_release_gives_them_back(blas):
    threads.release_blas()
    before = blas["get_num_threads"]()
    blas["set_num_threads"](2)
    assert threads._taken is None
    for _ in range(2):
        assert threads.call(entry, [1, 2]) == 3
        assert blas["get_num_threads"]() == 1 and threads._taken == 2
    threads.release_blas()
    assert blas["get_num_threads"]() == 2
    threads.release_blas()  # a second time changes nothing
    assert blas["get_num_threads"]() == 2
    assert threads.call(entry, [1]) == 1  # the next kernel takes them again
    assert blas["get_num_threads"]() == 1
    threads.release_blas()
    blas["set_num_threads"](before)


@pytest.mark.skipif(not COMPILED, reason="nothing enters the pool")
def test_every_compiled_kernel_quiets_blas(blas):
    threads.release_blas()
    K.softmax.ref(LARGE)
    assert threads._taken is None  # the references are NumPy's own affair
    K.softmax.jit(LARGE)
    assert threads._taken and blas["get_num_threads"]() == 1


def test_without_openblas_there_is_nothing_to_take(monkeypatch):
    monkeypatch.setattr(threads, "openblas", lambda: None)
    threads.release_blas()
    assert threads.call(entry, [4]) == 4
    assert threads._taken == 0
    a, b = LARGE
    np.testing.assert_allclose(K.matmul.jit(a, b), a @ b, rtol=1e-10, atol=1e-12)
    threads.release_blas()
    assert threads._taken is None


def test_small_work_wakes_nobody():
    """The calling thread does it alone, however many tasks there are."""
    seen = isolated.run(
        """
        import numba, numpy as np
        from minitx.jit import jit
        from minitx.tasks import WORTH_WAKING, run_tasks

        @jit
        def note(task, x, seen):
            for _ in range(100_000):  # long enough for another thread to take some, if it is awake
                x[0] = x[0] * 0.999 + 1.0
            seen[task] = numba.get_thread_id()

        @jit
        def loop(x, seen):
            run_tasks(note, seen.size, (x, seen))

        for size in 1, WORTH_WAKING - 64 - 1:
            seen = np.full(64, -1)
            loop(np.zeros(size), seen)
            print(set(seen.tolist()))
        """
    )
    assert seen.splitlines() == ["{0}", "{0}"]


@pytest.mark.parametrize("paths", [[], ["/nowhere/libopenblas.so"]])
def test_without_a_library_there_is_no_openblas(monkeypatch, paths):
    monkeypatch.setattr(threads, "_libraries", lambda: paths)
    assert threads.openblas.__wrapped__() is None


@pytest.mark.parametrize("wrong", [0, -1, 1.0, "2", None, numba.config.NUMBA_NUM_THREADS + 1])
def test_set_threads_refuses(wrong):
    before = threads.get_threads()
    with pytest.raises(ValueError, match="set_threads: .* expected a whole number from 1 to"):
        threads.set_threads(wrong)
    assert threads.get_threads() == before


def test_set_threads_governs_every_thread():
    """Numba itself counts per Python thread."""
    seen = isolated.run(
        """
        import threading
        import numba, numpy as np
        import minitx
        from minitx import kernels as K

        def look():
            K.softmax.jit(np.ones((2, 2)))
            seen.append((minitx.get_threads(), numba.get_num_threads()))

        def elsewhere():
            barrier.wait()  # the thread is older than the wish
            barrier.wait()
            look()

        seen, barrier = [], threading.Barrier(2)
        old = threading.Thread(target=elsewhere)
        old.start()
        barrier.wait()
        look()
        minitx.set_threads(2)
        look()
        barrier.wait()
        old.join()
        new = threading.Thread(target=look)
        new.start()
        new.join()
        minitx.set_threads(3)
        look()
        print(seen)
        """,
        NUMBA_NUM_THREADS=3,
    )
    assert seen == str([(3, 3), (2, 2), (2, 2), (2, 2), (3, 3)])


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_two_threads_may_launch_at_once(layer):
    """Numba's own pool, workqueue, ends the process if two launches ever overlap."""
    out = isolated.run(
        """
        import threading
        import numba, numpy as np
        from minitx import kernels as K

        rng = np.random.default_rng(0)
        x, weight = rng.normal(size=(2, 150, 150)), rng.normal(size=150)
        q = rng.normal(size=(1, 2, 70, 8))
        options = None, None, True, 0, 1.0, 0.0, np.uint64(0)
        calls = [
            (K.matmul, *x),
            (K.softmax, x),
            (K.linear, x[0], x[1], weight, 3),
            (K.layer_norm, x, weight, weight, 1e-5),
            (K.attend, q, q, q, *options),
        ]
        first = [kernel.jit(*args) for kernel, *args in calls]
        wrong, start = [], threading.Barrier(3)

        def work(shift):
            start.wait()
            for i in range(60):
                n = (i + shift) % len(calls)
                kernel, *args = calls[n]
                if not np.array_equal(np.asarray(kernel.jit(*args)[0]), np.asarray(first[n][0])):
                    wrong.append(kernel)

        workers = [threading.Thread(target=work, args=[n]) for n in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        print(numba.threading_layer(), wrong)
        """,
        NUMBA_THREADING_LAYER=layer,
        NUMBA_NUM_THREADS=2,
    )
    assert out == f"{layer} []"
