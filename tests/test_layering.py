"""The order of the house: a module imports only what stands above it in the table below."""

from __future__ import annotations

import ast
import pathlib
import re
import sys

import pytest
from isolated import run

import minitx
from minitx import jitcache

ROOT = pathlib.Path(minitx.__file__).parent

# Level, folder, files.  A folder's __init__ comes after its files, minitx/__init__ after all.
HOUSE = """
    0  .                coretype memory threads jitcache jit simd packing tasks
    1  kernels          scalar sums activation embedding linalg norm optimizer softmax dropout
    1  kernels          patches resize pool batch_norm conv_blocks conv
    1  kernels          attention_tiles attention_heads attention decode performer
    1  .                observer operators
    2  .                tensor
    3  ops              checks activation arithmetic dropout embedding linalg norm reduce shape
    3  ops              softmax loss attention performer patches resize conv pool
    3  .                gradcheck flops
    3  trace            place unfold record table recorder nonfinite
    4  nn               module layers positions patches attention transformer images
    4  .                optim
    4  checkpoint       errors atomic names npz safetensors configs pretrained
    4  text             base stream characters unicode8 cleaning merges pretokenize
    4  text             tokenizer_json batch subwords bpe wordpiece loading
    4  data             text shuffled parts library labelled passages following tagged sources
    4  data             spans dates digits scenes idx cifar folder augment batches encoded
    5  models.official  gpt vit mae t2t_vit transformer bert resnet
    5  models.bert      model inputs pretraining finetune
    5  models           sampling gpt gpt_finetune decoding transformer vit mae t2t_vit resnet
    5  models           registry
    5  train            evaluate log terminal trainer
    6  .                warmup selftest doctor
    6  oracle           literal tolerance bundle conventions dump dump_command
    6  oracle           cases conformance judge conformance_command
    6  oracle           measure port replay shapes updates diff
    6  oracle.mistakes  registry norm linear attention loss embedding anywhere
    6  oracle           diagnose verdict diff_command
    6  report           figures formulas maps sources contents page
    7  .                cli __main__
"""
INSTALLED = {"numpy", "numba", "llvmlite"}  # all that minitx needs; Numba brings the last


def listed():
    """Module names in the order of the table, relative to minitx; that itself is ""."""
    rows = [row.split() for row in HOUSE.strip().splitlines()]
    levels = [int(level) for level, *_ in rows]
    assert levels == sorted(levels)
    order: list[str] = []
    for i, (_, folder, *files) in enumerate(rows):
        order += [file if folder == "." else f"{folder}.{file}" for file in files]
        if folder != "." and folder not in {row[1] for row in rows[i + 1 :]}:
            order.append(folder)
    return [*order, ""]


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports(tree):
    """(node, inside a function) of each import that is executed."""
    stack = [(tree, False)]
    while stack:
        node, inside = stack.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, inside
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        stack += [(child, inside) for child in ast.iter_child_nodes(node)]


def names(node, module, is_package):
    """Absolute names that one import statement asks for: "numpy", "minitx.ops.linalg"."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module.split(".") if node.module else []
    if node.level:
        here = ["minitx", *module.split(".")] if module else ["minitx"]
        up = node.level - is_package
        base = here[: len(here) - up] + base
    full = ".".join(base)
    return [f"{full}.{a.name}" if f"{full}.{a.name}"[7:] in ORDER else full for a in node.names]


ORDER = listed()


def faults(module, text, is_package=False):
    """What ``module`` may not import and does."""
    for node, inside in imports(ast.parse(text)):
        for name in names(node, module, is_package):
            top, _, rest = name.partition(".")
            if top != "minitx":
                if not inside and top not in sys.stdlib_module_names | INSTALLED:
                    yield f"{module}: {name}, at module level"
            elif rest not in ORDER:
                yield f"{module}: {name} is not in the table"
            elif ORDER.index(rest) >= ORDER.index(module):
                yield f"{module}: {name} stands below it"


def test_the_table_lists_every_file():
    assert len(set(ORDER)) == len(ORDER)
    missing, gone = set(FILES) - set(ORDER), set(ORDER) - set(FILES)
    assert not missing, f"give these a place in the table above: {sorted(missing)}"
    assert not gone, f"these are in the table above, and nowhere else: {sorted(gone)}"


@pytest.mark.parametrize("module", FILES, ids=lambda name: name or "minitx")
def test_imports_point_upwards(module):
    path = FILES[module]
    assert list(faults(module, path.read_text(), path.name == "__init__.py")) == []


@pytest.mark.parametrize(
    ("module", "text", "found"),
    [
        ("tensor", "from .ops import add", "ops stands below it"),
        ("tensor", "from . import ops", "ops stands below it"),
        ("tensor", "def f():\n    from .ops.shape import pad", "ops.shape stands below it"),
        ("ops.linalg", "from ..nn import Module", "nn stands below it"),
        ("ops.linalg", "import minitx", "minitx stands below it"),
        ("ops.linalg", "from .. import Tensor", "minitx stands below it"),
        ("ops.linalg", "from . import shape", "ops.shape stands below it"),
        ("jit", "import matplotlib.pyplot", "at module level"),
        (
            "jit",
            "try:\n    from scipy import special\nexcept ImportError:\n    pass",
            "module level",
        ),
        ("jit", "from minitx.threads import call", ""),
        ("ops.linalg", "from .. import kernels\nfrom ..kernels.norm import layer_norm", ""),
        ("ops.linalg", "import os.path\nimport numpy as np\nfrom numba.core import config", ""),
        ("ops.linalg", "def draw():\n    import matplotlib", ""),
        ("ops.linalg", "if TYPE_CHECKING:\n    from .. import nn", ""),
    ],
)
def test_the_test_itself(module, text, found):
    said = list(faults(module, text))
    assert len(said) == bool(found) and all(found in fault for fault in said)


@pytest.mark.parametrize("module", FILES, ids=lambda name: name or "minitx")
def test_files_stay_small(module):
    lines = FILES[module].read_text().splitlines()
    assert len(lines) < (300 if module == "tensor" else 401)
    assert [i for i, line in enumerate(lines, 1) if len(line) > 100] == []


def test_whatever_is_compiled_counts_among_the_sources_of_the_cache():
    compiles = re.compile(r"^ *@(jit|intrinsic|overload|numba\.njit)\b", re.MULTILINE)
    found = {path for path in FILES.values() if compiles.search(path.read_text())}
    assert len(found) > 15 and found <= set(jitcache._sources())


def test_larger_packages_are_loaded_when_asked_for():
    code = """
        import sys
        import minitx
        assert "minitx.models" not in sys.modules
        assert minitx.models is sys.modules["minitx.models"]
        assert set(minitx.__all__) <= set(dir(minitx))
        try:
            minitx.modles
        except AttributeError as error:
            print(error)
    """
    output = run(code)
    assert output.strip() == "module 'minitx' has no attribute 'modles'"
