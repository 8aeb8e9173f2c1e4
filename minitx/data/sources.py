"""More text to pre-train on: Python sources beside the standard library's public modules.

Those are its private modules and programs (idlelib, lib2to3), and the packages that this one runs
on, NumPy, Numba and llvmlite, as installed; without tests.  No task here takes its texts from
them.  Like the library's they are read and parsed, never imported.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from .library import modules, source_files, stdlib, words
from .passages import parted
from .tagged import code_passages

PACKAGES = ("numpy", "numba", "llvmlite")

Documents = dict[Path, list[tuple[str, ...]]]  # what was found in each file that has some

_COMMENT = re.compile(r"(?:^[ \t]*#.*\n)+", re.MULTILINE)
_HASH = re.compile(r"^[ \t]*#+ ?", re.MULTILINE)


def prose(max_length: int = 120, every: int = 1) -> Documents:
    """Docstrings, of private objects too, and comments of several lines.

    Each is a document of two or more passages of at most max_length characters.  Of those with the
    same words the first counts.  every: 2 reads only each second file, and so on.
    """
    known: set[str] = set()
    found: Documents = {}
    for file in _files()[::every]:
        for text in _texts(file):
            passages, key = parted(text, max_length), " ".join(words(text))
            if len(passages) > 1 and key not in known:
                known.add(key)
                found.setdefault(file, []).append(passages)
    return found


def code(max_words: int = 24, every: int = 1) -> Documents:
    """A file's words, as `python_tags` has them: one document, each passage some whole lines.

    max_words: of a passage.  every: as of `prose`.
    """
    found = {}
    for file in _files()[::every]:
        passages = tuple(code_passages(_read(file)[0], max_words))
        if len(passages) > 1:
            found[file] = [passages]
    return found


def _files() -> list[Path]:
    """In order; of a package that is not installed none."""
    specs = [importlib.util.find_spec(name) for name in PACKAGES]
    roots = [stdlib(), *(Path(spec.origin).parent for spec in specs if spec and spec.origin)]
    found = set()
    for root in roots:
        for file in root.rglob("*.py"):
            if not {"test", "tests", "site-packages"} & set(file.relative_to(root).parts):
                found.add(file)
    return sorted(found - {f for name in modules() for f in source_files("sources", name)})


@cache
def _read(file: Path) -> tuple[str, ast.Module]:
    """Source and tree, empty if it is not UTF-8, or not Python of this release."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Python finds odd in it is not our business
        try:
            source = file.read_text(encoding="utf-8")
            return source, ast.parse(source)
        except (SyntaxError, ValueError):
            return "", ast.Module([], [])


def _texts(file: Path) -> Iterator[str]:
    """Docstrings, then comments."""
    source, tree = _read(file)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield ast.get_docstring(node) or ""
    for match in _COMMENT.finditer(source):
        yield _HASH.sub("", match.group())
