"""Python's standard library as material: sources are read and parsed, never imported.

An import may act; parsing may not.  What is found changes with the Python release, and with what
of its library is installed (tkinter is often left out), so figures compare within one installation.
"""

from __future__ import annotations

import ast
import re
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

# Programs rather than modules to use; Python 2 in lib2to3; the help texts are read elsewhere.
LEFT_OUT = {"antigravity", "idlelib", "lib2to3", "pydoc_data", "test", "this", "turtledemo"}

_ABBREVIATED = "".join(rf"(?<!\b{short}\.)" for short in (r"e\.g", r"i\.e", "etc", "cf", "vs"))
_SENTENCE_END = re.compile(rf"(?<=[.!?]){_ABBREVIATED}\s+(?=[A-Z\"'`*(])")


@dataclass(frozen=True)
class Described:
    """A public module, class, function or method, and what it says about itself."""

    module: str  # "email.message"
    name: str  # "Message.get_payload"; "" for the module itself
    text: str  # the docstring, without common indentation


def modules() -> list[str]:
    """The public top-level modules and packages of this Python whose sources are installed."""
    root = stdlib()
    public = sorted(set(sys.stdlib_module_names) - LEFT_OUT)
    found = (name for name in public if not name.startswith("_"))
    return [n for n in found if (root / n).is_dir() or (root / f"{n}.py").is_file()]


def source_files(who: str, name: str) -> list[Path]:
    """The sources of a module or package, without private parts and tests.

    Raises FileNotFoundError, in the name of ``who``, if there are none.
    """
    root = stdlib()
    files = sorted((root / name).rglob("*.py")) or [root / f"{name}.py"]
    if not files[0].is_file():
        raise FileNotFoundError(
            f"{who}: {root} has no source of {name!r}; name packages that this "
            "Python ships, or install its standard library with sources"
        )
    return [file for file in files if _is_public(file.relative_to(root).with_suffix("").parts[1:])]


def described(who: str, name: str) -> Iterator[Described]:
    """What the public objects of a module or package say, in the order of their sources."""
    root = stdlib()
    for file in source_files(who, name):
        parts = file.relative_to(root).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        for path, text in _docstrings(ast.parse(file.read_bytes()), ()):
            yield Described(module, ".".join(path), text)


def library() -> tuple[Described, ...]:
    """All that `modules` describe; of texts that have the same words, the first one."""
    return _library(str(stdlib()))


@cache
def _library(root: str) -> tuple[Described, ...]:
    first: dict[str, Described] = {}
    for name in modules():
        for found in described("library", name):
            first.setdefault(" ".join(words(found.text)), found)
    first.pop("", None)
    return tuple(first.values())


def stdlib() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def words(text: str) -> list[str]:
    """Runs of letters, in lower case; digits and punctuation do not count."""
    return re.findall(r"[^\W\d_]+", text.lower())


def paragraphs(text: str) -> list[str]:
    """Parted at empty lines, white space made single spaces.

    Without interactive examples (">>>"), and without lines that have no letter or digit, which
    underline titles or draw.
    """
    found = []
    for block in re.split(r"\n\s*\n", text):
        if not block.lstrip().startswith(">>>"):
            lines = [line for line in block.splitlines() if re.search(r"[^\W_]", line)]
            found.append(" ".join(" ".join(lines).split()))
    return [paragraph for paragraph in found if paragraph]


def sentences(paragraph: str) -> list[str]:
    """Parted after . ! or ? where white space and a capital, a quote or a bracket follow."""
    return _SENTENCE_END.split(paragraph)


def _is_public(inside: tuple[str, ...]) -> bool:
    """inside: where a file lies in its package; () for a single module."""
    private = any(part.startswith("_") and part != "__init__" for part in inside)
    return not private and not {"test", "tests"} & set(inside)


def _docstrings(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Of a module, class or function, then of the public ones that a module or class defines."""
    yield path, ast.get_docstring(node) or ""
    if isinstance(node, (ast.Module, ast.ClassDef)):
        for child in node.body:
            if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                if not child.name.startswith("_"):
                    yield from _docstrings(child, (*path, child.name))
