"""The other end of the line to a worker."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from .libraries import Library
from .tasks import Task

PATHS = [str(pathlib.Path(__file__).resolve().parents[i]) for i in (1, 2)]  # tests, the root
THREADS = "NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"


class WorkerDied(Exception):
    """Says which worker ended, and the last lines of what it wrote to standard error."""


class Worker:
    """A process in which ``library`` does ``task`` on ``threads`` threads.  A context manager.

    folder: where the workers of one task leave weights for each other.
    """

    def __init__(self, library: Library, task: Task, threads: int, folder: pathlib.Path):
        self.name = f"{library.name}, {type(task).__name__} {task}"
        order = {
            "module": library.module,
            "numpy_first": library.numpy_first,
            "kind": type(task).__name__,
            "task": dataclasses.asdict(task),
            "folder": str(folder),
        }
        environment = os.environ | dict.fromkeys(THREADS, str(threads)) | library.environment
        paths = [*PATHS, *filter(None, [os.environ.get("PYTHONPATH")])]
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", json.dumps(order)],
            env=environment | {"PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def ask(self, request):
        """Its answer.  Raises WorkerDied if it ends instead."""
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerDied(self._obituary())
        return json.loads(line)

    def _obituary(self) -> str:
        code = self.process.wait(timeout=10)
        self.errors.seek(0)
        tail = "".join(self.errors.readlines()[-15:])
        return f"the worker of {self.name} ended with code {code}; its last words:\n{tail}"

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()
