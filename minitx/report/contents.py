"""Everything the page shows of a trace, as one value that JSON can hold."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from ..trace import Line, Record, Trace
from .figures import describe, rounded, shape, statistics
from .maps import pictures
from .sources import argument_names, source_of


def contents(trace: Trace, title: str, tokens: Sequence[Sequence[str]], examples: int) -> dict:
    """Records in order of execution; lines of source and ops' sources are told once each."""
    lines: dict[Line, int] = {}
    nodes = [_node(x, lines) for x in trace.nodes.values()]
    functions = {x.op: x.function for x in trace.nodes.values() if x.function is not None}
    return {
        "title": title,
        "minitx": sys.modules[__name__.split(".")[0]].__version__,
        "modules": _modules(trace),
        "nodes": nodes,
        "leaves": [_record(x) for x in [*trace.leaves.values(), *_unused(trace)]],
        "lines": [[str(line), line.function, line.text] for line in lines],
        "ops": {name: source_of(name, function) for name, function in functions.items()},
        "maps": pictures(trace.nodes.values(), examples),
        "tokens": [[str(token) for token in row] for row in tokens],
    }


def _record(x: Record) -> dict[str, Any]:
    told: dict[str, Any] = {"name": x.name, "op": x.op, "shape": shape(x.value)}
    told |= {"dtype": str(x.value.dtype), "value": statistics(x.value)}
    if x.grad is not None:
        told["grad"] = statistics(x.grad)
    return told


def _node(x: Record, lines: dict[Line, int]) -> dict[str, Any]:
    assert x.function is not None
    names = argument_names(x.function, len(x.arguments))
    told = _record(x) | {
        "path": x.path,
        "calls": [x.calls.get(path, 0) for path in _around(x.path)],
        "inputs": [[names[i] if i < len(names) else str(i), name] for i, name in x.inputs.items()],
        "lines": [lines.setdefault(line, len(lines)) for line in x.stack],
        "forward": rounded(x.seconds),
        "backward": rounded(x.seconds_backward),
        "bytes": x.bytes,
    }
    given = dict(zip(names, x.arguments, strict=False)) | x.options
    tensors = {names[i] for i in x.inputs if i < len(names)}
    options = {k: describe(v) for k, v in given.items() if k not in tensors and v is not None}
    saved = {k: describe(v) for k, v in x.saved.items()}
    told |= {"options": options} if options else {}
    return told | ({"saved": saved} if saved else {})


def _around(path: str) -> list[str]:
    """ "blocks.0.mlp" -> ["blocks", "blocks.0", "blocks.0.mlp"]"""
    parts = path.split(".") if path else []
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _modules(trace: Trace) -> dict[str, list]:
    """Of each module its class and how many numbers it holds, by its dotted name."""
    if trace.model is None:
        return {"": ["", 0]}
    return {name: [type(x).__name__, x.count()] for name, x in trace.model.named_modules()}


def _unused(trace: Trace) -> list[Record]:
    """Parameters of the model that no op of the run has seen."""
    named = [] if trace.model is None else trace.model.named_tensors()
    return [Record(name, "unused", x.data) for name, x in named if name not in trace.leaves]
