"""Small cases of every op, chosen to go wrong in a port: odd sizes, broadcasting, masked rows.

A case is named ``<op>.<what>``.  It draws its arguments from a ``Draw`` of its own, seeded by the
name, so that a new case changes no other.  A new op needs a line or two in ``CASES``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

BuildCase = Callable[["Draw"], tuple]  # -> the positional arguments; a dict at the end is options


class Draw(np.random.Generator):
    """Arrays in float64, at points where ops are smooth unless the case says otherwise."""

    def __init__(self, name: str):
        super().__init__(np.random.PCG64(zlib.crc32(name.encode())))

    def __call__(self, *shape: int) -> np.ndarray:
        """N(0, 1)"""
        return np.asarray(self.standard_normal(shape))

    def positive(self, *shape: int) -> np.ndarray:
        return np.asarray(self.uniform(0.3, 2, shape))

    def nonzero(self, *shape: int) -> np.ndarray:
        return np.asarray(self.positive(*shape) * self.choice([-1.0, 1.0], shape))

    def tied(self, *shape: int) -> np.ndarray:
        """Few different numbers, exact in float32."""
        return self.integers(-1, 2, shape) * 0.5

    def ids(self, count: int, *shape: int) -> np.ndarray:
        return self.integers(0, count, shape)

    def mask(self, *shape: int) -> np.ndarray:
        return np.asarray(self.random(shape) < 0.6)

    def moments(self, channels: int) -> tuple[np.ndarray, np.ndarray]:
        """Means and variances."""
        return self(channels), self.positive(channels)


def _unary(name: str, kind: str = "__call__") -> dict[str, BuildCase]:
    return {
        f"{name}.matrix": lambda r: (getattr(r, kind)(3, 5),),
        f"{name}.number": lambda r: (getattr(r, kind)(),),
    }


def _binary(name: str, left: str = "__call__", right: str = "__call__") -> dict[str, BuildCase]:
    def build(a, b):
        return lambda r: (getattr(r, left)(*a), getattr(r, right)(*b))

    return {
        f"{name}.same": build((3, 4), (3, 4)),
        f"{name}.row": build((3, 4), (4,)),
        f"{name}.both": build((3, 1, 4), (5, 1)),  # both are stretched
        f"{name}.number": lambda r: (getattr(r, left)(2, 3), 0.3),
    }


def _dark_row(r: Draw, *shape: int) -> np.ndarray:
    """A mask whose second query sees no key."""
    mask = r.mask(*shape)
    mask[..., 1, :] = False
    return mask


def _padded(r: Draw, batch: int, length: int) -> np.ndarray:
    """A mask of keys: the last two of the last example are padding."""
    mask = np.ones((batch, 1, 1, length), bool)
    mask[-1, ..., -2:] = False
    return mask


def _attention(r: Draw, B: int, H: int, T: int, S: int, D: int, *more: Any) -> tuple:
    return r(B, H, T, D), r(B, H, S, D), r(B, H, S, D), *more


def _far(r: Draw) -> np.ndarray:
    """Numbers whose exponentials overflow float32."""
    return r(2, 3, 5) * 100 + 300


def _scored(r: Draw, *shape: int) -> np.ndarray:
    """Targets of 7 classes, of which the second is not scored."""
    targets = r.ids(7, *shape)
    targets.reshape(-1)[1] = -100
    return targets


CASES: dict[str, BuildCase] = {
    # ---- elementwise ----
    **_unary("negative"),
    **_unary("exp"),
    **_unary("sin"),
    **_unary("cos"),
    **_unary("tanh"),
    **_unary("sigmoid"),
    **_unary("silu"),
    **_unary("gelu"),
    **_unary("log", "positive"),
    **_unary("sqrt", "positive"),
    **_unary("absolute", "nonzero"),
    **_unary("relu", "nonzero"),
    "absolute.zeros": lambda r: (r.tied(3, 5),),
    "relu.zeros": lambda r: (r.tied(3, 5),),
    "sigmoid.far": lambda r: (r(9) * 100,),
    "silu.far": lambda r: (r(9) * 100,),
    "gelu.tanh": lambda r: (r(3, 5) * 3, "tanh"),
    "gelu.far": lambda r: (r(9) * 10,),
    "gelu.tanh_far": lambda r: (r(9) * 10, "tanh"),
    **_binary("add"),
    **_binary("subtract"),
    **_binary("multiply"),
    **_binary("divide", right="nonzero"),
    **_binary("power", left="positive"),
    **_binary("maximum"),
    **_binary("minimum"),
    "subtract.from_number": lambda r: (1.5, r(2, 3)),
    "divide.of_number": lambda r: (1.5, r.nonzero(2, 3)),
    "linear_attend.plain": lambda r: (r.positive(2, 5, 2, 4), r(2, 5, 3)),
    "positive_features.plain": lambda r: (r(2, 5, 4), r(2, 5, 3)),
    "power.square": lambda r: (r(2, 3), 2),
    "power.of_number": lambda r: (1.5, r(2, 3)),
    "maximum.ties": lambda r: (r.tied(4, 5), r.tied(4, 5)),
    "minimum.ties": lambda r: (r.tied(4, 5), r.tied(4, 5)),
    "astype.float32": lambda r: (r(3, 5), "float32"),
    "where.same": lambda r: (r.mask(3, 4), r(3, 4), r(3, 4)),
    "where.broadcast": lambda r: (r.mask(3, 1), r(4), r(2, 1, 1)),
    "where.number": lambda r: (r.mask(3, 4), r(3, 4), 0.5),
    "dropout.half": lambda r: (r(3, 7), 0.5, r),
    "dropout.tenth": lambda r: (r(2, 3, 11), 0.1, r),
    # ---- reductions ----
    "sum.all": lambda r: (r(3, 4, 5),),
    "sum.axis": lambda r: (r(3, 4, 5), 1),
    "sum.last": lambda r: (r(3, 4, 5), -1, True),
    "sum.axes": lambda r: (r(3, 4, 5), (0, -1)),
    "mean.all": lambda r: (r(3, 4, 5),),
    "mean.axis": lambda r: (r(3, 4, 5), 1),
    "mean.axes": lambda r: (r(3, 4, 5), (0, 2), True),
    "var.all": lambda r: (r(3, 4, 5),),
    "var.axis": lambda r: (r(3, 4, 5), 1),
    "var.unbiased": lambda r: (r(3, 4, 5) + 10, (0, 2), 1, True),
    "max.all": lambda r: (r(3, 4, 5),),
    "max.axis": lambda r: (r(3, 4, 5), 1),
    "max.ties": lambda r: (r.tied(4, 6), -1, True),
    "softmax.last": lambda r: (r(2, 3, 5),),
    "softmax.middle": lambda r: (r(2, 3, 5), 1),
    "softmax.far": lambda r: (_far(r),),
    "softmax.nothing": lambda r: (np.where(r.mask(4, 1), r(4, 5), -np.inf),),
    "log_softmax.last": lambda r: (r(2, 3, 5),),
    "log_softmax.middle": lambda r: (r(2, 3, 5), 1),
    "log_softmax.far": lambda r: (_far(r),),
    "layer_norm.rows": lambda r: (r(5, 7), r(7), r(7)),
    "layer_norm.deep": lambda r: (r(2, 3, 1, 33) * 3 + 5, r(33), r(33), 1e-12),
    "layer_norm.small": lambda r: (r(3, 6) * 1e-3, r(6), r(6), 1e-5),  # eps counts
    "cross_entropy.mean": lambda r: (r(5, 7) * 3, r.ids(7, 5)),
    "cross_entropy.ignored": lambda r: (r(2, 3, 7), _scored(r, 2, 3)),
    "cross_entropy.smooth": lambda r: (r(5, 7), _scored(r, 5), -100, 0.1),
    "cross_entropy.sum": lambda r: (r(5, 7), _scored(r, 5), -100, 0.0, "sum"),
    "cross_entropy.none": lambda r: (r(5, 7), _scored(r, 5), -100, 0.1, "none"),
    "cross_entropy.nothing": lambda r: (r(3, 7), np.full(3, -100)),
    "cross_entropy.far": lambda r: (r(5, 7) * 100 + 300, r.ids(7, 5)),
    # ---- products, lookup ----
    "matmul.matrices": lambda r: (r(3, 5), r(5, 7)),
    "matmul.batches": lambda r: (r(2, 1, 3, 5), r(4, 5, 2)),
    "matmul.vector_matrix": lambda r: (r(5), r(5, 3)),
    "matmul.matrices_vector": lambda r: (r(2, 3, 5), r(5)),
    "matmul.vectors": lambda r: (r(5), r(5)),
    "matmul.nothing_inside": lambda r: (r(3, 0), r(0, 4)),
    "matmul.long": lambda r: (r(3, 131), r(131, 17)),
    "einsum.product": lambda r: ("ij,jk->ik", r(3, 5), r(5, 2)),
    "einsum.scores": lambda r: ("bqhd,bkhd->bhqk", r(2, 3, 2, 5), r(2, 4, 2, 5)),
    "einsum.summed_away": lambda r: ("ij,k->k", r(3, 5), r(4)),
    "einsum.positions": lambda r: ("bhwc,hkc->bhwk", r(2, 3, 4, 5), r(3, 2, 5)),
    "linear.plain": lambda r: (r(5, 3), r(7, 3), r(7)),
    "linear.no_bias": lambda r: (r(2, 5, 3), r(7, 3)),
    "linear.vector": lambda r: (r(3), r(7, 3), r(7)),
    "linear.relu": lambda r: (r(5, 3), r(7, 3), r(7), "relu"),
    "linear.gelu": lambda r: (r(2, 5, 3), r(7, 3), r(7), "gelu"),
    "linear.gelu_tanh": lambda r: (r(5, 3), r(7, 3), r(7), "gelu_tanh"),
    "linear.silu": lambda r: (r(5, 3), r(7, 3), None, "silu"),
    "embedding.rows": lambda r: (r(5, 3), np.array([[4, 0, 4], [1, 4, 0]])),  # rows come twice
    "embedding.padding": lambda r: (r(5, 3), r.ids(5, 2, 7), 0),
    "attend.plain": lambda r: _attention(r, 2, 3, 5, 5, 4),
    "attend.one_key": lambda r: _attention(r, 1, 2, 3, 1, 5),
    "attend.causal": lambda r: (*_attention(r, 2, 2, 5, 5, 3), {"causal": True}),
    "attend.causal_after": lambda r: (*_attention(r, 1, 2, 3, 7, 4), {"causal": True}),
    "attend.causal_before": lambda r: (*_attention(r, 1, 2, 5, 3, 4), {"causal": True}),
    "attend.window": lambda r: (*_attention(r, 1, 2, 7, 7, 4), {"causal": True, "window": 3}),
    "attend.padding": lambda r: _attention(r, 2, 2, 3, 5, 4, _padded(r, 2, 5)),
    "attend.dark_row": lambda r: _attention(r, 2, 2, 3, 5, 4, _dark_row(r, 2, 1, 3, 5)),
    "attend.bias": lambda r: _attention(r, 2, 3, 4, 5, 2, None, r(1, 3, 4, 5)),
    "attend.bias_of_keys": lambda r: _attention(
        r, 2, 2, 4, 5, 2, r.mask(2, 2, 4, 5), r(2, 1, 1, 5)
    ),
    "attend.unscaled": lambda r: (*_attention(r, 2, 2, 3, 5, 4), {"scale": 1.0}),
    "attend.dropout": lambda r: (*_attention(r, 2, 2, 4, 5, 3), {"dropout": 0.3, "rng": r}),
    "attend.tiles": lambda r: (*_attention(r, 1, 1, 67, 131, 8), {"causal": True}),
    "self_attend.plain": lambda r: (r(2, 5, 24), 2),
    "self_attend.causal": lambda r: (r(2, 5, 18), 3, {"causal": True}),
    "self_attend.window": lambda r: (r(1, 9, 12), 1, {"causal": True, "window": 2, "scale": 1.0}),
    "self_attend.padding": lambda r: (r(2, 5, 24), 4, _padded(r, 2, 5)),
    "self_attend.bias": lambda r: (r(2, 5, 24), 2, _dark_row(r, 2, 1, 5, 5), r(1, 2, 5, 5)),
    "self_attend.dropout": lambda r: (r(2, 4, 12), 2, {"dropout": 0.2, "rng": r}),
    # ---- shapes ----
    "reshape.flat": lambda r: (r(2, 3, 4), 6, -1),
    "reshape.split": lambda r: (r(6, 4), (2, 3, 2, 2)),
    "transpose.reversed": lambda r: (r(2, 3, 4),),
    "transpose.heads": lambda r: (r(2, 3, 4, 5), 0, 2, 1, 3),
    "transpose.cycle": lambda r: (r(2, 3, 4), (2, 0, -2)),  # its inverse is another permutation
    "swapaxes.ends": lambda r: (r(2, 3, 4), 0, -1),
    "broadcast_to.rows": lambda r: (r(3, 1), (2, 3, 4)),
    "getitem.slices": lambda r: (r(5, 6), (slice(1, 4), slice(None, None, -2))),
    "getitem.rest": lambda r: (r(2, 3, 4), (..., None, 1)),
    "getitem.rows_twice": lambda r: (r(4, 3), np.array([[3, 0], [3, -1]])),
    "getitem.places": lambda r: (r(4, 3, 2), (np.array([0, 2, 0]), np.array([1, -1, 1]))),
    "getitem.mask": lambda r: (r(4, 3), r.mask(4, 3)),
    "concatenate.rows": lambda r: (r(2, 3), r(1, 3), r(4, 3), {"axis": 0}),
    "concatenate.last": lambda r: (r(2, 3), r(2, 1), {"axis": -1}),
    "stack.first": lambda r: (r(2, 3), r(2, 3), r(2, 3), {"axis": 0}),
    "stack.last": lambda r: (r(2, 3), r(2, 3), {"axis": -1}),
    "pad.around": lambda r: (r(2, 3), ((1, 0), (2, 3))),
    "pad.value": lambda r: (r(2, 3), ((0, 0), (0, 1)), -1.5),
    # ---- images ----
    "unfold.plain": lambda r: (r(2, 3, 5, 6), (2, 3)),
    "unfold.pair": lambda r: (r(1, 2, 7, 5), (3, 2), (2, 1), (1, 0), (2, 1)),
    "unfold.patches": lambda r: (r(2, 3, 4, 6), 2, 2),
    "fold.overlap": lambda r: (r(2, 16, 18), (4, 5), (3, 2), 1, (1, 0)),
    "fold.patches": lambda r: (r(2, 6, 12), (4, 6), 2, 2),
    "conv2d.plain": lambda r: (r(2, 3, 7, 5), r(4, 3, 3, 3), r(4)),
    "conv2d.pair": lambda r: (r(1, 2, 9, 8), r(3, 2, 3, 2), None, (2, 3), (1, 2), (2, 1)),
    "conv2d.strided": lambda r: (r(2, 3, 8, 8), r(5, 3, 3, 3), r(5), 2, 1),  # a row is left over
    "conv2d.groups": lambda r: (r(2, 4, 5, 6), r(6, 2, 3, 3), r(6), 1, 1, 1, 2),
    "conv2d.depthwise": lambda r: (r(1, 3, 6, 5), r(3, 1, 3, 3), None, 1, 1, 1, 3),
    "conv2d.points": lambda r: (r(2, 5, 3, 4), r(7, 5, 1, 1), r(7)),
    "conv_transpose2d.plain": lambda r: (r(2, 3, 4, 5), r(3, 2, 3, 3), r(2)),
    "conv_transpose2d.upsample": lambda r: (r(1, 4, 3, 5), r(4, 2, 2, 2), r(2), 2),
    "conv_transpose2d.uneven": lambda r: (r(2, 2, 3, 4), r(2, 3, 3, 2), None, (2, 3), 1, (1, 2)),
    "conv_transpose2d.groups": lambda r: (r(1, 4, 3, 3), r(4, 2, 3, 3), r(4), 2, 1, 0, 2),
    "max_pool2d.plain": lambda r: (r(2, 3, 6, 4), 2),
    "max_pool2d.overlap": lambda r: (r(2, 2, 7, 8), 3, 2, 1),
    "max_pool2d.ties": lambda r: (r.tied(1, 2, 6, 6), 3, 2),  # the first gets all
    "avg_pool2d.plain": lambda r: (r(2, 3, 6, 4), 2),
    "avg_pool2d.overlap": lambda r: (r(2, 2, 7, 8), (3, 2), (2, 1), (1, 0)),
    "avg_pool2d.true_pixels": lambda r: (r(2, 2, 5, 5), 3, 2, 1, False),
    "resize.larger": lambda r: (r(2, 3, 4, 5), (7, 9)),
    "resize.smaller": lambda r: (r(1, 2, 9, 8), (4, 3)),
    "resize.bicubic": lambda r: (r(1, 2, 5, 6), (8, 4), "bicubic"),
    "resize.nearest": lambda r: (r(1, 2, 5, 6), (8, 4), "nearest"),
    "batch_norm.plain": lambda r: (r(3, 4, 5, 2) * 3 + 5, r(4), r(4)),
    "batch_norm.frozen": lambda r: (
        r(2, 3, 4, 4),
        r(3),
        r(3),
        None,
        "identity",
        1e-5,
        r.moments(3),
    ),
    "batch_norm.residual": lambda r: (r(3, 2, 4, 3), r(2), r(2), r(3, 2, 4, 3)),
    "batch_norm.relu": lambda r: (r(3, 2, 4, 3), r(2), r(2), r(3, 2, 4, 3), "relu", 1e-3),
}


def arguments(name: str) -> tuple[list, dict[str, Any]]:
    """The positional arguments and the options of a case, the same at every call."""
    args = list(CASES[name](Draw(name)))
    options = args.pop() if args and isinstance(args[-1], dict) else {}
    return args, options
