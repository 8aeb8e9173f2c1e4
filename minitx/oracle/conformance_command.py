"""``minitx conformance``: write the cases of all ops, and check programs with them."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from .conformance import write
from .judge import check


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Fill in the parser of ``minitx conformance``."""
    parser.description = "Small cases of every op: inputs, outputs, cotangents and gradients."
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    command = commands.add_parser("write", help="write the cases, a folder each")
    _common(command)
    command.set_defaults(run=run_write)
    command = commands.add_parser(
        "check",
        help="run a program on each case and judge what it writes",
        description="The exit code is 1 if a result is wrong, a run fails, or all are skipped.",
    )
    _common(command)
    command.add_argument(
        "--run",
        dest="command",
        required=True,
        metavar="COMMAND",
        help="the program, such as './port {case} {out}': the case's folder, and where to write "
        "output.bin and grad.<name>.bin (the case's folder, if not told); it exits with 77 if it "
        "does not have the op",
    )
    command.add_argument(
        "--float32", action="store_true", help="float64 files are of a program in float32"
    )
    command.add_argument("--timeout", type=float, default=60.0, help="seconds for a case (60)")
    command.set_defaults(run=run_check)


def _common(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", help="of all cases")
    command.add_argument(
        "--only", default="*", metavar="PATTERN", help="cases, such as 'attend.*' (all)"
    )


def run_write(options: argparse.Namespace) -> int:
    """Write the folder; 0, or 2 if it cannot be written."""
    try:
        names = write(options.folder, options.only)
    except (ValueError, OSError) as error:
        return _refuse(error)
    ops = {name.partition(".")[0] for name in names}
    print(f"{options.folder}: {len(names)} cases of {len(ops)} ops")
    return 0


def run_check(options: argparse.Namespace) -> int:
    """Judge the program; 0 if right, 1 if not, 2 if it could not be judged."""
    settings = {"float32": options.float32, "timeout": options.timeout}
    try:
        found = check(
            options.folder,
            options.command,
            options.only,
            **settings,
            tell=lambda verdict: print(verdict, flush=True),
        )
    except (ValueError, OSError) as error:
        return _refuse(error)
    counts = Counter(x.verdict for x in found)
    told = [f"{counts[x]} {x}" for x in ("ok", "wrong", "failed", "skipped") if counts[x]]
    print(f"{len(found)} cases: {', '.join(told)}")
    return 0 if counts["ok"] and not counts["wrong"] + counts["failed"] else 1


def _refuse(error: Exception) -> int:
    print(f"minitx conformance: {error}", file=sys.stderr)
    return 2
