"""How an op is written: its docstring, its pullback, and the plain NumPy functions it calls."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from .. import kernels
from ..jit import Kernel
from .formulas import FORMULAS

_OURS = f"{__name__.split('.')[0]}.kernels", f"{__name__.split('.')[0]}.ops"


def source_of(name: str, function: Callable) -> dict[str, Any]:
    """What the page tells of op ``name``; "" where Python no longer knows the source."""
    text = _text(function)
    helpers = {f.__name__: _text(f) for f in _called(function)}
    return {
        "doc": inspect.getdoc(function) or "",
        "formula": textwrap.dedent(FORMULAS.get(name, "")).strip(),
        "source": text,
        "pullback": next(filter(None, map(_pullback, (text, *helpers.values()))), ""),
        "helpers": [[helper, code] for helper, code in helpers.items() if code],
    }


def argument_names(function: Callable, count: int) -> list[str]:
    """What the op calls its first ``count`` arguments: ["x", "weight"], or ["xs[0]", "xs[1]"]."""
    names: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}[{i}]" for i in range(count - len(names))]
        elif parameter.kind is not parameter.KEYWORD_ONLY:
            names.append(parameter.name)
    return names[:count]


def _text(function: Callable) -> str:
    try:
        return textwrap.dedent(inspect.getsource(function)).rstrip()
    except (OSError, TypeError):
        return ""


def _parsed(text: str) -> ast.AST:
    try:
        return ast.parse(text)
    except SyntaxError:  # part of a longer line, such as a lambda among arguments
        return ast.Module([], [])


def _pullback(text: str) -> str:
    """The inner function named vjp, or the lambda that the op returns."""
    tree = _parsed(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "vjp":
            lines = text.splitlines()[node.lineno - 1 : node.end_lineno]
            return textwrap.dedent("\n".join(lines))
    for node in ast.walk(tree):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
            if isinstance(node.value.elts[-1], ast.Lambda):
                return ast.get_source_segment(text, node.value.elts[-1]) or ""
    return ""


def _called(function: Callable) -> Iterator[Callable]:
    """minitx's own functions that ``function`` reaches, each once; of a kernel, its reference."""
    seen, waiting = {function}, [function]
    while waiting:
        caller = waiting.pop(0)
        for found in _mentioned(caller):
            found = found.ref if isinstance(found, Kernel) else found
            ours = isinstance(found, FunctionType) and found.__module__.startswith(_OURS)
            if ours and found not in seen and "check" not in found.__name__:
                seen.add(found)
                waiting.append(found)
                yield found


def _mentioned(function: Callable) -> Iterator[Any]:
    """What ``function`` names: globals, and ``kernels.<name>``."""
    for node in ast.walk(_parsed(_text(function))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "kernels":
                yield getattr(kernels, node.attr, None)
        elif isinstance(node, ast.Name):
            yield getattr(function, "__globals__", {}).get(node.id)
