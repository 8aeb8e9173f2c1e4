"""A port of a few ops, as small as one can be: plain Python and NumPy, no minitx.

    python port_numpy.py CASE OUT [MISTAKE]

It reads a case of the conformance suite and writes what it computes in float64; exit code 77 says
that it does not have the op.  A mistake may be asked for, to see that it is found.
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np

case, out = map(pathlib.Path, sys.argv[1:3])
MISTAKE = sys.argv[3] if len(sys.argv) > 3 else ""


def read():
    """The op, its options as text, and its inputs."""
    op, options, inputs = "", {}, {}
    for line in (case / "case.txt").read_text().splitlines():
        role, *words = line.split()
        if role == "op":
            op = words[0]
        elif role == "option":
            options[words[0]] = words[1]
        elif role == "input":
            name, dtype, _, _, *shape = words
            data = np.fromfile(case / f"input.{name}.bin", dtype)
            inputs[name] = data.reshape([int(n) for n in shape])
    return op, options, inputs


def summed(gradient, shape):
    """Over the axes along which an input was broadcast."""
    gradient = gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))
    axes = tuple(i for i, n in enumerate(shape) if n == 1)
    return gradient.sum(axis=axes, keepdims=True)


def multiply(cotangent, a, b):
    b = np.asarray(b, float)  # or the text of a number
    da, db = cotangent * b, cotangent * a
    return a * b, {"a": summed(da, a.shape), "b": summed(db, b.shape)}


def softmax(cotangent, x, axis):
    axis = int(axis)
    top = x.max(axis=axis, keepdims=True)
    e = np.exp(x - np.where(np.isneginf(top), 0, top))
    y = e / np.maximum(e.sum(axis=axis, keepdims=True), 1e-300)
    inner = 0 if MISTAKE == "softmax" else (cotangent * y).sum(axis=axis, keepdims=True)
    return y, {"x": y * (cotangent - inner)}


def layer_norm(cotangent, x, weight, bias, eps):
    eps = float(eps)
    mean, var = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    scale = 1 / (np.sqrt(var) + eps) if MISTAKE == "eps" else 1 / np.sqrt(var + eps)
    normal = (x - mean) * scale
    d = cotangent * weight
    inner = d.mean(axis=-1, keepdims=True) + normal * (d * normal).mean(axis=-1, keepdims=True)
    rows = tuple(range(x.ndim - 1))
    dweight, dbias = (cotangent * normal).sum(axis=rows), cotangent.sum(axis=rows)
    return normal * weight + bias, {"x": (d - inner) * scale, "weight": dweight, "bias": dbias}


PORT = {"multiply": multiply, "softmax": softmax, "layer_norm": layer_norm}
op, options, inputs = read()
if MISTAKE == "crash":
    raise FloatingPointError("out of numbers")
if op not in PORT:
    sys.exit(77)
output, gradients = PORT[op](**inputs, **options)
kind = np.float32 if MISTAKE == "float32" else np.float64
output.astype(kind).tofile(out / "output.bin")
for name, gradient in gradients.items():
    gradient.astype(kind).tofile(out / f"grad.{name}.bin")
