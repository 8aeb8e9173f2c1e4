"""The command line: ``minitx warmup``, ``minitx doctor``, and those of ``COMMANDS``.

Results go to standard output, progress and errors to standard error.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time

from . import doctor
from .jit import COMPILED, cache_folder
from .warmup import warm_up

# Name -> the module that has ``add_arguments(parser)``, imported when called for; what it does.
COMMANDS = {
    "conformance": ("oracle.conformance_command", "small cases of every op, to check a port with"),
    "diff": ("oracle.diff_command", "check a port against a golden bundle; name what is wrong"),
    "dump": ("oracle.dump_command", "write a golden bundle: a run's numbers, to compare with"),
}


def warmup(options: argparse.Namespace) -> int:
    """Compile all kernels; 0, or 1 if they could not be kept."""
    folder = cache_folder()
    if not COMPILED:
        print("minitx warmup: NUMBA_DISABLE_JIT is set, nothing is compiled", file=sys.stderr)
        return 1
    if folder is None:
        print("minitx warmup: no folder to keep kernels in; set MINITX_CACHE_DIR", file=sys.stderr)
        return 1

    def tell(name: str, seconds: float) -> None:
        print(f"{name:<32} {seconds:5.1f} s", file=sys.stderr, flush=True)

    begun = time.perf_counter()
    compiled, known = warm_up(["float32", "float64"] if options.float64 else ["float32"], tell)
    seconds = time.perf_counter() - begun
    if compiled:
        before = f", {known} were there before" if known else ""
        print(f"{compiled} kernels compiled in {seconds:.1f} s{before}; they are kept in {folder}")
    else:
        print(f"all {known} kernels were compiled already; they are kept in {folder}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code.  arguments: those of the process unless given."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(
        prog="minitx", description="Transformers end to end, on NumPy and Numba."
    )
    version = sys.modules["minitx"].__version__
    parser.add_argument("--version", action="version", version=f"minitx {version}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    command = commands.add_parser(
        "warmup",
        help="compile all kernels now, not in the first training step",
        description="Compile all kernels for float32 and keep them for later runs.",
    )
    command.add_argument(
        "--float64", "--all", action="store_true", help="for float64 too, which takes twice as long"
    )
    command.set_defaults(run=warmup)
    command = commands.add_parser(
        "doctor",
        help="describe this machine and say what is slow on it, and why",
        description="Describe this machine as minitx sees it, then test it for up to ten seconds. "
        "The exit code is 1 only if results are wrong.",
    )
    command.set_defaults(run=lambda options: doctor.main())
    for name, (module, does) in COMMANDS.items():
        command = commands.add_parser(name, help=does)
        if arguments[:1] == [name]:
            importlib.import_module(f"minitx.{module}").add_arguments(command)
    options = parser.parse_args(arguments)
    return options.run(options)
