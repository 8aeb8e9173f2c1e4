"""The door to Numba: which form runs, what is compiled and when, where machine code is kept."""

from __future__ import annotations

import ast
import os
import pathlib
import shutil
import tempfile
import threading
import time
import types

import isolated
import numpy as np
import pytest
from isolated import HERE, PACKAGE

from minitx import jit, jitcache
from minitx import kernels as K
from minitx.jit import Compiled, Kernel, chosen, use_kernels


def in_thread(function):
    """Its result, computed by a thread of its own."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


# Which form runs


@pytest.fixture
def both_forms(monkeypatch):
    """As if Numba were at work, and nothing set, whatever the environment says."""
    monkeypatch.setattr(jit, "COMPILED", True)
    monkeypatch.setattr(jit, "_default", "jit")


def test_use_kernels_nests_and_ends(both_forms):
    assert chosen() == "jit"
    with use_kernels("ref"):
        assert chosen() == "ref"
        with use_kernels("jit"):
            assert chosen() == "jit"
        assert chosen() == "ref"
        with pytest.raises(KeyError), use_kernels("jit"):
            raise KeyError
        assert chosen() == "ref"
    assert chosen() == "jit"


def test_use_kernels_is_per_thread(both_forms):
    with use_kernels("ref"):
        assert in_thread(chosen) == "jit"
    assert chosen() == "jit"


@pytest.mark.parametrize("name", ["numba", "", None, "JIT"])
def test_use_kernels_refuses_other_names(both_forms, name):
    with pytest.raises(ValueError, match="use_kernels: .* use 'ref' or 'jit'"):
        with use_kernels(name):
            pass
    assert chosen() == "jit"


def test_without_numba_it_is_always_ref(monkeypatch):
    monkeypatch.setattr(jit, "COMPILED", False)
    with use_kernels("jit"):
        assert chosen() == "ref"


def test_a_kernel_dispatches(both_forms):
    def twice_ref(x):
        """Twice."""
        return "ref", 2 * x

    pair = Kernel(twice_ref, lambda x: ("jit", 2 * x), rows="")
    assert pair(1) == pair.jit(1) == ("jit", 2)
    with use_kernels("ref"):
        assert pair(1) == pair.ref(1) == ("ref", 2)
        assert pair.jit(1) == ("jit", 2)
    assert pair.name == "twice" and pair.__doc__ == "Twice." and repr(pair) == "<kernel twice>"


def test_two_kernels_of_one_name_are_refused():
    def softmax_ref(x):
        return x

    with pytest.raises(ValueError, match="already a kernel named 'softmax'"):
        jit.kernel(softmax_ref, softmax_ref)
    assert jit.KERNELS["softmax"] is K.softmax


def test_the_environment_chooses():
    program = "from minitx.jit import chosen; print(chosen())"
    assert isolated.run(program, MINITX_KERNELS="ref") == "ref"
    _, error = isolated.start(program, MINITX_KERNELS="fast").communicate(timeout=60)
    assert "ValueError: MINITX_KERNELS is 'fast'; it must be 'ref' or 'jit'" in error


def test_children():
    """GNU OpenMP ends a forked child that uses its parent's pool."""
    assert isolated.run(HERE / "children.py", NUMBA_NUM_THREADS=2).splitlines() == [
        "forked before jit True",
        "here jit True",
        "forked after ref True",
        "forked by hand 0",
        "spawned jit True",
        "here jit True",
    ]


# What is compiled, and when


def test_nothing_is_compiled_twice():
    """Layouts, read-only arrays, leading axes and kinds of scalars cost no compilation."""
    out = isolated.run(
        """
        import gc
        import kernel_arguments_images
        import numpy as np
        from hypothesis import given, settings
        from kernel_arguments import ARGUMENTS
        from minitx.jit import KERNELS, Compiled

        def exercise(kernel, arguments):
            @settings(max_examples=40, derandomize=True, database=None, deadline=None)
            @given(arguments)
            def run(args):
                with np.errstate(all="ignore"):
                    kernel.jit(*args)
            run()

        for name in ARGUMENTS:
            exercise(KERNELS[name], ARGUMENTS[name])
        for each in gc.get_objects():
            if isinstance(each, Compiled):
                name, count = each.dispatcher.py_func.__name__, len(each.dispatcher.overloads)
                if not 1 <= count <= 2:
                    print(name, each.dispatcher.signatures)
        """
    )
    assert out == ""  # two dtypes each


def test_odd_inputs():
    """Files mapped into memory, empty rows, single numbers."""
    x = np.random.default_rng(0).normal(size=(6, 4))
    with tempfile.TemporaryFile() as file:
        mapped = np.memmap(file, x.dtype, "w+", shape=x.shape)
        mapped[:] = x
        np.testing.assert_allclose(K.softmax.jit(mapped[::2, ::-1]), K.softmax.ref(x[::2, ::-1]))
        np.testing.assert_allclose(K.matmul.jit(mapped, mapped.T), x @ x.T)
        single = np.memmap(file, np.float32, "w+", shape=x.shape)  # of a dtype of its own
        single[:] = x
        np.testing.assert_allclose(K.softmax.jit(single), K.softmax.ref(x), rtol=1e-5)
        np.testing.assert_allclose(K.matmul.jit(single, single.T), x @ x.T, rtol=1e-4)
    for shape in (0, 4), (3, 0), (2, 0, 4), (0,):
        assert K.softmax.jit(np.ones(shape)).shape == shape
        assert K.column_sums.jit(np.ones(shape)).shape == shape[-1:]
    assert K.softmax.jit(np.array(2.0)) == K.softmax.ref(np.array(2.0))


class Slow:
    """A dispatcher that takes its time."""

    strided = frozenset()

    @staticmethod
    def py_func(x):
        return x

    def compile(self, signature):
        time.sleep(0.05)
        return self.py_func


def test_long_compilations_are_announced_once(monkeypatch, capsys):
    monkeypatch.setattr(jit, "_told", threading.Event())
    monkeypatch.setattr(jit, "_CACHE", None)
    Compiled(Slow())(1)
    assert capsys.readouterr().err == ""  # that was short
    monkeypatch.setattr(jit, "_PATIENCE", 0.001)
    slow = Compiled(Slow())
    assert slow(1) == 1 and slow(1.0) == 1.0
    assert capsys.readouterr().err == "minitx: compiling kernels (once) ...\n"


def test_it_works_without_a_cache(monkeypatch):
    monkeypatch.setattr(jit, "_CACHE", None)

    @jit.jit
    def add(x, y):
        return x + y

    assert jit.compiled(add)(1, 2) == 3


# Where machine code is kept


@pytest.fixture
def homeless(monkeypatch, tmp_path):
    """No variable names a folder; a user's cache and a temporary folder would be below tmp_path."""
    monkeypatch.delenv("MINITX_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path


def test_the_cache_is_where_the_environment_says(homeless, monkeypatch):
    assert jitcache.cache_folder().parent == homeless / "user" / "minitx"
    monkeypatch.setenv("MINITX_CACHE_DIR", str(homeless / "named"))
    folder = jitcache.cache_folder()
    assert folder.parent == homeless / "named" and folder.is_dir()
    assert folder.stat().st_mode & 0o077 == 0
    assert list(folder.iterdir()) == []


def test_the_cache_falls_back(homeless, monkeypatch):
    file = homeless / "file"
    file.touch()
    monkeypatch.setenv("MINITX_CACHE_DIR", str(file / "below"))
    with pytest.warns(RuntimeWarning, match="MINITX_CACHE_DIR: .*below is not a folder that you"):
        assert jitcache.cache_folder().parent == homeless / "user" / "minitx"
    monkeypatch.delenv("MINITX_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    assert jitcache.cache_folder().parent == homeless / "temporary" / f"minitx-{os.getuid()}"
    monkeypatch.setattr(tempfile, "tempdir", str(file))
    assert jitcache.cache_folder() is None


def test_there_may_be_neither_home_nor_temporary_folder(homeless, monkeypatch):
    def nowhere(*_):
        raise RuntimeError

    def full():
        raise FileNotFoundError

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(pathlib.Path, "home", nowhere)
    assert jitcache.cache_folder().parent.parent == homeless / "temporary"
    monkeypatch.setattr(tempfile, "gettempdir", full)
    assert jitcache.cache_folder() is None


@pytest.mark.parametrize(
    ("folder", "parent", "usable"),
    [
        ((1000, 0o700), (1000, 0o755), True),
        ((1000, 0o755), (1000, 0o700), True),
        ((1000, 0o700), (0, 0o1777), True),  # /tmp itself
        ((1001, 0o700), (1000, 0o700), False),  # another user's
        ((0, 0o700), (1000, 0o700), False),
        ((1000, 0o777), (1000, 0o700), False),  # where others may write
        ((1000, 0o770), (1000, 0o700), False),
        ((1000, 0o700), (1001, 0o755), False),  # which its owner could exchange
        ((1000, 0o700), (1000, 0o777), False),  # which anybody could exchange
    ],
)
def test_a_folder_that_others_can_change_is_refused(folder, parent, usable):
    path = pathlib.Path("/parent/folder")
    stats = {path: folder, path.parent: parent}

    def stat(self, **_):
        uid, mode = stats[self]
        return types.SimpleNamespace(st_uid=uid, st_mode=0o040000 | mode)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "getuid", lambda: 1000)
        patch.setattr(pathlib.Path, "stat", stat)
        answer = jitcache._is_private(path)
    assert answer is usable


def test_another_users_cache_is_passed_over(homeless, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: homeless.stat().st_uid + 1)
    assert jitcache.cache_folder() is None


def test_one_process_at_a_time_compiles(tmp_path):
    entered = threading.Event()

    def enter(folder):
        with jitcache.alone(folder):
            entered.set()

    with jitcache.alone(tmp_path):
        other = threading.Thread(target=enter, args=[tmp_path])
        other.start()
        assert not entered.wait(0.1)
    assert entered.wait(10)
    other.join()
    for folder in None, tmp_path / "gone":
        enter(folder)


def test_the_life_of_a_cache(tmp_path):
    """Two processes fill it at once; the package is read-only; an edit in a helper is seen."""
    package, cache = tmp_path / "copy" / "minitx", tmp_path / "cache"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "__init__.py").write_text("")
    program = """
        import numpy as np
        from minitx import jit, kernels as K
        y = K.dropout.jit(np.ones((2, 2)), 0.0, np.uint64(1))
        hits = K.dropout.twin.dispatcher.stats.cache_hits
        print(jit._CACHE.parent, y.sum(), sum(hits.values()))
    """

    def start():
        settings = {"MINITX_CACHE_DIR": cache, "PYTHONDONTWRITEBYTECODE": 1}
        return isolated.start(program, package=package, **settings)

    paths = sorted(package.rglob("*"))
    for path in (package, *paths):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        pair = [start(), start()]
        outputs = sorted(isolated.finish(process) for process in pair)
        assert outputs == [f"{cache} 4.0 0", f"{cache} 4.0 1"]  # one compiled, one waited
        assert isolated.finish(start()) == f"{cache} 4.0 1"
        assert sorted(package.rglob("*")) == paths
    finally:
        for path in (package, *paths):
            path.chmod(0o755 if path.is_dir() else 0o644)
    helper = package / "kernels" / "scalar.py"
    text = helper.read_text()
    assert text.count("2.0**-53") == 1
    helper.write_text(text.replace("2.0**-53", "-1.0"))  # every draw is now below every p
    assert isolated.finish(start()) == f"{cache} 0.0 0"


# The rules of the house, by the syntax tree

TREES = {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def name_of(node):
    """Of the function that a call calls, without its module."""
    return ast.unparse(node.func).split(".")[-1] if isinstance(node, ast.Call) else None


def test_numba_has_one_door():
    importers = set()
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "numba" for name in names):
                importers.add(path.name)
    assert importers == {"jit.py", "packing.py", "simd.py", "tasks.py", "threads.py"}


def test_fastmath_is_a_set_of_flags_and_said_once():
    said = [
        (path.name, ast.unparse(node.value))
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "fastmath"
    ]
    assert said == [("jit.py", "EXACT_FLAGS if exact else FLAGS")]
    assert jit.FLAGS == {"contract", "reassoc", "arcp", "nsz", "afn"}  # neither nnan nor ninf
    assert jit.EXACT_FLAGS == {"contract"}


def test_there_is_one_parallel_loop():
    """All kernels share it, so that no other is compiled; elsewhere prange is a plain range."""
    loops, parallel = [], []
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and any(
                "parallel=True" in ast.unparse(decorator) for decorator in node.decorator_list
            ):
                parallel += [(path.name, node.name)]
                loops += [path.name for x in ast.walk(node) if name_of(x) == "prange"]
    mentions = sum(
        "prange" in (getattr(node, "id", ""), getattr(node, "attr", ""))
        for tree in TREES.values()
        for node in ast.walk(tree)
    )
    assert parallel == [("tasks.py", "_loop")] and loops == ["tasks.py"] and mentions == 1


def test_every_compiled_function_comes_through_the_door():
    """``numba.njit`` stands in jit.py, and once more for the parallel loop."""
    said = sorted(
        path.name
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in ("njit", "jit", "vectorize")
        and ast.unparse(node.value) == "numba"
    )
    assert said == ["jit.py", "tasks.py"]
