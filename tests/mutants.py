"""How a mutant is made: an op, or a kernel, with its value intact and its pullback spoilt."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from minitx import kernels
from minitx.tensor import OPS, op

rng = np.random.default_rng(0)
MUTANTS: list[Mutant] = []


@dataclass
class Mutant:
    """``spoil(monkeypatch)`` breaks the pullback of op ``name``."""

    title: str
    name: str
    args: tuple
    options: dict
    spoil: Any


def normal(*shape):
    return rng.normal(size=shape)


def mutant(name, *args, **options):
    """The decorated function is the op's wrong pullback: (dy, right pullback, *arguments)."""

    def register(wrong):
        def spoil(monkeypatch):
            right = OPS[name]
            monkeypatch.delitem(OPS, name)

            def function(*args, **options):
                y, vjp = right.__wrapped__(*args, **options)
                return y, lambda dy: wrong(dy, vjp, *args)

            function.__name__ = name
            op(function)

        MUTANTS.append(Mutant(wrong.__name__, name, args, options, spoil))
        return wrong

    return register


def kernel_mutant(name, kernel, *args, **options):
    """The decorated function stands in for a kernel: (right kernel, *arguments) -> result."""

    def register(wrong):
        def spoil(monkeypatch):
            right = getattr(kernels, kernel)
            monkeypatch.setattr(kernels, kernel, functools.partial(wrong, right))

        MUTANTS.append(Mutant(wrong.__name__, name, args, options, spoil))
        return wrong

    return register
