"""The program of a worker: one library, one task.

    python -m bench.worker '{"module": ..., "kind": ..., "task": {...}, "folder": ..., ...}'

Then one request a line on standard input, as JSON, and one answer a line on standard output:

    "check"             numbers that must be the same in every library
    {"turn": seconds}   the seconds of each step, for about that long
    "memory"            the process's peak, in bytes
    "flops"             what a step must compute at least, or null; only minitx counts
"""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import resource
import sys
import time

from .tasks import KINDS


def take_turn(step, seconds: float) -> list[float]:
    """The seconds of each step.  A fifth as long goes by before: threads wake, caches fill."""
    repeat(step, seconds / 5, least=1)
    return repeat(step, seconds, least=2)


def repeat(step, seconds: float, least: int) -> list[float]:
    times: list[float] = []
    while len(times) < least or sum(times) < seconds:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times


def peak_memory() -> int:
    """Bytes.  A new program's peak starts at its parent's, which is small: it imports nothing."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def start_numpy() -> None:
    """What a user's script may do before it imports minitx: OpenBLAS has its threads, running."""
    import numpy as np

    a = np.ones((512, 512), np.float32)
    a @ a


def answer(job, request):
    if request == "check":
        return job.check()
    if request == "memory":
        return peak_memory()
    if request == "flops":
        return job.flops()
    return take_turn(job.step, request["turn"])


def main() -> None:
    order = json.loads(sys.argv[1])
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    if order["numpy_first"]:
        start_numpy()
    module = importlib.import_module(f".{order['module']}", __package__)
    task = KINDS[order["kind"]](**order["task"])
    job = getattr(module, task.job)(task, pathlib.Path(order["folder"]))
    for line in sys.stdin:
        print(json.dumps(answer(job, json.loads(line))), file=channel, flush=True)


if __name__ == "__main__":
    main()
