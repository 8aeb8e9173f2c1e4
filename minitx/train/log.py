"""The log of a run: one JSON object a line, and its length known, so that it can be cut back."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import BinaryIO

LONGEST = 1000  # bytes of a line


class Log:
    """Without a path nothing is written, but the length that a checkpoint told is remembered."""

    def __init__(self, path: str | os.PathLike | None):
        self.path = None if path is None else pathlib.Path(path)
        self.length = 0  # bytes, up to the step where the run stands
        self._file: BinaryIO | None = None

    def go_to(self, step: int, length: int) -> None:
        """Stand where ``length`` bytes told of ``step`` steps; a log that is gone begins anew here.

        Raises ValueError if the file is shorter, or if these bytes are of another run.
        """
        if self.path is not None and length:
            if not self.path.exists():
                length = 0
            elif not self._tells(step, length):
                raise ValueError(
                    f"the log {self.path} does not reach step {step} in {length} bytes, as the "
                    "checkpoint says; put the right one back, or move it away to begin a new one"
                )
        self.length = length

    def _tells(self, step: int, length: int) -> bool:
        with open(self.path, "rb") as file:  # type: ignore[arg-type]
            file.seek(max(0, length - LONGEST))
            tail = file.read(min(length, LONGEST))
            complete = file.tell() == length and tail.endswith(b"\n")
        try:
            return complete and json.loads(tail.splitlines()[-1])["step"] <= step
        except (ValueError, KeyError, TypeError):
            return False

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Within the block one may ``write``.  What stands after ``length`` is cut off first."""
        if self.path is None:
            yield
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab") as self._file:
            self.length = min(self.length, os.path.getsize(self.path))
            self._file.truncate(self.length)
            try:
                yield
            finally:
                self.sync()
                self._file = None

    def write(self, entry: Mapping[str, float]) -> None:
        """Append a line, with null for what JSON has no number for."""
        if self._file is not None:
            numbers = {name: x if math.isfinite(x) else None for name, x in entry.items()}
            line = json.dumps(numbers).encode() + b"\n"
            self._file.write(line)
            self._file.flush()
            self.length += len(line)

    def sync(self) -> None:
        """Force the lines to the disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())
