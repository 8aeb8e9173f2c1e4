"""What demos have measured, one JSON file each, so that nothing is measured twice."""

from __future__ import annotations

import json
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any


def measured(
    path: pathlib.Path, function: Callable[[], Any], settings: Any, quiet: bool = False
) -> Any:
    """What ``function()`` returns, as JSON keeps it; computed anew if settings have changed."""
    said = repr(settings)
    if path.exists() and (kept := json.loads(path.read_text()))["settings"] == said:
        return kept["result"]
    if not quiet:
        print(f"  {path.stem} ...", end="", flush=True)
    start = time.process_time()
    result = json.loads(json.dumps(function()))
    seconds = time.process_time() - start
    if not quiet:
        print(f" {seconds:.0f} s of CPU", flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    text = json.dumps({"settings": said, "result": result, "cpu": round(seconds, 1)})
    unfinished.write_text(text)
    os.replace(unfinished, path)
    return result
