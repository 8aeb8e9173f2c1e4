"""What ``minitx doctor`` tries out: results, then speeds, each against what the machine owes.

Every check returns a ``Finding``, or None where it does not apply, and takes a second at most, as
long as nothing is compiled.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from . import coretype, kernels
from .jit import cache_folder, chosen, use_kernels
from .threads import get_threads, openblas, release_blas, set_threads
from .warmup import exercise, watched

ALIKE = 1e-4  # the largest difference between both forms, as a part of the largest number: float32
PAUSE = 0.05  # seconds after which OpenBLAS's threads no longer spin


@dataclass(frozen=True)
class Finding:
    verdict: str  # "ok", "slow" or "wrong"
    text: str
    remedy: str = ""


def judged(fine: bool, text: str, remedy: str) -> Finding:
    """Ok, or slow with a remedy."""
    return Finding("ok", text) if fine else Finding("slow", text, remedy)


def best(function: Callable[[], object], seconds: float = 0.25) -> float:
    """Seconds that one call takes when nobody disturbs it: the shortest of a few."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        begun = time.perf_counter()
        function()
        times.append(time.perf_counter() - begun)
    return min(times)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    before = get_threads()
    set_threads(1)
    try:
        yield
    finally:
        set_threads(before)


# ---- results -------------------------------------------------------------------------------------


class _NotCompiled(Exception):
    pass


def _stop(name: str, seconds: float, anew: bool) -> None:
    if anew:
        raise _NotCompiled


def difference(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """The largest, relative to the largest number expected; infinite where there is a NaN."""
    worst = 0.0
    for x, y in zip(found, expected, strict=True):
        apart = np.abs(x - y).max() / np.abs(y).max()
        worst = max(worst, float(apart)) if np.isfinite(apart) else np.inf
    return worst


def results() -> Finding:
    """Products against NumPy's, and every kernel against its plain form."""
    a, b = np.random.default_rng(0).normal(size=(2, 300, 300)).astype(np.float32)
    worst = difference([kernels.matmul(a, b)], [a.astype(float) @ b.astype(float)])
    try:
        with watched(_stop):
            found = exercise(np.float32)
    except _NotCompiled:
        text = "kernels: not all are compiled yet; the first training step will wait for them"
        done = Finding("slow", text, "minitx warmup")
    else:
        with use_kernels("ref"):
            expected = exercise(np.float32)
        worst = max(worst, difference(found, expected))
        done = Finding("ok", f"results: the compiled kernels are right, to {worst:.0e}")
    if worst < ALIKE:
        return done
    return Finding(
        "wrong",
        f"results: products or kernels are off by {worst:.0e}",
        f"delete {cache_folder()}; if that does not help, export MINITX_KERNELS=ref",
    )


# ---- speeds --------------------------------------------------------------------------------------


def usable() -> int:
    """The number of cores that this process may run on."""
    with contextlib.suppress(AttributeError):  # elsewhere than on Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cores() -> str:
    """How many cores there are, how many of them are ours, and how busy they are."""
    text, ours, quota = f"{os.cpu_count()} cores", usable(), _quota()
    if ours != os.cpu_count():
        text += f", {ours} of them for this process"
    if quota:
        text += f", limited by a cgroup to the time of {quota:g}"
    return f"{text}, load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else text


def _quota(root: str = "/sys/fs/cgroup") -> float | None:
    """The cgroup's share of processor time, in cores; None where there is no limit."""
    for files in ["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]:
        with contextlib.suppress(OSError, ValueError):  # "max", or -1: no limit
            text = " ".join(pathlib.Path(root, file).read_text() for file in files)
            quota, period = map(int, text.split())
            return quota / period if quota > 0 else None
    return None


def core_type() -> Finding | None:
    """Whether OpenBLAS uses AVX-512 where there is AVX-512."""
    blas = openblas()
    if blas is None or not coretype.runs_skylakex(coretype.processor()):
        return None
    export = "export OPENBLAS_CORETYPE=SkylakeX"
    text = (
        f"core type: {blas['core']}, chosen by {coretype.CHOSEN_BY}, on a processor with AVX-512; "
        "it concerns NumPy's own products, not ours"
    )
    if coretype.CHOSEN_BY == "minitx":
        return Finding("ok", text, f"where NumPy is imported before minitx: {export}")
    wide = blas["core"].lower() in ("skylakex", "cooperlake", "sapphirerapids")
    by_user = coretype.CHOSEN_BY == "the user"
    return judged(wide, text, "unset OPENBLAS_CORETYPE" if by_user else export)


def compute(x: np.ndarray) -> np.ndarray:
    """A kernel that does little else."""
    return kernels.activate(x, kernels.ACTIVATIONS.index("gelu"))[0]


def products() -> Finding:
    """float32, 1024 x 1024 x 1024: ours on all threads and on one, and NumPy's."""
    a, b = np.random.default_rng(0).normal(size=(2, 1024, 1024)).astype(np.float32)

    def rate(multiply: Callable) -> float:
        return 2 * 1024**3 / best(lambda: multiply(a, b)) / 1e9

    release_blas()
    theirs = rate(np.matmul)
    time.sleep(PAUSE)
    ours = rate(kernels.matmul)
    with one_thread():
        alone = rate(kernels.matmul)
    return judged(
        ours > 0.8 * theirs,
        f"matmul: {ours:.0f} GFLOP/s, {alone:.0f} on one thread; np.matmul {theirs:.0f}",
        f"try again when nothing else runs ({cores()})",
    )


def speed_up() -> Finding | None:
    """A kernel that only computes, on all threads and on one."""
    threads = get_threads()
    if threads == 1:
        text, remedy = f"threads: one, for {usable()} cores", "unset NUMBA_NUM_THREADS"
        return None if usable() == 1 else Finding("slow", text, remedy)
    x = np.random.default_rng(0).normal(size=(1000, 1000)).astype(np.float32)
    together = best(lambda: compute(x))
    with one_thread():
        ratio = best(lambda: compute(x)) / together
    return judged(
        ratio >= 1.3,
        f"threads: {threads} are {ratio:.1f} times as fast as one",
        f"the cores are busy or not ours ({cores()}); stop other programs, or set_threads(1)",
    )


def pools() -> Finding:
    """NumPy's products and our kernels in turns: two pools of threads would fight for the cores."""
    x = np.random.default_rng(0).normal(size=(384, 384)).astype(np.float32)
    kernels.matmul(x, x)  # takes OpenBLAS's threads away

    def in_turns() -> None:
        np.matmul(x, x)
        compute(x)

    apart = best(lambda: np.matmul(x, x)) + best(lambda: compute(x))
    ratio = best(in_turns) / apart
    return judged(
        ratio < 1.5,
        f"pools: np.matmul and a kernel in turns take {ratio:.1f} times what they take apart",
        "another library's threads spin; export OMP_WAIT_POLICY=passive OPENBLAS_THREAD_TIMEOUT=4",
    )


def memory() -> Finding:
    """Copying 64 MB, on one thread: read once, written once."""
    x = np.ones(2**24, np.float32)
    y = np.empty_like(x)
    rate = 2 * x.nbytes / best(lambda: np.copyto(y, x)) / 1e9
    text = f"memory: {rate:.0f} GB/s on one thread"
    return judged(rate > 4, text, "stop other programs that use the memory")


_START = """
import sys, time
sys.path[:] = {path!r}
begun = time.perf_counter()
import numpy, numba
between = time.perf_counter()
import minitx
print(between - begun, time.perf_counter() - between)
"""


def start() -> Finding:
    """Seconds of ``import minitx`` in a new process, beyond NumPy's and Numba's."""
    program = _START.format(path=sys.path)
    out = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        others, ours = map(float, out.stdout.split())
    except ValueError:
        return Finding("wrong", "import: no new process can import minitx", "see the error above")
    return judged(
        ours <= 0.5,
        f"import: {ours:.2f} s, after {others:.2f} s for NumPy and Numba",
        "let Python write its __pycache__ folders, or keep them on a local disk",
    )


def findings() -> Iterator[Finding]:
    """One after the other; what does not apply here is left out."""
    checks = [results, core_type, products, speed_up, pools, memory, start]
    if chosen() == "ref":
        text = "kernels: plain NumPy runs, by NUMBA_DISABLE_JIT or MINITX_KERNELS"
        yield Finding("slow", text, "unset both")
        checks = [core_type, memory, start]
    for check in checks:
        if found := check():
            yield found
