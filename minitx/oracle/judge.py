"""Judge a program by the cases of conformance.py: run it on each, compare what it writes."""

from __future__ import annotations

import fnmatch
import pathlib
import shlex
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .bundle import BundleError, Path

SKIPPED = 77  # the exit code of a program that does not have an op
Files = dict[str, pathlib.Path]
# By name: the array, the tolerance, and that of a program in float64.
Expected = dict[str, tuple[np.ndarray, float, float]]


@dataclass(frozen=True)
class Verdict:
    """What became of one case: "ok", "wrong", "failed" (to run) or "skipped"."""

    case: str
    verdict: str
    text: str  # the worst array: its error and tolerance; or what happened

    def __str__(self) -> str:
        return f"{self.verdict:<8} {self.case:<28} {self.text}".rstrip()


def check(
    folder: Path,
    command: str,
    pattern: str = "*",
    *,
    float32: bool = False,
    timeout: float = 60.0,
    tell: Callable[[Verdict], None] = lambda verdict: None,
) -> list[Verdict]:
    """Run a program on every case whose name fits the pattern, and judge what it writes.

    command: words, of which ``{case}`` stands for the case's folder and ``{out}`` for that to write
    to; without ``{out}`` it is the case's.  A program that exits with 77 does not have the op.
    float32: judge float64 files by the tolerances of float32, too.  tell: is given each verdict.
    Raises BundleError on a damaged folder, a command without {case}, or if no case fits.
    """
    folder = pathlib.Path(folder)
    if "{case}" not in command:
        raise BundleError(f"command {command!r}: expected {{case}} among its words")
    names = [name for name in _read_index(folder) if fnmatch.fnmatchcase(name, pattern)]
    if not names:
        raise BundleError(f"{folder}: no case fits {pattern!r}")
    verdicts = []
    for name in names:
        verdicts.append(_judge(folder / name, command, float32, timeout))
        tell(verdicts[-1])
    return verdicts


def _judge(case: pathlib.Path, command: str, float32: bool, timeout: float) -> Verdict:
    expected = _read_expected(case)
    with tempfile.TemporaryDirectory() as temporary:
        out = pathlib.Path(temporary) if "{out}" in command else case
        files = {key: out / f"{key}.bin" for key in expected}
        try:
            for file in files.values():
                file.unlink(missing_ok=True)  # of an earlier run
            problem = _run_program(command, case, out, timeout)
            if problem:
                return Verdict(case.name, *problem)
            return Verdict(case.name, *_compare(files, expected, float32))
        finally:
            for file in files.values():
                file.unlink(missing_ok=True)


def _run_program(
    command: str, case: pathlib.Path, out: pathlib.Path, timeout: float
) -> tuple[str, str] | None:
    """None if it ran; else a verdict and what happened."""
    words = [
        word.replace("{case}", str(case)).replace("{out}", str(out))
        for word in shlex.split(command)
    ]
    try:
        done = subprocess.run(words, capture_output=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return "failed", f"took more than {timeout:g} s"
    except OSError as error:
        raise BundleError(f"command {command!r}: {error}") from None
    if done.returncode == SKIPPED:
        return "skipped", ""
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        return "failed", f"exit code {done.returncode}: {said[-1] if said else 'nothing said'}"
    return None


def _compare(files: Files, expected: Expected, float32: bool) -> tuple[str, str]:
    """The verdict, and the array that is the furthest off, for its tolerance."""
    worst, told = -1.0, ""
    for key, (x, loose, tight) in expected.items():
        if not files[key].exists():
            return "wrong", f"{key}.bin was not written"
        data = files[key].read_bytes()
        narrow, wide = 4 * x.size, 8 * x.size
        if len(data) not in (narrow, wide):
            return "wrong", f"{key}.bin has {len(data)} bytes, expected {narrow} or {wide}"
        y = np.frombuffer(data, "<f4" if len(data) == narrow else "<f8").reshape(x.shape)
        allowed = loose if len(data) == narrow or float32 else tight
        apart = _apart(x, y)
        error = float(apart.max(initial=0.0))
        share = error / allowed if allowed else np.inf if error else 0.0
        if share > worst:
            worst, told = share, f"{key} off by {error:.1e}, allowed {allowed:.1e}"
            if share > 1:
                place = np.unravel_index(apart.argmax(), x.shape)
                at = ", ".join(map(str, place))
                told += f"; at ({at}) {y[place]:.9g}, expected {x[place]:.9g}"
    return "ok" if worst <= 1 else "wrong", told


def _apart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The differences; infinite where one is not finite and the other is another number."""
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(x - y))
    return np.where(np.isnan(apart), np.inf, apart)


def _read_index(folder: pathlib.Path) -> Iterator[str]:
    """The names of all cases, each case.txt compared with its sum."""
    raw = (folder / "index.txt").read_bytes()
    *lines, end = raw.decode(errors="replace").splitlines(keepends=True) or [""]
    head = f"minitx-conformance 1 {len(lines) - 1}\n"
    if lines[:1] != [head] or end != f"end {zlib.crc32(''.join(lines).encode()):08x}\n":
        raise BundleError(f"{folder}/index.txt is damaged, or of another version")
    for line in lines[1:]:
        name, _, crc = line.split()
        if f"{zlib.crc32((folder / name / 'case.txt').read_bytes()):08x}" != crc:
            raise BundleError(f"{folder}/{name}/case.txt is damaged")
        yield name


def _read_expected(case: pathlib.Path) -> Expected:
    """What is expected of a case; every file is compared with its sum."""
    expected: Expected = {}
    for line in (case / "case.txt").read_text().splitlines():
        role, key, *words = line.split()
        if role in ("input", "expected"):
            data = (case / f"{role}.{key}.bin").read_bytes()
            if f"{zlib.crc32(data):08x}" != words[1]:
                raise BundleError(f"{case}/{role}.{key}.bin is damaged")
        if role == "expected":
            dtype, _, loose, tight, _, *shape = words
            x = np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).reshape(
                list(map(int, shape))
            )
            expected[key] = x.astype(np.float64), float(loose), float(tight)
    return expected
