"""How minitx's step grows with context, batch, width and threads, as a power of each."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from dataclasses import dataclass
from statistics import linear_regression

from .libraries import Library
from .measure import Pace, measure
from .tasks import GPT

BASE = GPT(2, 128, 4, 128, 8, 103)
HEAD = BASE.width // BASE.heads  # stays as it is when the width grows


@dataclass
class Curve:
    axis: str
    values: list[int]
    seconds: list[float]

    @property
    def exponent(self) -> float:
        return exponent(self.values, self.seconds)


def exponent(x: list[float], y: list[float]) -> float:
    """The p of y = c * x^p that fits best, by least squares on the logarithms."""
    return linear_regression([math.log(v) for v in x], [math.log(v) for v in y]).slope


def sweeps(cores: int) -> dict[str, dict[int, GPT]]:
    """Axis -> value -> task.  A task does not know its threads; that axis repeats the base."""

    def vary(**change):
        return dataclasses.replace(BASE, **change)

    return {
        "context": {n: vary(context=n) for n in (64, 128, 256, 512, 1024)},
        "batch": {n: vary(batch=n) for n in (2, 4, 8, 16, 32)},
        "width": {n: vary(width=n, heads=n // HEAD) for n in (64, 128, 256, 512)},
        "threads": {n: BASE for n in range(1, cores + 1)},
    }


def scaling(library: Library, cores: int, pace: Pace, folder: pathlib.Path) -> list[Curve]:
    """One curve an axis; none against threads where there is one core."""
    curves = []
    for axis, tasks in sweeps(cores).items():
        curve = Curve(axis, list(tasks), [])
        for value, task in tasks.items():
            here = dataclasses.replace(pace, threads=value) if axis == "threads" else pace
            result = measure(f"{axis} {value}", task, [library], here, folder)
            curve.seconds.append(result.seconds(library.name))
        if len(tasks) > 1:
            curves.append(curve)
    return curves
