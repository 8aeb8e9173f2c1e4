"""Hypothesis strategies: for every kernel, arguments of random shapes, layouts, dtypes and options.

Each entry of ``ARGUMENTS`` draws the positional arguments of one kernel, as an op would pass them;
some arrays hold a NaN or an infinity.
"""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minitx import kernels as K
from minitx.jit import COMPILED

ARGUMENTS: dict[str, st.SearchStrategy] = {}
LAYOUTS = ["plain", "fortran", "strided", "reversed", "read-only"]
LAYOUTS += ["foreign"] if COMPILED else []  # machine code knows one byte order

LONG = 150 if COMPILED else 4  # reaches over the blocks of every kernel; plain Python has no time
seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from([np.float32, np.float64])
edges = st.sampled_from([64, 65, 95, 96, 97, 129] if COMPILED else [1, 2])
sides = st.one_of(st.integers(1, 4), st.integers(0, LONG), edges)
widths = st.one_of(st.integers(1, 3), st.integers(1, LONG))
keys = st.integers(0, 2**64 - 1).map(np.uint64)
probabilities = st.sampled_from([0.0, 0.1, 0.5])


def arguments_of(name):
    def register(function):
        ARGUMENTS[name] = st.composite(function)()
        return function

    return register


def in_layout(x, layout):
    """The same numbers, differently laid out in memory."""
    if layout == "fortran":
        return np.asarray(x, order="F")
    if layout == "strided" and x.ndim:
        wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
        wide[..., ::2] = x
        return wide[..., ::2]
    if layout == "reversed" and x.ndim:
        return x[::-1].copy()[::-1]
    if layout == "foreign":
        return x.astype(x.dtype.newbyteorder())
    x.flags.writeable = layout != "read-only"
    return x


layouts = st.sampled_from(LAYOUTS)


@st.composite
def arrays(draw, shape, dtype, size=1.0, special=True):
    """Normal numbers of about that ``size``; now and then one of them is NaN or infinite."""
    rng = np.random.default_rng(draw(seeds))
    x = np.asarray(size * rng.normal(size=shape), dtype)
    value = draw(st.sampled_from([0, 0, 0, np.nan, np.inf, -np.inf]))
    if special and value != 0 and x.size:
        x.reshape(-1)[rng.integers(x.size)] = value
    return in_layout(x, draw(layouts))


@st.composite
def row_shapes(draw):
    """(..., C): up to three leading axes, any of them perhaps empty or of size 1."""
    lead = draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3))
    return (*draw(st.sampled_from([(), (LONG,)])), *lead, draw(widths))


# of one shape, and linear, or nearly


activations = st.integers(0, len(K.ACTIVATIONS) - 1)


@arguments_of("activate")
def _activate(draw):
    return draw(arrays(draw(row_shapes()), draw(dtypes), size=3)), draw(activations)


@arguments_of("activate_vjp")
def _activate_vjp(draw):
    shape, dtype = draw(row_shapes()), draw(dtypes)
    return draw(arrays(shape, dtype)), draw(arrays(shape, dtype))


@arguments_of("column_sums")
def _column_sums(draw):
    return (draw(arrays(draw(row_shapes()), draw(dtypes))),)


@arguments_of("dropout")
def _dropout(draw):
    return draw(arrays(draw(row_shapes()), draw(dtypes))), draw(probabilities), draw(keys)


# softmax and norm


@arguments_of("softmax")
def _softmax(draw):
    x = np.array(draw(arrays(draw(row_shapes()), draw(dtypes), size=3)))
    if draw(st.booleans()):
        x[..., draw(st.integers(0, x.shape[-1] - 1)) :] = -np.inf  # of a row, the end or all
    return (in_layout(x, draw(layouts)),)


@arguments_of("softmax_vjp")
def _softmax_vjp(draw):
    shape, dtype = draw(row_shapes()), draw(dtypes)
    y = K.softmax.ref(draw(arrays(shape, dtype, size=3, special=False)))
    return draw(arrays(shape, dtype)), in_layout(np.asarray(y, dtype), draw(layouts))


@st.composite
def normal_rows(draw):
    """Rows that are not nearly constant: there, rounding errors grow without bounds."""
    shape, dtype = draw(row_shapes()), draw(dtypes)
    rng = np.random.default_rng(draw(seeds))
    spread = np.linspace(-2, 2, shape[-1]) + np.zeros(shape)
    x = rng.permuted(spread, axis=-1) + 0.1 * rng.normal(size=shape)
    return in_layout(np.asarray(x, dtype), draw(layouts))


@arguments_of("layer_norm")
def _layer_norm(draw):
    x = draw(normal_rows())
    weight, bias = (draw(arrays(x.shape[-1:], x.dtype.type)) for _ in range(2))
    return x, weight, bias, draw(st.sampled_from([1e-5, 1e-12, 0.1]))


@arguments_of("layer_norm_vjp")
def _layer_norm_vjp(draw):
    x = draw(normal_rows())
    weight = draw(arrays(x.shape[-1:], x.dtype.type, special=False))
    mean, rstd = K.layer_norm.ref(x, weight, weight, 1e-5)[1:]
    dy = draw(arrays(x.shape, x.dtype.type))
    return dy, x, weight, in_layout(mean, draw(layouts)), in_layout(rstd, draw(layouts))


@arguments_of("linear_attend")
def _linear_attend(draw):
    B, T, m, C = draw(st.integers(0, 3)), draw(sides), draw(widths), draw(widths)
    dtype = draw(dtypes)
    features = np.abs(draw(arrays((B, T, 2, m), dtype)))
    return in_layout(features, draw(layouts)), draw(arrays((B, T, C), dtype)), 0.1


@arguments_of("linear_attend_vjp")
def _linear_attend_vjp(draw):
    features, v, eps = draw(ARGUMENTS["linear_attend"])
    (B, T, C), m, dtype = v.shape, features.shape[3], v.dtype.type
    dy, y, summary, total = (
        draw(arrays(shape, dtype)) for shape in [v.shape, v.shape, (B, m, C), (B, m)]
    )
    divisor = np.abs(draw(arrays((B, T), dtype))) + dtype(eps)
    return dy, features, v, y, in_layout(divisor, draw(layouts)), summary, total


@arguments_of("positive_features")
def _positive_features(draw):
    shape, m, dtype = draw(row_shapes()), draw(st.integers(1, 40)), draw(dtypes)
    along = draw(arrays((*shape[:-1], m), dtype, size=3))
    return along, draw(arrays(shape, dtype, size=0.5))  # exp(-|x|^2 / 2) is no subnormal number


@arguments_of("positive_features_vjp")
def _positive_features_vjp(draw):
    along, x = draw(ARGUMENTS["positive_features"])
    return draw(arrays(along.shape, x.dtype.type)), x, along


@st.composite
def begun(draw, shape, dtype):
    """Where a result goes, and whether to add it there: an array in one of two orders, or None.

    What is not added to is nothing to reckon with.
    """
    x = np.random.default_rng(draw(seeds)).normal(size=shape).astype(dtype)
    if not (add := draw(st.booleans())):
        x[...] = np.nan
    return draw(st.sampled_from([None, x, x.copy(order="F")])), add


# indices


@arguments_of("embedding_vjp")
def _embedding_vjp(draw):
    N, C, count = draw(sides), draw(sides), draw(widths)
    ids = np.random.default_rng(draw(seeds)).integers(0, count, size=N)
    ids = ids.astype(draw(st.sampled_from([np.int64, np.int32, np.uint8])))
    dtype = draw(dtypes)
    ids = in_layout(ids, draw(layouts))
    return draw(arrays((N, C), dtype)), ids, count, *draw(begun((count, C), dtype))


@arguments_of("cross_entropy")
def _cross_entropy(draw):
    N, V, ignore_index = draw(sides), draw(widths), draw(st.sampled_from([-100, -1, 0]))
    rng = np.random.default_rng(draw(seeds))
    targets = np.where(rng.random(N) < 0.2, ignore_index, rng.integers(0, V, size=N))
    logits = draw(arrays((N, V), draw(dtypes), size=3))
    smoothing = draw(st.sampled_from([0.0, 0.1, 1.0]))
    return logits, in_layout(targets, draw(layouts)), ignore_index, smoothing


@arguments_of("cross_entropy_vjp")
def _cross_entropy_vjp(draw):
    logits, targets, *options = draw(ARGUMENTS["cross_entropy"])
    with np.errstate(all="ignore"):
        lse = K.cross_entropy.ref(logits, targets, *options)[1]
    dlosses = draw(arrays(lse.shape, lse.dtype.type))
    return dlosses, logits, targets, in_layout(lse, draw(layouts)), *options


# products


@st.composite
def matrices(draw, shape, dtype):
    x = draw(arrays(shape, dtype, special=False))
    if draw(st.booleans()):
        x = np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)
    return x


@arguments_of("matmul")
def _matmul(draw):
    large = st.integers(100, 450) if COMPILED else sides  # over the blocks in each direction
    few = st.integers(1, 5)
    kinds = [(sides, sides, sides), (large, large, large), (few, large, large)]
    M, K, N = (draw(side) for side in draw(st.sampled_from(kinds)))
    lead = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=2, min_side=0, max_side=3))
    dtype, (first, second) = draw(dtypes), lead.input_shapes
    a, b = draw(matrices((*first, M, K), dtype)), draw(matrices((*second, K, N), dtype))
    return a, b, *draw(begun((*lead.result_shape, M, N), dtype))


@arguments_of("linear")
def _linear(draw):
    side = sides if not COMPILED else st.one_of(sides, st.integers(100, 700))
    (N, I, O), dtype = (draw(side) for _ in range(3)), draw(dtypes)  # noqa: E741
    bias = draw(st.one_of(st.none(), arrays((O,), dtype, special=False)))
    x, weight = draw(matrices((N, I), dtype)), draw(matrices((O, I), dtype))
    return x, weight, bias, draw(activations)


# a block


@arguments_of("decode")
def _decode(draw):
    B, H, D, hidden = draw(st.integers(0, 5)), *(draw(st.integers(1, n)) for n in (3, 9, 99))
    capacity, dtype = draw(st.integers(1, 40)), draw(dtypes)
    rng = np.random.default_rng(draw(seeds))
    C, length = H * D, draw(st.integers(0, capacity - 1))

    def normal(*shape):
        return in_layout(rng.normal(size=shape).astype(dtype), draw(layouts))

    x = rng.permuted(np.linspace(-2, 2, C) + np.zeros((B, C)), axis=-1).astype(dtype)
    pairs = [(normal(C), normal(C)), (normal(3 * C, C), normal(3 * C)), (normal(C, C), normal(C))]
    pairs += [(normal(C), normal(C)), (normal(hidden, C), normal(hidden))]
    weights = [w for pair in [*pairs, (normal(C, hidden), normal(C))] for w in pair]
    if draw(st.booleans()):
        weights[3] = None
    caches = [normal(B, H, capacity, D) for _ in range(2)]
    keys, values = (z if z.flags.writeable else z.copy() for z in caches)
    keys[:, :, length:] = values[:, :, length:] = np.nan  # what is not there yet
    settings = draw(st.booleans()), draw(activations), draw(st.sampled_from([1e-5, 0.1]))
    window, scale = draw(st.sampled_from([0, 0, 1, 5])), draw(st.sampled_from([1.0, 0.3]))
    x = in_layout(x, draw(layouts))
    return x, tuple(weights), keys, values, length, *settings, window, scale


# sums


@arguments_of("add")
def _add(draw):
    shape = draw(st.sampled_from([(), (3,), (2, 20_000), (200, 100)]))
    other = shape[1:] if draw(st.booleans()) else shape
    dtype, rng = draw(dtypes), np.random.default_rng(draw(seeds))
    return tuple(np.asarray(rng.normal(size=size), dtype) for size in (shape, other))


# optimisation


@arguments_of("sum_of_squares")
def _sum_of_squares(draw):
    size = draw(st.sampled_from([0, 1, LONG, 40_000 if COMPILED else LONG]))
    return (draw(arrays((size,), draw(dtypes))),)


@arguments_of("adamw")
def _adamw(draw):
    shape = (draw(st.sampled_from([0, 1, LONG, 40_000 if COMPILED else LONG])),)
    dtype = draw(dtypes)
    rng = np.random.default_rng(draw(seeds))
    param, m, v = (np.asarray(rng.normal(size=shape), dtype) for _ in range(3))
    rates = draw(st.sampled_from([(1.0, 1e-3, 0.9, 0.999), (0.01, 1.0, 0.0, 0.5)]))
    decay, step = draw(st.sampled_from([0.0, 0.1])), draw(st.sampled_from([1, 1000, 10**9]))
    return param, draw(arrays(shape, dtype)), m, v * v, *rates, 1e-8, decay, step


# attention


@arguments_of("attend")
def _attend(draw):
    B, H = draw(st.sampled_from([1, 2, 1, 2, 0])), draw(st.integers(1, 2))
    T, S, D = draw(sides), draw(sides), draw(st.integers(1, 9 if COMPILED else 2))
    dtype, rng, p = draw(dtypes), np.random.default_rng(draw(seeds)), draw(probabilities)
    special = p == 0  # of a row of NaN, one form drops before it divides and the other after
    q, k = (draw(arrays((B, H, n, D), dtype, special=special)) for n in (T, S))
    v = draw(arrays((B, H, S, D), dtype))
    small = [draw(st.sampled_from([1, n])) for n in (B, H, T)]
    mask = rng.random((*small, S)) < draw(st.sampled_from([0.0, 0.5, 0.9]))
    bias = draw(arrays((*small, S), dtype, special=special))
    if S and draw(st.booleans()):  # what no query may see is never looked at
        k, v = k.copy(), v.copy()
        mask[..., 0], k[..., 0, :], v[..., 0, :] = False, np.nan, np.inf
    elif draw(st.booleans()):
        mask = None
    if draw(st.booleans()):
        bias = None
    causal, window = draw(st.booleans()), draw(st.sampled_from([0, 0, 1, 5, 70]))
    scale = draw(st.sampled_from([1.0, 0.3]))
    return q, k, v, mask, bias, causal, window, scale, p, draw(keys)


@arguments_of("attend_vjp")
def _attend_vjp(draw):
    q, k, v, *options = draw(ARGUMENTS["attend"])
    with np.errstate(all="ignore"):
        y, lse = K.attend.ref(q, k, v, *options)
    dy = draw(arrays(y.shape, y.dtype.type))
    return dy, q, k, v, in_layout(y, draw(layouts)), in_layout(lse, draw(layouts)), *options
