"""The page as a file: the template, its style, its scripts and the data, in one."""

from __future__ import annotations

import html
import json
import os
import pathlib
import re
from collections.abc import Sequence

from ..checkpoint.atomic import atomic_write
from ..trace import Trace
from .contents import contents

_HERE = pathlib.Path(__file__).parent
# In the order in which the page needs them.
_SCRIPTS = """
    data tree layout graph charts source attention details overview page selftest
""".split()


def report(
    trace: Trace,
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    tokens: Sequence[str] | Sequence[Sequence[str]] = (),
    examples: int = 1,
) -> pathlib.Path:
    """Write one page, which needs nothing else, that shows all of a traced run.  Returns its path.

        with minitx.trace(model) as t:
            model.loss(ids, targets).backward()
        minitx.report(t, "run.html")

    The graph by module; each op's shapes, statistics, pullback and lines of source; gradients by
    depth; attention; timings.  Open it in a browser, where "?" tells the keys.
    title: the model's class unless given.  examples: how many of the batch have their attention
    drawn.  tokens: what was attended to, as strings, of the first example or of each.
    Raises ValueError on a trace without ops, TypeError on anything else than a trace.
    """
    if not isinstance(trace, Trace):
        raise TypeError(f"report: expected a Trace, as minitx.trace makes it, not {type(trace)}")
    if not trace.nodes:
        raise ValueError("report: the trace has no ops; run the model within `with trace(model)`")
    if title is None:
        title = "A run" if trace.model is None else type(trace.model).__name__
    rows = [tokens] if tokens and isinstance(tokens[0], str) else tokens
    told = contents(trace, title, rows, examples)  # type: ignore[arg-type]
    with atomic_write(path) as file:
        file.write(_page(title, told).encode(errors="replace"))
    return pathlib.Path(path)


def _page(title: str, told: dict) -> str:
    data = json.dumps(told, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    parts = {
        "title": html.escape(title),
        "style": _read("style.css"),
        "data": data.replace("<", "\\u003c"),  # so that no </script> ends the block
        "script": "".join(_read(f"{name}.js") for name in _SCRIPTS),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _read("page.html"))


def _read(name: str) -> str:
    return (_HERE / "web" / name).read_text(encoding="utf-8")
