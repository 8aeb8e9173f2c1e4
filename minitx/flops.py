"""How many multiply-adds a computation has: what papers call FLOPs, or MACs.

Counted while it runs, from the shapes that its products see, so that the count is of the code and
not of a formula about it.  As in the papers, all else (norms, softmax, activations, sums) is left
out, and attention counts every query times every key, though a causal kernel skips some.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from .observer import Observer, no_grad, observing
from .tensor import Tensor


def _matmul(a, b, y):
    return math.prod(y) * a[-1]


def _linear(x, weight, y):
    return math.prod(y) * weight[1]


def _linear_attend(features, v, y):
    return math.prod(y) * features[3] * 2  # the sum over keys, and each query's share of it


def _einsum(subscripts, a, b, y):
    inputs = subscripts.replace(" ", "").partition("->")[0]
    letters = dict(zip(inputs.replace(",", ""), (*a, *b), strict=True))
    return math.prod(letters.values())


def _conv2d(x, weight, y):
    return math.prod(y) * math.prod(weight[1:])


def _conv_transpose2d(x, weight, y):
    return math.prod(x) * math.prod(weight[1:])


def _attend(q, k, v, y):
    return math.prod(q) * k[2] * 2  # scores, and the mean of the values


def _self_attend(qkv, y):
    B, T, C = y
    return B * T * T * C * 2


_PRODUCTS: dict[str, tuple[Callable, int]] = {  # op -> its count from shapes, how many arguments
    "matmul": (_matmul, 2),
    "linear": (_linear, 2),
    "einsum": (_einsum, 3),
    "conv2d": (_conv2d, 2),
    "conv_transpose2d": (_conv_transpose2d, 2),
    "attend": (_attend, 3),
    "self_attend": (_self_attend, 1),
    "linear_attend": (_linear_attend, 2),
}


class MultiplyAdds(Observer):
    """Adds up what runs within ``observing(MultiplyAdds())``, by op."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def forward(self, name: str, args: tuple, result: Tensor) -> None:
        if name in _PRODUCTS:
            count, arguments = _PRODUCTS[name]
            shapes = (x if isinstance(x, str) else np.shape(x) for x in args[:arguments])
            self.counts[name] += count(*shapes, result.shape)


def count_multiply_adds(function: Callable, *inputs: Any, **options: Any) -> Counter[str]:
    """Multiply-adds of ``function(*inputs, **options)`` by op; their sum is ``.total()``.

    It runs once, without a graph.  A model built within ``nn.shapes_only()`` will do, whatever its
    size: its weights take no memory until an op reads them.
    """
    seen = MultiplyAdds()
    with no_grad(), observing(seen):
        function(*inputs, **options)
    return seen.counts
