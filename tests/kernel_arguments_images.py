"""Arguments of kernels on images; see kernel_arguments.py."""

from __future__ import annotations

import math

from hypothesis import assume
from hypothesis import strategies as st
from kernel_arguments import ARGUMENTS, arguments_of, arrays, dtypes, in_layout, layouts

from minitx import kernels as K
from minitx.jit import COMPILED
from minitx.kernels import windows_of

WIDE = 40 if COMPILED else 4  # over a vector, a tile, a panel
channels = st.one_of(st.integers(1, 3), st.integers(1, WIDE))


@st.composite
def geometries(draw):
    """(H, W), kernel, stride, padding, dilation; often the usual ones."""
    usual = [((3, 3), (1, 1), (1, 1)), ((3, 3), (2, 2), (1, 1)), ((1, 1), (2, 2), (0, 0))]
    usual += [((7, 7), (2, 2), (3, 3)), ((4, 4), (4, 4), (0, 0))] if COMPILED else []
    some = st.tuples(st.integers(1, 3), st.integers(1, 3))
    odd = st.tuples(some, some, st.tuples(st.integers(0, 3), st.integers(0, 2)))
    kernel, stride, padding = draw(st.one_of(st.sampled_from(usual), odd))
    dilation = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 3)]))
    extra = draw(st.tuples(st.integers(0, 5), st.one_of(st.integers(0, 9), st.just(WIDE))))
    size = tuple(
        max(1, d * (k - 1) + 1 - 2 * p) + e
        for d, k, p, e in zip(dilation, kernel, padding, extra, strict=True)
    )
    return size, kernel, stride, padding, dilation


@st.composite
def convolutions(draw):
    """x, weight, size, options of ``conv2d``, and the shape of its result."""
    size, kernel, *options = draw(geometries())
    B, groups, dtype = draw(st.integers(0, 3)), draw(st.sampled_from([1, 1, 1, 2, 3])), draw(dtypes)
    C, O = (draw(channels) if groups == 1 else draw(st.integers(1, 3)) for _ in "CO")  # noqa: E741
    assume(B * C * O * groups * size[0] * size[1] * kernel[0] * kernel[1] < 4e6)
    x = draw(arrays((B, C * groups, *size), dtype, special=False))
    weight = draw(arrays((O * groups, C, *kernel), dtype, special=False))
    shape = B, O * groups, *windows_of(size, kernel, *options)
    return x, weight, size, (*options, groups), shape


@arguments_of("conv2d")
def _conv2d(draw):
    x, weight, _, options, _ = draw(convolutions())
    return x, weight, *options


@arguments_of("conv2d_dx")
def _conv2d_dx(draw):
    x, weight, size, options, shape = draw(convolutions())
    return draw(arrays(shape, x.dtype.type, special=False)), weight, size, *options


@arguments_of("conv2d_dweight")
def _conv2d_dweight(draw):
    x, weight, _, options, shape = draw(convolutions())
    return draw(arrays(shape, x.dtype.type, special=False)), x, weight.shape[2:], *options


@arguments_of("unfold")
def _unfold(draw):
    size, *geometry = draw(geometries())
    shape = draw(st.integers(0, 3)), draw(channels), *size
    assume(math.prod(shape) * math.prod(geometry[0]) < 1e6)
    return draw(arrays(shape, draw(dtypes))), *geometry


@arguments_of("fold")
def _fold(draw):
    x, *geometry = draw(ARGUMENTS["unfold"])
    shape = K.unfold.ref(x, *geometry).shape
    return draw(arrays(shape, x.dtype.type, special=False)), x.shape[2:], *geometry


@arguments_of("max_pool")
def _max_pool(draw):
    size, kernel, stride, padding, _ = draw(geometries())
    padding = tuple(min(p, k // 2) for p, k in zip(padding, kernel, strict=True))
    size = tuple(max(n, k) for n, k in zip(size, kernel, strict=True))
    shape = draw(st.integers(0, 2)), draw(st.integers(1, 3)), *size
    return draw(arrays(shape, draw(dtypes))), kernel, stride, padding


@arguments_of("max_pool_vjp")
def _max_pool_vjp(draw):
    x, *geometry = draw(ARGUMENTS["max_pool"])
    y, taps = K.max_pool.ref(x, *geometry)
    dy = draw(arrays(y.shape, y.dtype.type))
    return dy, in_layout(taps, draw(layouts)), x.shape[2:], *geometry


@st.composite
def batches(draw, special=True):
    shape = draw(st.integers(1, 3)), draw(channels), draw(st.integers(1, 9)), draw(channels)
    return draw(arrays(shape, draw(dtypes), special=special))


@arguments_of("channel_moments")
def _channel_moments(draw):
    return (draw(batches()),)


@st.composite
def normalisations(draw):
    """x, mean, rstd, weight, bias"""
    x = draw(batches())
    vectors = [draw(arrays((x.shape[1],), x.dtype.type, special=False)) for _ in range(4)]
    return x, *vectors


@arguments_of("batch_norm")
def _batch_norm(draw):
    x, *vectors = draw(normalisations())
    residual = draw(st.one_of(st.none(), arrays(x.shape, x.dtype.type, special=False)))
    return x, *vectors, residual, draw(st.booleans())


@arguments_of("batch_norm_vjp")
def _batch_norm_vjp(draw):
    x, mean, rstd, weight, _ = draw(normalisations())
    dy, y = (draw(arrays(x.shape, x.dtype.type, special=False)) for _ in range(2))
    return dy, x, y, mean, rstd, weight, draw(st.booleans()), draw(st.booleans())
