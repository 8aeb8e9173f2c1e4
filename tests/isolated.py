"""Python in another process, for what a process can be told only once: flags, pools, a fork."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import textwrap

import minitx

HERE = pathlib.Path(__file__).parent
PACKAGE = pathlib.Path(minitx.__file__).parent
SETTINGS = "NUMBA_DISABLE_JIT", "NUMBA_NUM_THREADS", "NUMBA_THREADING_LAYER", "MINITX_KERNELS"


def start(program, *, package=PACKAGE, **environment):
    """Start a file, or the text of a program, with the kernels compiled unless told otherwise.

    It can import what stands in this folder, and minitx from where ``package`` is.
    """
    variables = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    variables["PYTHONPATH"] = str(pathlib.Path(package).parent)
    program = (
        [str(program)] if isinstance(program, pathlib.Path) else ["-c", textwrap.dedent(program)]
    )
    return subprocess.Popen(
        [sys.executable, "-W", "error", *program],
        cwd=HERE,
        env=variables | {name: str(value) for name, value in environment.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, timeout=180):
    """Its standard output, stripped.  Fails if it failed, or hangs."""
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    assert process.returncode == 0, f"exit code {process.returncode}\n{out}\n{err}"
    return out.strip()


def run(program, **options):
    return finish(start(program, **options))
