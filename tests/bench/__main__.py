"""Measure minitx beside PyTorch on this machine, and print a table."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import pathlib
import sys
import tempfile
from dataclasses import dataclass, field

from . import libraries
from .measure import Disagreement, Pace, Result, measure
from .picture import draw
from .process import WorkerDied
from .scaling import Curve, scaling
from .table import NOTE, comparison, growth, memory
from .tasks import WORKLOADS, Model, Product, select


@dataclass
class Outcome:
    machine: str
    peers: list[str]
    notes: list[str]
    gemm: Result | None = None
    results: list[Result] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [self.machine]
        if self.results:
            parts.append(comparison(self.gemm, self.results, self.peers))
            parts.append("\n".join([NOTE, *self.notes]))
        if models := [result for result in self.results if isinstance(result.task, Model)]:
            parts.append(memory(models, self.peers))
        if self.curves:
            parts.append(growth(self.curves))
        return "\n\n".join(parts)


def run(options: argparse.Namespace, outcome: Outcome, parts: list, folder: pathlib.Path) -> None:
    """Measure all that the options ask for; the outcome grows as it goes."""
    ours, *peers = parts
    pace = Pace(options.rounds, options.seconds, options.threads, say)
    multipliers = [ours, libraries.FLOOR, *peers]
    outcome.gemm = measure("GEMM", Product(), multipliers, pace, folder)
    for workload, tasks in options.workloads.items():
        for task in tasks:
            outcome.results.append(measure(workload, task, parts, pace, folder))
    if options.scaling:
        outcome.curves = scaling(ours, libraries.cores(), pace, folder)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options; ``workloads``, ``seconds`` (of a turn) and ``compile`` follow from them."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    add = parser.add_argument
    add("names", nargs="*", help=f"workloads, all by default: {', '.join(WORKLOADS)}")
    add("--rounds", type=positive, help="turns of each library (default 5; 2 if --quick)")
    add("--quick", action="store_true", help="few and short turns: a glance, not a measurement")
    add("--threads", type=positive, default=libraries.cores(), help="of each library (all cores)")
    add(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="torch.compile too, which takes minutes to compile (default: if all is measured)",
    )
    add("--numpy-first", action="store_true", help="import NumPy, and use it, before minitx")
    add(
        "--env",
        type=variable,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="for minitx's processes alone, such as OPENBLAS_CORETYPE=Haswell; may be repeated",
    )
    add("--scaling", action="store_true", help="minitx's step against context, batch, width ...")
    add("--json", type=pathlib.Path, metavar="FILE", help="write every step's time")
    add("--picture", type=pathlib.Path, metavar="FILE", help="draw a PNG (needs matplotlib)")
    options = parser.parse_args(arguments)
    try:
        options.workloads = select(options.names)
    except ValueError as error:
        parser.error(str(error))
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.seconds = 0.2 if options.quick else 1.0
    if options.compile is None:
        options.compile = not (options.names or options.quick)
    return options


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text}; expected 1 or more")
    return number


def variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r}; expected NAME=VALUE")
    return name, value


def main() -> int:
    options = parse()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        ours = libraries.ours(dict(options.env), options.numpy_first)
        peers = libraries.peers(folder, options.compile)
        announce(peers, options.compile)
        notes = [peer.note for peer in peers if peer.note]
        outcome = Outcome(describe(options), [peer.name for peer in peers], notes)
        code = 0
        try:
            run(options, outcome, [ours, *peers], folder)
        except (WorkerDied, Disagreement) as error:
            say(str(error))
            code = 1
        except KeyboardInterrupt:
            code = 130
    print(outcome)
    if options.json:
        options.json.write_text(json.dumps(dataclasses.asdict(outcome)))
    if options.picture:
        save_picture(options.picture, outcome)
    return code


def announce(peers: list[libraries.Library], compiled: bool) -> None:
    """Say what readers of the figures must know before they wait for them."""
    if libraries.load() > 0.5:
        say("the cores are busy, or were: beside another program, threads wait for each other")
    if not peers:
        say("PyTorch is not installed: minitx alone")
    elif compiled and libraries.COMPILED not in peers:
        say("torch.compile finds no C++ compiler, or no Python.h: left out")


def describe(options: argparse.Namespace) -> str:
    """The machine, and what is unusual about this run."""
    parts = [libraries.machine(options.threads)]
    parts += ["NumPy imported before minitx"] * options.numpy_first
    parts += [f"minitx with {name}={value}" for name, value in options.env]
    return "; ".join(parts)


def save_picture(path: pathlib.Path, outcome: Outcome) -> None:
    if not importlib.util.find_spec("matplotlib"):
        say("matplotlib is not installed: no picture")
    elif outcome.curves or (outcome.results and outcome.peers):
        draw(path, outcome.results, outcome.peers, outcome.curves)
    else:
        say("nothing to compare: no picture")


if __name__ == "__main__":
    sys.exit(main())
