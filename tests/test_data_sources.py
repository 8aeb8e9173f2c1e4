import sys
import sysconfig

import pytest

from minitx.data import sources, without
from minitx.data.sources import code, prose

FILE = '''
# One comment.

# A comment of two passages is a document.
#
#   It has a second paragraph.

def _hidden(n):
    """Say something.

    Say more.
    """
    return n + 1


def again():
    """Say something.

    Say more!
    """
'''


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A standard library of one public and two other modules; no packages."""
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(sys, "stdlib_module_names", frozenset({"public", "_private"}))
    monkeypatch.setattr(sources, "PACKAGES", ("no_such_package_here",))
    for name in ("public", "_private", "idlelib/a", "idlelib/broken", "test/b", "x/tests/c"):
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("print 'Python 2'\n" if "broken" in name else FILE, encoding="utf-8")
    return tmp_path


def test_prose_is_docstrings_and_comments_of_other_modules_once(small):
    found = prose()
    assert found == {
        small / "_private.py": [
            ("Say something.", "Say more."),
            ("A comment of two passages is a document.", "It has a second paragraph."),
        ]
    }
    cut = prose(max_length=20)[small / "_private.py"][1]
    assert cut == ("A comment of two", "It has a second")


def test_code_is_in_passages_of_whole_lines(small):
    found = code(max_words=12)
    assert list(found) == [small / "_private.py", small / "idlelib/a.py"]
    (document,) = found[small / "_private.py"]
    assert document[-1].startswith("return n + 1 def again ( ) :")
    assert all(len(passage.split(" ")) <= 24 for passage in document)
    assert list(code(12, every=2)) == [small / "_private.py"]  # of three files, one broken


def test_packages_as_installed_without_tests():
    parts = [file.parts for file in sources._files()]
    for package in ("numpy", "numba", "llvmlite", "idlelib"):
        assert any(package in part for part in parts)
    assert not any("tests" in part[part.index("numpy") :] for part in parts if "numpy" in part)


def test_without_what_shares_a_run_of_words():
    documents = [("a b c", "d e f"), ("A, b; c d",), ("b c",), ("x",)]
    assert without(documents, ["c d e f"], run=3) == documents[1:]
    assert without(documents, ["C-D"], run=3) == documents[2:]  # a short text counts as a whole
    assert without(documents, []) == documents
