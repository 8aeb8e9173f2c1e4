"""Training gives the same bits whoever came first, on any thread and with any of Numba's pools."""

from __future__ import annotations

import importlib
import multiprocessing
import threading
import zlib

import isolated
import numpy as np
import pytest

from minitx import models, optim, threads


def three_steps():
    """Losses and parameters of a small GPT, to the last bit; large enough to wake the pool."""
    model = models.GPT(models.GPTConfig(103, 32, 2, 4, 64, dropout=0.1))
    optimizer, rng, losses = optim.AdamW(model, 1e-2), np.random.default_rng(0), []
    for _ in range(3):
        text = rng.integers(0, 103, (8, 33))
        optimizer.zero_grad()
        loss = model.loss(text[:, :-1], text[:, 1:])
        loss.backward()
        optimizer.step()
        losses.append(loss.item().hex())
    return *losses, zlib.crc32(optimizer.data)


def in_threads(count):
    """What that many threads get that take their three steps at once."""
    results, start = [], threading.Barrier(count)

    def work():
        start.wait()
        results.append(three_steps())

    workers = [threading.Thread(target=work) for _ in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return results


def in_spawned_process():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(three_steps)


def run(program, **settings):
    """What it prints, on two threads and with the same BLAS kernels whoever loads them."""
    blas = threads.openblas()
    core = {"OPENBLAS_CORETYPE": blas["core"]} if blas else {}
    return isolated.run(program, **core, NUMBA_NUM_THREADS=2, **settings)


@pytest.fixture(scope="module")
def expected():
    return run("from test_pools import three_steps; print(three_steps())")


BUSY = {  # what others compute before and between our steps, on threads of their own
    "numpy": "numpy.ones((999, 999)) @ numpy.ones((999, 999))",
    "numba": "import numpy; numba.njit(lambda x: x.sum(), parallel=True)(numpy.ones(9999))",
    "torch": "(torch.ones((999, 999)) @ torch.ones((999, 999))).exp().sum()",
    "sklearn.cluster": "sklearn.cluster.KMeans(2, n_init=1).fit([[i % 9] for i in range(9999)])",
}


@pytest.mark.parametrize("first", BUSY)
def test_whoever_is_imported_first(expected, first):
    pytest.importorskip(first)
    program = f"""
        import {first}
        {BUSY[first]}
        from test_pools import three_steps
        print(three_steps())
        {BUSY[first]}
        print(three_steps())
        """
    assert run(program).splitlines() == [expected] * 2


POOLS = {"omp": "omppool", "tbb": "tbbpool", "workqueue": "workqueue"}


@pytest.mark.parametrize("layer", POOLS)
def test_on_any_thread_and_layer(expected, layer):
    try:
        importlib.import_module(f"numba.np.ufunc.{POOLS[layer]}")
    except ImportError as error:
        pytest.skip(f"Numba has no {layer} here: {error}")
    program = """
        import numba
        from test_pools import in_spawned_process, in_threads, three_steps
        print(*in_threads(1), three_steps(), *in_threads(2), in_spawned_process(), sep="\\n")
        print(numba.threading_layer())
        """
    lines = run(program, NUMBA_THREADING_LAYER=layer).splitlines()
    assert lines == [*[expected] * 5, layer]
