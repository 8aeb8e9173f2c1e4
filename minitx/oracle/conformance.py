"""Every op in small cases on disk, for programs that compute the same; judge.py judges these.

The folder has a folder for each case of cases.py.  It holds ``case.txt`` and an array a file,
``input.<name>.bin`` and ``expected.<name>.bin``: bare numbers, little-endian, C order.
``case.txt`` has lines of words:

    minitx-case 1
    op layer_norm
    option eps 1e-05
    input x float64 <crc32> <axes> <size of each axis>
    input cotangent float64 ...
    expected output float64 <crc32> <tolerance> <tolerance in float64> <axes> <size of each axis>
    expected grad.x float64 ...

``output`` is the op's value, ``grad.x`` the gradient of sum(cotangent * output) with respect to x.
The parameters are those of ``minitx.ops``, whose docstrings say what each op does.

Options are numbers, words, true, false, none, or numbers joined by commas, one for each axis, which
may be pairs, joined by semicolons.  Parts of an index are joined by semicolons: ``1:5:2`` is a
slice, ``...`` as in NumPy, ``none`` a new axis, ``@index.0`` an input.  Where random numbers are
drawn, ``key`` seeds our dropout, and the boolean input ``kept`` says which elements survive it.

A program is run once for each case.  It reads the case's folder and writes ``output.bin`` and
``grad.<name>.bin``, in float32 or float64, where it is told.  ``index.txt`` lists the cases: name,
op, CRC-32 of ``case.txt``; its last line is ``end`` and the CRC-32 of the lines above.
"""

from __future__ import annotations

import copy
import fnmatch
import inspect
import pathlib
import zlib
from typing import Any

import numpy as np

from .. import kernels
from ..jit import use_kernels
from ..tensor import OPS, Tensor
from .bundle import BundleError, Path
from .cases import CASES, Draw, arguments
from .tolerance import largest, strict, tolerance


def write(folder: Path, pattern: str = "*") -> list[str]:
    """Write all cases whose names fit the pattern, and the index.  Returns their names.

    Raises BundleError on a folder that holds something else, and if nothing fits.
    """
    folder = pathlib.Path(folder)
    found = {x.name for x in folder.iterdir()} if folder.exists() else set()
    if "index.txt" not in found and found - CASES.keys():
        strange = min(found - CASES.keys())
        raise BundleError(f"{folder}: there is something else in it, {strange}; expected a new one")
    names = [name for name in CASES if fnmatch.fnmatchcase(name, pattern)]
    if not names:
        raise BundleError(f"no case fits {pattern!r}; there are {', '.join(CASES)}")
    lines = [f"minitx-conformance 1 {len(names)}\n"]
    (folder / "index.txt").unlink(missing_ok=True)  # until the end, it is no folder of cases
    for name in names:
        text = _write_case(folder / name, name)
        lines.append(f"{name} {_op(name)} {zlib.crc32(text.encode()):08x}\n")
    text = "".join(lines)
    (folder / "index.txt").write_text(f"{text}end {zlib.crc32(text.encode()):08x}\n", newline="\n")
    return names


def _write_case(folder: pathlib.Path, name: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    with use_kernels("ref"):
        wide, narrow = _run(name, np.float64), _run(name, np.float32)
    options, inputs = _described(name)
    inputs["cotangent"] = wide["cotangent"]
    lines = [f"minitx-case 1\nop {_op(name)}\n"]
    lines += [f"option {key} {text}\n" for key, text in options.items()]
    for key, x in inputs.items():
        lines.append(f"input {key} {_array(folder / f'input.{key}.bin', x)} {_sizes(x)}\n")
    results = {key: x for key, x in wide.items() if key != "cotangent"}
    size = largest(results)
    for key, x in results.items():
        loose = tolerance(f"{name} {key}", x, narrow[key], size)
        told = f"{_array(folder / f'expected.{key}.bin', x)} {loose:.3e} {strict(x, size):.3e}"
        lines.append(f"expected {key} {told} {_sizes(x)}\n")
    text = "".join(lines)
    (folder / "case.txt").write_text(text, newline="\n")
    return text


def _op(name: str) -> str:
    return name.partition(".")[0]


def _run(name: str, dtype: Any) -> dict[str, np.ndarray]:
    """The output, the cotangent and the gradients of a case, computed in ``dtype``."""
    args, options = arguments(name)
    tensors = {}
    for i, (key, x) in enumerate(zip(_names(name, args), args, strict=True)):
        if isinstance(x, np.ndarray) and x.dtype.kind == "f":
            args[i] = tensors[key] = Tensor(x.astype(dtype), requires_grad=True)
    y = OPS[_op(name)](*args, **options)
    cotangent = Draw(f"{name}, cotangent")(*y.shape).astype(y.dtype)
    y.backward(cotangent)
    grads = {f"grad.{key}": x.grad for key, x in tensors.items() if x.grad is not None}
    return {"cotangent": cotangent, "output": y.data, **grads}


def _names(name: str, args: list) -> list[str]:
    """The parameter that takes each positional argument; of ``*xs``: xs.0, xs.1, ..."""
    names: list[str] = []
    for key, parameter in inspect.signature(OPS[_op(name)]).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{key}.{i}" for i in range(len(args) - len(names))]
        elif parameter.kind is not parameter.KEYWORD_ONLY:
            names.append(key)
    return names[: len(args)]


def _described(name: str) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """A case's options as text, and its inputs."""
    args, given = arguments(name)
    bound = inspect.signature(OPS[_op(name)]).bind(*args, **given)
    bound.apply_defaults()
    options: dict[str, str] = {}
    inputs: dict[str, np.ndarray] = {}
    for key, x in bound.arguments.items():
        if isinstance(x, np.random.Generator):
            drawn = copy.deepcopy(x).integers(0, 2**64, dtype=np.uint64)
            options["key"], inputs["kept"] = str(drawn), _kept(bound.arguments, drawn)
        elif key == "index":
            parts = list(x) if isinstance(x, tuple) else [x]
            for i, part in enumerate(parts):
                if isinstance(part, np.ndarray):
                    parts[i] = f"@index.{i}"
                    inputs[f"index.{i}"] = part
            options[key] = ";".join(map(_text, parts))
        elif isinstance(x, np.ndarray):
            inputs[key] = x
        elif isinstance(x, tuple) and x and isinstance(x[0], np.ndarray):
            inputs |= {f"{key}.{i}": item for i, item in enumerate(x)}
        elif key != "rng":
            options[key] = _text(x)
    return options, inputs


def _kept(given: dict[str, Any], key: np.uint64) -> np.ndarray:
    """Which elements our dropout keeps: of x, or of attention's probabilities (B, H, T, S)."""
    p = given["dropout"] if "dropout" in given else given["p"]
    shape = given["x"].shape if "x" in given else None
    if shape is None and "qkv" in given:
        B, T, _ = given["qkv"].shape
        shape = B, given["heads"], T, T
    elif shape is None:
        shape = *given["q"].shape[:3], given["k"].shape[2]
    return kernels.dropout.ref(np.ones(shape), p, key) > 0


def _text(x: Any) -> str:
    """A setting as a word."""
    if x is None or isinstance(x, bool):
        return str(x).lower()
    if x is Ellipsis:
        return "..."
    if isinstance(x, slice):
        parts = [x.start, x.stop] if x.step is None else [x.start, x.stop, x.step]
        return ":".join("" if part is None else str(part) for part in parts)
    if isinstance(x, tuple | list):
        nested = any(isinstance(item, tuple | list) for item in x)
        if len(x) == 1 and nested:  # reshape(x, (2, 3)) is reshape(x, 2, 3)
            return _text(x[0])
        return (";" if nested else ",").join(map(_text, x)) or "none"
    return str(x)


def _array(path: pathlib.Path, x: np.ndarray) -> str:
    """Write an array; returns its dtype and CRC-32."""
    data = np.ascontiguousarray(x, x.dtype.newbyteorder("<")).tobytes()
    path.write_bytes(data)
    return f"{x.dtype.name} {zlib.crc32(data):08x}"


def _sizes(x: np.ndarray) -> str:
    return " ".join(map(str, [x.ndim, *x.shape]))
