"""The linear layer: its activation, its bias, and how the weight's rows and columns are ordered."""

from __future__ import annotations

import itertools
import math

import numpy as np

from ...kernels.activation import ACTIVATIONS, activate_ref
from .registry import HEADS, edited, mistake

NAMES = {
    "identity": "no activation",
    "relu": "ReLU",
    "gelu": "the exact GELU, through erf",
    "gelu_tanh": "GELU's approximation through tanh",
    "silu": "SiLU, x sigmoid(x)",
    "quick": "quick GELU, x sigmoid(1.702 x)",
}
SHORT = {
    "identity": "left out",
    "relu": "ReLU",
    "gelu": "GELU through erf",
    "gelu_tanh": "GELU through tanh",
    "silu": "SiLU",
    "quick": "quick GELU",
}


class _Activation:
    """Told in words, used by its key."""

    def __init__(self, key: str):
        self.key = key

    def __format__(self, spec: str) -> str:
        return NAMES[self.key] if spec else SHORT[self.key]


OTHERS = tuple(map(_Activation, NAMES))


def _activate(z, key):
    """Value, and pullback of dy to dz."""
    if key == "quick":
        s = 1 / (1 + np.exp(-1.702 * z))
        return z * s, lambda dy: dy * s * (1 + 1.702 * z * (1 - s))
    value, slope = activate_ref(z, ACTIVATIONS.index(key))
    return value, lambda dy: dy * slope


def _linear(op, x, weight, bias, forward, backward):
    """One activation in the value, perhaps another in the gradient."""
    z, vjp = op(x, weight, bias, "identity")
    pull = _activate(z, backward)[1]
    return _activate(z, forward)[0], lambda dy: vjp(pull(dy))


@mistake(
    "activation: {other}",
    "linear",
    "the port computes {other:long}; it should be {activation}",
    other=OTHERS,
)
def other_activation(op, x, weight, bias, activation, other):
    if other.key == activation:
        return None
    return _linear(op, x, weight, bias, other.key, other.key)


@mistake(
    "activation: {other}",
    "gelu",
    "the port computes {other:long}; it should be approximate={approximate!r}",
    other=OTHERS,
)
def other_gelu(op, x, approximate, other):
    if other.key == ("gelu_tanh" if approximate == "tanh" else "gelu"):
        return None
    value, pull = _activate(x, other.key)
    return value, lambda dy: (pull(dy),)


@mistake(
    "bias left out",
    "linear",
    "the port does not add this layer's bias",
)
def without_bias(op, x, weight, bias, activation):
    return None if bias is None else op(x, weight, np.zeros_like(bias), activation)


@mistake(
    "bias added after the activation",
    "linear",
    "the port adds the bias to the activation's result; it belongs before",
)
def late_bias(op, x, weight, bias, activation):
    if bias is None or activation == "identity":
        return None
    value, vjp = op(x, weight, np.zeros_like(bias), activation)
    return value + bias, edited(vjp, 2, lambda _, dy: dy.reshape(-1, len(bias)).sum(axis=0))


@mistake(
    "weight transposed",
    "linear",
    "the port uses this weight as (in, out); it is (out, in): y = x @ W.T",
)
def transposed(op, x, weight, bias, activation):
    if weight.shape[0] != weight.shape[1]:
        return None
    value, vjp = op(x, weight.T, bias, activation)
    return value, edited(vjp, 1, lambda dweight, _: dweight.T)


@mistake(
    "weight stored as (in, out)",
    "linear",
    "the port reads this weight's numbers as if they were stored (in, out); they are (out, in)",
)
def reread(op, x, weight, bias, activation):
    other = np.ascontiguousarray(weight).reshape(weight.shape[::-1]).T
    value, vjp = op(x, other, bias, activation)
    return value, edited(vjp, 1, lambda dweight, _: dweight.T.reshape(weight.shape))


@mistake(
    "weight's gradient transposed",
    "linear",
    "the port's gradient of this weight is x.T @ dy, (in, out); the weight is (out, in)",
)
def transposed_gradient(op, x, weight, bias, activation):
    if weight.shape[0] != weight.shape[1]:
        return None
    value, vjp = op(x, weight, bias, activation)
    return value, edited(vjp, 1, lambda dweight, _: dweight.T)


@mistake(
    "input's gradient by the transposed weight",
    "linear",
    "the port computes dx = dy @ W.T; it should be dy @ W, W being (out, in)",
)
def transposed_pullback(op, x, weight, bias, activation):
    if weight.shape[0] != weight.shape[1]:
        return None
    value, vjp = op(x, weight, bias, activation)
    other = op(x, weight.T, bias, activation)[1]
    return value, edited(vjp, 0, lambda _, dy: other(dy)[0]())


# ---- the order of rows and columns ---------------------------------------------------------------


def _by_rows(op, x, weight, bias, activation, order):
    """The layer with its outputs in another order."""
    value, vjp = op(x, weight[order], None if bias is None else bias[order], activation)
    back = np.argsort(order)

    def other(dy):
        dx, dweight, dbias = (x() if callable(x) else x for x in vjp(dy))
        return dx, dweight[back], None if bias is None else dbias[back]

    return value, other


def _by_columns(op, x, weight, bias, activation, order):
    value, vjp = op(x, weight[:, order], bias, activation)
    return value, edited(vjp, 1, lambda dweight, _: dweight[:, np.argsort(order)])


ORDERS = tuple("".join(p) for p in itertools.permutations("qkv"))[1:]


def thirds(width, order):
    """Indices of queries, keys and values side by side when they are taken in another order."""
    parts = dict(zip("qkv", np.split(np.arange(width), 3), strict=True))
    return np.concatenate([parts[letter] for letter in order])


def interleaved(width, heads):
    """Where a width of (heads, 3, D) keeps what (3, heads, D) expects."""
    shape = heads, 3, width // (3 * heads)
    return np.arange(width).reshape(shape).swapaxes(0, 1).ravel()


def heads_last(width, heads):
    """Where a width of (D, heads) keeps what (heads, D) expects."""
    return np.arange(width).reshape(width // heads, heads).T.ravel()


def fits(width, *factors):
    return width % math.prod(factors) == 0


@mistake(
    "query, key and value in the order {order}",
    "linear",
    "the port stacks the three projections as {order}; the golden model has them as qkv",
    order=ORDERS,
)
def other_order(op, x, weight, bias, activation, order):
    O = len(weight)  # noqa: E741
    return _by_rows(op, x, weight, bias, activation, thirds(O, order)) if fits(O, 3) else None


@mistake(
    "query, key and value interleaved head by head",
    "linear",
    "the port stacks the projections as (heads, 3, D), each head's query, key and value together; "
    "the golden model has them as (3, heads, D)",
    heads=HEADS,
)
def interleaved_rows(op, x, weight, bias, activation, heads):
    O = len(weight)  # noqa: E741
    if not fits(O, 3, heads) or heads == 1:
        return None
    back = np.argsort(interleaved(O, heads))
    return _by_rows(op, x, weight, bias, activation, back)


@mistake(
    "heads and their width swapped in the rows",
    "linear",
    "the port orders this weight's rows as (D, heads); they are (heads, D)",
    heads=HEADS,
    back=(False, True),
)
def swapped_rows(op, x, weight, bias, activation, heads, back):
    O, parts = len(weight), 3 if len(weight) == 3 * weight.shape[1] else 1  # noqa: E741
    if not fits(O, parts, heads) or heads in (1, O // parts):
        return None
    one = heads_last(O // parts, heads)
    one = np.argsort(one) if back else one
    order = np.concatenate([one + i * len(one) for i in range(parts)])
    return _by_rows(op, x, weight, bias, activation, order)


@mistake(
    "heads and their width swapped in the columns",
    "linear",
    "the port reads this layer's input as (D, heads); it is (heads, D)",
    heads=HEADS,
    back=(False, True),
)
def swapped_columns(op, x, weight, bias, activation, heads, back):
    I = weight.shape[1]  # noqa: E741
    if not fits(I, heads) or heads in (1, I):
        return None
    order = heads_last(I, heads)
    return _by_columns(op, x, weight, bias, activation, np.argsort(order) if back else order)
