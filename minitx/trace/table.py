"""A trace in the terminal."""

from __future__ import annotations

import numpy as np

from .record import Record

HEAD = "", "shape", "norm", "min", "max", "grad norm", "forward", "backward"


def table(shown: list[Record], run: list[Record]) -> str:
    """A row for each record; times as shares of all that ran."""
    total = sum(x.seconds + x.seconds_backward for x in run) or 1.0
    rows = [HEAD] + [_row(x, total) for x in shown]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, shape, *numbers in rows:
        cells = [cell.rjust(w) for cell, w in zip(numbers, widths[2:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), shape.ljust(widths[1]), *cells]).rstrip())
    count = sum(x.bytes for x in run)
    lines.append(f"{len(run)} ops, {total * 1000:.1f} ms, {count / 1e6:.1f} MB")
    return "\n".join(lines)


def _row(x: Record, total: float) -> tuple[str, ...]:
    shape = "x".join(map(str, x.value.shape)) or "-"
    forward = "" if x.is_leaf else f"{x.seconds / total:.1%}"
    backward = f"{x.seconds_backward / total:.1%}" if x.seconds_backward else ""
    return x.name, shape, *_statistics(x.value), _norm(x.grad), forward, backward


def _statistics(x: np.ndarray) -> tuple[str, str, str]:
    return (_norm(x), f"{x.min():.3g}", f"{x.max():.3g}") if x.size else ("", "", "")


def _norm(x: np.ndarray | None) -> str:
    return "" if x is None else f"{np.linalg.norm(x):.3g}"
