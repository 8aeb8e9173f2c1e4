"""Strategies for ops on images, (B, C, H, W); see strategies.py."""

from __future__ import annotations

import numpy as np
from formulas_images import batch_norm
from hypothesis import assume
from hypothesis import strategies as st
from strategies import arrays, shapes, strategy_for

from minitx.kernels import windows_of


@st.composite
def geometries(draw, dilated=True):
    """(H, W), and kernel, stride, padding and dilation of which a window fits it at least."""
    sides = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, stride = draw(sides), draw(st.one_of(sides, st.just((1, 1))))
    stride = draw(st.sampled_from([stride, kernel]))
    padding = draw(st.one_of(st.just((0, 0)), st.tuples(st.integers(0, 2), st.integers(0, 2))))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2))) if dilated else (1, 1)
    extra = draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
    size = tuple(
        max(1, d * (k - 1) + 1 - 2 * p) + e
        for d, k, p, e in zip(dilation, kernel, padding, extra, strict=True)
    )
    return size, (kernel, stride, padding, dilation)


@st.composite
def images(draw, size=None, channels=None, kind="normal"):
    B, C = draw(st.integers(0, 2)), draw(st.integers(1, 3)) if channels is None else channels
    size = size or (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    return draw(arrays((B, C, *size), kind))


@strategy_for("unfold")
def _unfold(draw, name):
    size, geometry = draw(geometries())
    return (draw(images(size)), *geometry), {}


@strategy_for("fold")
def _fold(draw, name):
    size, geometry = draw(geometries())
    rows, columns = windows_of(size, *geometry)
    (kh, kw), B, C = geometry[0], draw(st.integers(0, 2)), draw(st.integers(1, 3))
    return (draw(arrays((B, rows * columns, C * kh * kw))), size, *geometry), {}


@strategy_for("resize")
def _resize(draw, name):
    size = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    mode = draw(st.sampled_from(["bilinear", "bicubic", "nearest"]))
    return (draw(images()), size), {"mode": mode}


@strategy_for("conv2d", "conv_transpose2d")
def _conv2d(draw, name):
    size, (kernel, stride, padding, dilation) = draw(geometries())
    groups, C, O = draw(st.sampled_from([1, 1, 2, 3])), *(draw(st.integers(1, 2)) for _ in "CO")  # noqa: E741
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    inputs, outputs = C * groups, O * groups
    if name == "conv_transpose2d":
        more = [draw(st.integers(0, s - 1)) for s in stride]
        size = windows_of(size, kernel, stride, padding, dilation)
        sides = zip(size, kernel, stride, padding, dilation, more, strict=True)
        assume(all((n - 1) * s - 2 * p + d * (k - 1) + o >= 0 for n, k, s, p, d, o in sides))
        options["output_padding"] = tuple(more)
        inputs, outputs = outputs, inputs
    weight = draw(arrays((O * groups, C, *kernel)))
    bias = draw(st.one_of(st.none(), arrays((outputs,))))
    return (draw(images(size, inputs)), weight, bias), options


@strategy_for("max_pool2d", "avg_pool2d")
def _pool(draw, name):
    size, (kernel, stride, padding, _) = draw(geometries(dilated=False))
    padding = tuple(min(p, k // 2) for p, k in zip(padding, kernel, strict=True))
    size = tuple(max(n, k) for n, k in zip(size, kernel, strict=True))
    x = draw(images(size, kind="distinct"))
    if name == "max_pool2d":
        return (x, kernel, stride, padding), {}
    return (x, kernel, stride, padding), {"count_pads": draw(st.booleans())}


@strategy_for("batch_norm")
def _batch_norm(draw, name):
    x = draw(images())
    C = x.shape[1]
    statistics = None
    if x.size // C < 2 or draw(st.booleans()):
        statistics = draw(arrays((C,))), draw(arrays((C,), "positive"))
    weight, bias = draw(arrays((C,))), draw(arrays((C,)))
    residual = draw(st.sampled_from([None, draw(arrays(x.shape))]))
    activation = draw(st.sampled_from(["identity", "relu"]))
    args = x, weight, bias, residual, activation, draw(st.sampled_from([1e-5, 0.1])), statistics
    if activation == "relu":  # a kink at 0: away from it
        assume(np.abs(batch_norm(*args[:4], "identity", *args[5:])).min(initial=1) > 1e-3)
    return args, {}


@strategy_for("linear_attend")
def _linear_attend(draw, name):
    B, T = draw(shapes(min_dims=2, max_dims=2))
    features = draw(arrays((B, T, 2, draw(st.integers(0, 4))), "positive"))
    return (features, draw(arrays((B, T, draw(st.integers(0, 3))))), 0.1), {}


@strategy_for("positive_features")
def _positive_features(draw, name):
    lead, m = draw(shapes(max_dims=2)), draw(st.integers(1, 4))
    return (draw(arrays((*lead, m))), draw(arrays((*lead, draw(st.integers(0, 3)))))), {}
