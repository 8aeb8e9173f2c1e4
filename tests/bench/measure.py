"""Workers take turns at a task; what they took is compared with what minitx took."""

from __future__ import annotations

import contextlib
import math
import pathlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import geometric_mean, median

from .libraries import Library
from .process import Worker
from .tasks import Task

PAUSE = 0.3  # seconds between turns, in which the threads of who came before stop spinning
TOLERANCE = 1e-4  # relative, between two libraries in float32

Turns = dict[str, list[list[float]]]  # library -> rounds -> seconds of each step


class Disagreement(Exception):
    """Two libraries do not compute the same."""


@dataclass
class Result:
    """One task, done by some libraries, of which minitx is the first."""

    workload: str
    task: Task
    turns: Turns = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)  # library -> peak of its process, bytes
    flops: int | None = None  # the least that one step must compute; None where no floor is stated

    def __str__(self) -> str:
        return f"{self.workload}: {self.task}"

    def seconds(self, library: str) -> float:
        """The median of all its steps."""
        return median(step for turn in self.turns[library] for step in turn)

    def ratios(self, library: str) -> list[float]:
        """minitx's time over the library's, each round's: below 1, minitx is faster."""
        pairs = zip(self.turns["minitx"], self.turns[library], strict=True)
        return [median(a) / median(b) for a, b in pairs]

    def ratio(self, library: str) -> float:
        """The median of the rounds: within one, a shared machine is as fast for both."""
        return median(self.ratios(library))

    def spread(self, library: str) -> tuple[float, float]:
        """The lowest and the highest of the rounds."""
        return min(self.ratios(library)), max(self.ratios(library))


@dataclass(frozen=True)
class Pace:
    """How long to measure, and on how many threads; ``say`` is told of each turn."""

    rounds: int
    seconds: float  # of a turn
    threads: int
    say: Callable[[str], None]


def measure(
    workload: str, task: Task, libraries: list[Library], pace: Pace, folder: pathlib.Path
) -> Result:
    """Each library once a round, in new processes.

    One process may be a third slower than the next all its life (PyTorch's MAE step took 73 ms in
    some, 103 in others, by themselves), and the machine than it was a round ago.
    Raises Disagreement or, from a worker, WorkerDied.
    """
    result = Result(workload, task)
    for i in range(pace.rounds):
        with contextlib.ExitStack() as stack:
            workers = start(task, libraries, pace.threads, folder, stack)
            for name, worker in workers.items():
                time.sleep(PAUSE)
                steps = worker.ask({"turn": pace.seconds})
                result.turns.setdefault(name, []).append(steps)
                took = f"{1e3 * median(steps):9.2f} ms"
                pace.say(f"{workload} {task}: round {i + 1} of {pace.rounds}, {name} {took}")
            for name, worker in workers.items():
                peak = worker.ask("memory")
                result.memory[name] = max(result.memory.get(name, 0), peak)
            result.flops = workers[libraries[0].name].ask("flops")
    return result


def start(
    task: Task,
    libraries: list[Library],
    threads: int,
    folder: pathlib.Path,
    stack: contextlib.ExitStack,
) -> dict[str, Worker]:
    """A worker of each library that does the task, by name, sure to compute what the first does."""
    workers: dict[str, Worker] = {}
    expected: list[float] = []
    for library in libraries:
        if not library.does(task):
            continue
        worker = stack.enter_context(Worker(library, task, threads, folder))
        numbers = worker.ask("check")
        expected = expected or numbers
        if not same(numbers, expected):
            raise Disagreement(f"{worker.name}: {numbers} where {libraries[0].name} has {expected}")
        workers[library.name] = worker
    return workers


def same(a: list[float], b: list[float]) -> bool:
    return len(a) == len(b) and all(
        math.isclose(x, y, rel_tol=TOLERANCE) for x, y in zip(a, b, strict=True)
    )


def by_workload(results: list[Result]) -> dict[str, list[Result]]:
    names = dict.fromkeys(result.workload for result in results)
    return {name: [r for r in results if r.workload == name] for name in names}


def mean_ratio(results: list[Result], library: str) -> float | None:
    """The geometric mean of a workload's ratios; None if the library did not take part."""
    if not all(library in result.turns for result in results):
        return None
    return geometric_mean(result.ratio(library) for result in results)
