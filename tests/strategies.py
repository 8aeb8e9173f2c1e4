"""Hypothesis strategies: for every op, arguments of random shapes, layouts and options.

Each entry of ``STRATEGIES`` draws ``(args, kwargs)`` in float64, at points where the op is smooth.
A ``Seed`` stands for a random generator that every call makes anew; ``run`` fills it in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minitx.ops  # noqa: F401  (fills OPS)
from minitx.kernels import ACTIVATIONS
from minitx.tensor import OPS

STRATEGIES: dict[str, st.SearchStrategy] = {}
seeds = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class Seed:
    number: int


def run(name, args, kwargs):
    """The op's result, each Seed replaced by a new Generator."""

    def fill(x):
        return np.random.default_rng(x.number) if isinstance(x, Seed) else x

    return OPS[name](*map(fill, args), **{key: fill(x) for key, x in kwargs.items()})


def strategy_for(*names):
    def register(function):
        for name in names:
            STRATEGIES[name] = st.composite(function)(name)
        return function

    return register


# arrays


def shapes(min_dims=0, max_dims=3, min_side=0, max_side=4):
    return hnp.array_shapes(
        min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side
    )


def in_layout(x, layout):
    """The same numbers, differently laid out in memory."""
    if layout == "fortran":
        return np.asarray(x, order="F")
    if layout == "strided" and x.ndim:
        wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), np.nan)
        wide[..., ::2] = x
        return wide[..., ::2]
    if layout == "reversed" and x.ndim:
        return x[::-1].copy()[::-1]
    return x


def _numbers(kind, shape, rng):
    if kind == "normal":
        return rng.normal(size=shape)
    if kind == "positive":
        return rng.uniform(0.3, 2, size=shape)
    if kind == "nonzero":  # either sign, at a distance from zero
        return rng.uniform(0.3, 2, size=shape) * rng.choice([-1, 1], size=shape)
    size = math.prod(shape)  # "distinct": no two are close
    return 0.25 * (rng.permutation(size).reshape(shape) - size // 2)


@st.composite
def arrays(draw, shape, kind="normal"):
    if not isinstance(shape, tuple):
        shape = draw(shape)
    x = np.asarray(_numbers(kind, shape, np.random.default_rng(draw(seeds))))
    return in_layout(x, draw(st.sampled_from(["plain", "fortran", "strided", "reversed"])))


@st.composite
def pairs_of_shapes(draw, **limits):
    limits = {"min_dims": 0, "max_dims": 3, "min_side": 0, "max_side": 4} | limits
    return draw(hnp.mutually_broadcastable_shapes(num_shapes=2, **limits)).input_shapes


def axis_of(ndim):
    return st.integers(-ndim, ndim - 1)


def some_axes(ndim, least=0):
    """None, one axis or a tuple of axes, some counted from the end."""
    options = [st.none()]
    if ndim:
        options.append(axis_of(ndim))
        options.append(hnp.valid_tuple_axes(ndim, min_size=least))
    return st.one_of(options)


# elementwise


@strategy_for("negative", "exp", "sin", "cos", "tanh", "sigmoid", "silu")
def _unary(draw, name):
    return (draw(arrays(shapes())),), {}


@strategy_for("relu", "absolute")
def _kinked(draw, name):
    return (draw(arrays(shapes(), "nonzero")),), {}


@strategy_for("log", "sqrt")
def _positive(draw, name):
    return (draw(arrays(shapes(), "positive")),), {}


@strategy_for("gelu")
def _gelu(draw, name):
    x = draw(arrays(shapes()))
    return (x,), {"approximate": draw(st.sampled_from(["none", "tanh"]))}


@strategy_for("astype")
def _astype(draw, name):
    return (draw(arrays(shapes())), "float64"), {}


@strategy_for("dropout")
def _dropout(draw, name):
    x = draw(arrays(shapes(min_dims=1)))
    return (x, draw(st.sampled_from([0.0, 0.1, 0.5])), Seed(draw(seeds))), {}


@strategy_for("add", "subtract", "multiply", "divide", "power", "maximum", "minimum")
def _binary(draw, name):
    kinds = {
        "divide": ("normal", "nonzero"),
        "power": ("positive", "normal"),
        "maximum": ("distinct", "distinct"),
        "minimum": ("distinct", "distinct"),
    }.get(name, ("normal", "normal"))
    a, b = (
        draw(arrays(shape, kind))
        for shape, kind in zip(draw(pairs_of_shapes()), kinds, strict=True)
    )
    if kinds[1] == "distinct":
        b = np.asarray(b + 0.125)
    scalar = draw(st.sampled_from([None, None, 2, 1.3, np.float64(0.7)]))
    if scalar is not None:
        a, b = (a, scalar) if draw(st.booleans()) else (scalar, b)
    return (a, b), {}


@strategy_for("where")
def _where(draw, name):
    result = hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, min_side=0, max_side=4)
    first, second, third = draw(result).input_shapes
    condition = np.asarray(np.random.default_rng(draw(seeds)).random(first) < 0.5)
    a, b = draw(arrays(second)), draw(arrays(third))
    return (condition, draw(st.sampled_from([a, a, 0.5])), b), {}


# reductions, softmax, norm, loss


@strategy_for("sum")
def _sum(draw, name):
    x = draw(arrays(shapes()))
    return (x,), {"axis": draw(some_axes(x.ndim)), "keepdims": draw(st.booleans())}


@strategy_for("mean")
def _mean(draw, name):
    x = draw(arrays(shapes(min_side=1)))
    return (x,), {"axis": draw(some_axes(x.ndim)), "keepdims": draw(st.booleans())}


@strategy_for("var")
def _var(draw, name):
    ddof = draw(st.integers(0, 1))
    x = draw(arrays(shapes(min_dims=ddof, min_side=1 + ddof)))
    axis = draw(some_axes(x.ndim, least=1))
    return (x,), {"axis": axis, "ddof": ddof, "keepdims": draw(st.booleans())}


@strategy_for("max")
def _max(draw, name):
    x = draw(arrays(shapes(min_side=1), "distinct"))
    return (x,), {"axis": draw(some_axes(x.ndim)), "keepdims": draw(st.booleans())}


@strategy_for("softmax", "log_softmax")
def _softmax(draw, name):
    shape = list(draw(shapes(min_dims=1)))
    axis = draw(axis_of(len(shape)))
    shape[axis] = draw(st.integers(1, 5))
    return (draw(arrays(tuple(shape))),), {"axis": axis}


@strategy_for("layer_norm")
def _layer_norm(draw, name):
    C = draw(st.integers(1, 6))
    x = draw(arrays((*draw(shapes(max_dims=2)), C)))
    return (x, draw(arrays((C,))), draw(arrays((C,)))), {"eps": draw(st.sampled_from([1e-5, 0.1]))}


@strategy_for("cross_entropy")
def _cross_entropy(draw, name):
    lead, V = draw(shapes(max_dims=2)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(seeds))
    ignore_index = draw(st.sampled_from([-100, -1, 0]))
    targets = np.asarray(rng.integers(0, V, size=lead))
    targets = np.where(rng.random(lead) < 0.3, ignore_index, targets)
    options = {
        "ignore_index": ignore_index,
        "label_smoothing": draw(st.sampled_from([0.0, 0.1, 1.0])),
        "reduction": draw(st.sampled_from(["mean", "sum", "none"])),
    }
    return (draw(arrays((*lead, V))), targets), options


# products, lookup, attention


@strategy_for("matmul")
def _matmul(draw, name):
    M, K, N = (draw(st.integers(0, 4)) for _ in range(3))
    first, second = draw(pairs_of_shapes(max_dims=2, max_side=3))
    a = (K,) if draw(st.booleans()) else (*first, M, K)
    b = (K,) if draw(st.booleans()) else (*second, K, N)
    return (draw(arrays(a)), draw(arrays(b))), {}


@strategy_for("einsum")
def _einsum(draw, name):
    terms = "bqhd,bkhd->bhqk", "ij,jk->ik", "ij,ij->", "i,j->ji", "ij,k->k", "hwd,whe->ed", "i,i->i"
    subscripts = draw(st.sampled_from(terms))
    size = {letter: draw(st.integers(0, 3)) for letter in "abcdefghijklmnopqrstuvwxyz"}
    a, b = subscripts.split("->")[0].split(",")
    a, b = (draw(arrays(tuple(size[c] for c in axes))) for axes in (a, b))
    return (subscripts, a, b), {}


@strategy_for("linear")
def _linear(draw, name):
    inputs, outputs = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    x = draw(arrays((*draw(shapes(max_dims=2)), inputs)))
    bias = draw(st.one_of(st.none(), arrays((outputs,))))
    weight, activation = draw(arrays((outputs, inputs))), draw(st.sampled_from(ACTIVATIONS))
    if activation == "relu":  # a kink at 0: away from it
        z = x @ weight.T + (0 if bias is None else bias)
        assume(np.abs(z).min(initial=1) > 1e-3)
    return (x, weight, bias), {"activation": activation}


@strategy_for("embedding")
def _embedding(draw, name):
    V, C = draw(st.integers(1, 5)), draw(st.integers(0, 4))
    ids = np.random.default_rng(draw(seeds)).integers(0, V, size=draw(shapes(max_dims=2)))
    return (draw(arrays((V, C))), np.asarray(ids)), {}


@st.composite
def attention_settings(draw, B, H, T, S):
    """(mask, bias) and the options of ``attend`` for scores (B, H, T, S)."""
    rng = np.random.default_rng(draw(seeds))
    small = [draw(st.sampled_from([1, n])) for n in (B, H, T)]
    mask = rng.random((*small, draw(st.sampled_from([1, S])))) < 0.7
    bias = draw(arrays((*small, S)))
    options = {
        "causal": draw(st.booleans()),
        "window": draw(st.integers(0, 3)),
        "scale": draw(st.sampled_from([None, 1.0, 0.3])),
        "dropout": draw(st.sampled_from([0.0, 0.3])),
        "rng": Seed(draw(seeds)),
    }
    mask, bias = draw(st.sampled_from([None, mask])), draw(st.sampled_from([None, bias]))
    return (mask, bias), options


@strategy_for("attend")
def _attend(draw, name):
    B, H, T, S = (draw(st.integers(0, n)) for n in (2, 2, 4, 5))
    D = draw(st.integers(1, 3))
    more, options = draw(attention_settings(B, H, T, S))
    q, k, v = draw(arrays((B, H, T, D))), draw(arrays((B, H, S, D))), draw(arrays((B, H, S, D)))
    return (q, k, v, *more), options


@strategy_for("self_attend")
def _self_attend(draw, name):
    B, heads, T, D = draw(st.integers(0, 2)), *(draw(st.integers(1, n)) for n in (3, 4, 3))
    more, options = draw(attention_settings(B, heads, T, T))
    return (draw(arrays((B, T, 3 * heads * D))), heads, *more), options


# shapes


@strategy_for("reshape")
def _reshape(draw, name):
    x = draw(arrays(shapes()))
    shape = tuple(draw(st.permutations([*x.shape, 1])))
    if x.size and draw(st.booleans()):
        shape = (-1, *shape[1:])
    return draw(st.sampled_from([(x, shape), (x, *shape)])), {}


@strategy_for("transpose")
def _transpose(draw, name):
    x = draw(arrays(shapes()))
    if not x.ndim or draw(st.booleans()):
        return (x,), {}
    order = [a - x.ndim * draw(st.booleans()) for a in draw(st.permutations(range(x.ndim)))]
    return draw(st.sampled_from([(x, *order), (x, tuple(order))])), {}


@strategy_for("swapaxes")
def _swapaxes(draw, name):
    x = draw(arrays(shapes(min_dims=1)))
    return (x, draw(axis_of(x.ndim)), draw(axis_of(x.ndim))), {}


@strategy_for("broadcast_to")
def _broadcast_to(draw, name):
    small, other = draw(pairs_of_shapes(max_dims=3))
    return (draw(arrays(small)), np.broadcast_shapes(small, other)), {}


@strategy_for("getitem")
def _getitem(draw, name):
    x = draw(arrays(shapes(min_dims=1, min_side=1)))
    rng = np.random.default_rng(draw(seeds))
    places = rng.integers(-x.shape[0], x.shape[0], size=draw(shapes(max_dims=2)))
    columns = rng.integers(0, x.shape[-1], size=3)
    index = draw(
        st.one_of(
            hnp.basic_indices(x.shape, allow_newaxis=True),
            st.sampled_from(
                [
                    np.asarray(places),
                    [0, -1, 0],
                    rng.random(x.shape) < 0.5,
                    rng.random(x.shape[:1]) < 0.5,
                    (..., columns),
                    (slice(None, None, -1), None),
                    (slice(0, 2), columns % x.shape[1]) if x.ndim > 1 else columns,
                ]
            ),
        )
    )
    return (x, index), {}


def side_by_side(parts):
    """The same arrays as views of one buffer, one after the other."""
    buffer = np.concatenate([[0.0], *(x.reshape(-1) for x in parts)])
    stops = 1 + np.cumsum([x.size for x in parts])
    return [
        buffer[stop - x.size : stop].reshape(x.shape) for x, stop in zip(parts, stops, strict=True)
    ]


@strategy_for("concatenate")
def _concatenate(draw, name):
    shape = list(draw(shapes(min_dims=1)))
    axis = draw(axis_of(len(shape)))
    parts = []
    for length in draw(st.lists(st.integers(0, 3), min_size=1, max_size=3)):
        shape[axis] = length
        parts.append(draw(arrays(tuple(shape))))
    if draw(st.booleans()):
        parts = side_by_side(parts)
    return tuple(parts), {"axis": axis}


@strategy_for("stack")
def _stack(draw, name):
    shape = draw(shapes(max_dims=2))
    count = draw(st.integers(1, 3))
    axis = draw(axis_of(len(shape) + 1))
    return tuple(draw(arrays(shape)) for _ in range(count)), {"axis": axis}


@strategy_for("pad")
def _pad(draw, name):
    x = draw(arrays(shapes(min_dims=1)))
    ends = st.integers(0, 2)
    width = draw(st.one_of(ends, st.tuples(*[st.tuples(ends, ends)] * x.ndim)))
    return (x, width), {"value": draw(st.sampled_from([0.0, -1.5]))}
