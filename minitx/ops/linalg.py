"""Matrix products: matmul, einsum for two operands, and the linear layer."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from .. import kernels
from ..observer import disposable
from ..tensor import op
from .activation import activation_index


def _mT(x):
    return x.swapaxes(-1, -2)


@op
def matmul(a, b):
    """a @ b: (..., M, K) @ (..., K, N) -> (..., M, N)

    A vector stands for a single row, or a single column.  Raises ValueError on other shapes.
    """
    if a.ndim == 0 or b.ndim == 0 or a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError(
            f"matmul: shapes {a.shape} @ {b.shape} do not fit; expected (..., M, K) @ (..., K, N)"
        )
    rows = a[None, :] if a.ndim == 1 else a
    columns = b[:, None] if b.ndim == 1 else b
    y = kernels.matmul(rows, columns)
    full = y.shape
    kept = full[:-2] + full[-2:-1] * (a.ndim > 1) + full[-1:] * (b.ndim > 1)

    def vjp(dy):
        dy = dy.reshape(full)

        def da():
            gradient = kernels.matmul(dy, _mT(columns))
            return gradient if a.ndim > 1 else kernels.column_sums(gradient.reshape(-1, a.size))

        def db():
            gradient = kernels.matmul(_mT(rows), dy)
            return gradient if b.ndim > 1 else kernels.column_sums(gradient.reshape(-1, b.size))

        return da, db

    return y.reshape(kept), vjp


@op
def einsum(subscripts, a, b):
    """Einstein summation of two operands, such as "bqhd,bkhd->bhqk".

    Letters within one operand are distinct.  Raises ValueError on other subscripts or shapes.
    """
    inputs, arrow, out = subscripts.replace(" ", "").partition("->")
    a_axes, comma, b_axes = inputs.partition(",")
    size = dict(zip(a_axes, a.shape, strict=False)) | dict(zip(b_axes, b.shape, strict=False))
    named = (a_axes, a), (b_axes, b)
    if not arrow or not comma or not (a_axes + b_axes + out).isalpha():
        raise ValueError(f"einsum: {subscripts!r}; expected letters in the form 'ij,jk->ik'")
    if any(len(set(axes)) != len(axes) for axes in (a_axes, b_axes, out)) or set(out) - set(size):
        raise ValueError(
            f"einsum: {subscripts!r} repeats a letter within one term, "
            f"or its result has an unknown one"
        )
    if any(len(axes) != x.ndim or tuple(size[c] for c in axes) != x.shape for axes, x in named):
        raise ValueError(f"einsum: {subscripts!r} does not fit the shapes {a.shape} and {b.shape}")

    def vjp(dy):
        return (
            None,
            lambda: _einsum_vjp(dy, out, b, b_axes, a, a_axes),
            lambda: _einsum_vjp(dy, out, a, a_axes, b, b_axes),
        )

    return kernels.einsum(a_axes, b_axes, out, a, b), vjp


def _einsum_vjp(dy, out, other, other_axes, x, axes):
    """The gradient of ``x``: the same sum with dy in x's place, spread over letters of x alone."""
    reachable = "".join(c for c in axes if c in out + other_axes)
    gradient = kernels.einsum(out, other_axes, reachable, dy, other)
    kept = [n if c in reachable else 1 for c, n in zip(axes, x.shape, strict=True)]
    return np.broadcast_to(gradient.reshape(kept), x.shape)


def _side(x, weight, bias, activation):
    """Where ReLU is on."""
    return activation == "relu" and x @ weight.T + (0 if bias is None else bias) > 0


@op(branch=_side)
def linear(x, weight, bias=None, activation="identity"):
    """activation(x @ weight.T + bias).  x: (..., I), weight: (O, I), bias: (O,) or None -> (..., O)

    activation: "identity", "relu", "gelu", "gelu_tanh" or "silu", applied while the result is in
    cache.  Raises ValueError on shapes that do not fit and on any other activation.
    """
    if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"linear: x {x.shape} does not fit weight {weight.shape}; expected (..., I) and (O, I)"
        )
    O, I = weight.shape  # noqa: E741
    if bias is not None and bias.shape != (O,):
        raise ValueError(f"linear: bias {bias.shape} does not fit weight {weight.shape}")
    index = activation_index("linear", activation)
    count = math.prod(x.shape[:-1])
    rows = x.reshape(count, I)
    y, slope = kernels.linear(rows, weight, bias, index)
    slope = slope if index else None  # it is y itself, which the pullback must not keep

    def vjp(dy):
        dz, dbias = dy.reshape(count, O), lambda: kernels.column_sums(dz)
        if index:
            dz, dbias = kernels.activate_vjp(dz, disposable(slope))
        return (
            lambda: kernels.matmul(dz, weight).reshape(x.shape),
            partial(kernels.matmul, dz.T, rows),
            dbias,
        )

    return y.reshape(*x.shape[:-1], O), vjp
