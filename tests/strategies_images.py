"""Strategies for ops on images, (B, C, H, W); see strategies.py."""

from __future__ import annotations

from hypothesis import strategies as st
from strategies import arrays, strategy_for

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
