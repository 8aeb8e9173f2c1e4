"""Where in the model an op runs: its module's dotted name and the lines of source on the way.

The call stack knows both, so that modules need no hook of their own: a frame whose ``self`` is one
of the model's modules belongs to that module.
"""

from __future__ import annotations

import linecache
import os
import pathlib
import sys
from types import FrameType
from typing import Any, NamedTuple

_PACKAGE = pathlib.Path(__file__).parents[1]
# What runs an op, and is of no interest to who asks where it was called.
_ENGINE = tuple(
    str(_PACKAGE / part)
    for part in (
        "tensor.py",
        "observer.py",
        "operators.py",
        f"ops{os.sep}",
        f"trace{os.sep}",
        f"nn{os.sep}module.py",
    )
)


class Line(NamedTuple):
    """One line of source."""

    file: str
    number: int
    function: str

    @property
    def text(self) -> str:
        return linecache.getline(self.file, self.number).strip()

    def __str__(self) -> str:
        path = pathlib.Path(self.file)
        inside = path.is_relative_to(_PACKAGE)
        shown = path.relative_to(_PACKAGE.parent).as_posix() if inside else path.name
        return f"{shown}:{self.number}"


def modules_of(model: Any) -> dict[int, str]:
    """The dotted name of each module, by its identity."""
    return {} if model is None else {id(x): name for name, x in model.named_modules()}


def here(modules: dict[int, str]) -> tuple[str, tuple[Line, ...], dict[str, FrameType]]:
    """The innermost module that is running, and the lines that led here, the innermost first.

    The lines end with the outermost one that belongs to the model; without a model, with the first.
    Of each module that is running, also the frame in which it was entered.
    """
    path, lines, kept = None, [], 1
    entered: dict[str, FrameType] = {}
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(_ENGINE):
            lines.append(Line(code.co_filename, frame.f_lineno, code.co_name))
            if "self" in code.co_varnames or "self" in code.co_freevars:
                name = modules.get(id(frame.f_locals.get("self")))
                if name is not None:
                    path = name if path is None else path
                    entered[name] = frame
                    kept = len(lines)
        frame = frame.f_back  # type: ignore[assignment]
    return path or "", tuple(lines[:kept]), entered
