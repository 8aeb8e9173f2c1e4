"""Attention: scale, mask, softmax and its gradient, and how heads lie in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .linear import ORDERS, heads_last, interleaved
from .registry import mistake


@dataclass(frozen=True)
class Plain:
    """Attention with a T x S array of scores, and the choices that ports make differently."""

    mask: Any = None
    bias: Any = None
    causal: bool = False
    window: int = 0
    scale: float = 1.0
    shift: int = 0  # of the causal mask: 1 sees one key too many
    axis: int = -1  # of the softmax
    filler: float = -np.inf  # the score where nothing may be seen
    centred: bool = True  # the softmax's gradient has its sum
    naive: bool = False  # 0 / 0 where a query sees nothing
    scale_back: float | None = None  # of the queries' and keys' gradients

    @property
    def hides(self):
        """Some keys are hidden from some queries."""
        return self.causal or self.window > 0 or self.mask is not None

    def allowed(self, T, S):
        seen = np.ones((T, S), bool)
        distance = np.arange(S)[None, :] - (np.arange(T)[:, None] + S - T)
        if self.causal:
            seen &= distance <= self.shift
        if self.window:
            seen &= distance > -self.window
        return seen if self.mask is None else seen & self.mask

    def run(self, q, k, v):
        """(B, H, T, D), (B, H, S, D) twice -> (B, H, T, D), and the pullback: dq, dk, dv, dbias."""
        seen = self.allowed(q.shape[2], k.shape[2])
        scores = self.scale * (q @ k.swapaxes(-1, -2))
        if self.bias is not None:
            scores = scores + self.bias
        scores = np.where(seen, scores, self.filler)
        peak = scores.max(axis=self.axis, keepdims=True)
        e = np.exp(scores - np.where(np.isfinite(peak), peak, 0))
        total = e.sum(axis=self.axis, keepdims=True)
        prob = e / (total if self.naive else np.where(total == 0, 1, total))

        def vjp(dy):
            dprob = dy @ v.swapaxes(-1, -2)
            mean = (dprob * prob).sum(axis=self.axis, keepdims=True) if self.centred else 0
            dscores = np.where(seen, prob * (dprob - mean), 0)
            back = self.scale if self.scale_back is None else self.scale_back
            dq, dk = back * dscores @ k, back * dscores.swapaxes(-1, -2) @ q
            dbias = None if self.bias is None else dscores
            return dq, dk, prob.swapaxes(-1, -2) @ dy, dbias

        return prob @ v, vjp


# What each mistake changes: the choices as they should be, D and heads -> the choices made.
CHANGES = {
    "scale 1/sqrt(D) left out": (
        "the port does not divide the scores by sqrt(D), D the width of a head",
        lambda right, D, H: replace(right, scale=1.0),
    ),
    "scale applied twice": (
        "the port divides the scores by D; it should be sqrt(D), D the width of a head",
        lambda right, D, H: replace(right, scale=right.scale / math.sqrt(D)),
    ),
    "scale 1/sqrt(C)": (
        "the port divides the scores by the root of the whole width; "
        "it should be that of one head's",
        lambda right, D, H: replace(right, scale=1 / math.sqrt(H * D)),
    ),
    "scale 1/sqrt(D) where there is none": (
        "the port divides the scores by sqrt(D); the golden model does not",
        lambda right, D, H: replace(right, scale=1 / math.sqrt(D)),
    ),
    "scores multiplied by sqrt(D)": (
        "the port multiplies the scores by sqrt(D); it should divide",
        lambda right, D, H: replace(right, scale=math.sqrt(D)),
    ),
    "causal mask one too strict": (
        "the port's mask hides the position itself: key < query; it should be key <= query",
        lambda right, D, H: replace(right, shift=-1) if right.causal else None,
    ),
    "causal mask one too strict, first row all alike": (
        "the port's mask hides the position itself (key < query; it should be key <= query) by a "
        "large negative number, so that the first query sees all keys alike",
        lambda right, D, H: replace(right, shift=-1, filler=-1e30) if right.causal else None,
    ),
    "causal mask one too strict, first row NaN": (
        "the port's mask hides the position itself (key < query; it should be key <= query), "
        "so that the first query sees nothing and its softmax is 0 / 0",
        lambda right, D, H: replace(right, shift=-1, naive=True) if right.causal else None,
    ),
    "causal mask one too wide": (
        "the port's mask lets a position see the next one: key <= query + 1; "
        "it should be key <= query",
        lambda right, D, H: replace(right, shift=1) if right.causal else None,
    ),
    "causal mask left out": (
        "in the port every position sees those after it",
        lambda right, D, H: replace(right, causal=False) if right.causal else None,
    ),
    "causal mask where there is none": (
        "in the port a position does not see those after it; in the golden model it does",
        lambda right, D, H: None if right.causal else replace(right, causal=True),
    ),
    "mask left out": (
        "the port ignores the mask, and attends to padding",
        lambda right, D, H: None if right.mask is None else replace(right, mask=None),
    ),
    "mask inverted": (
        "the port attends where the mask is False; True is where attention is allowed",
        lambda right, D, H: None if right.mask is None else replace(right, mask=~right.mask),
    ),
    "masked scores are 0": (
        "the port sets masked scores to 0 before the softmax; they should be -inf",
        lambda right, D, H: replace(right, filler=0.0) if right.hides else None,
    ),
    "window one too wide": (
        "the port's window has one key more than the golden model's",
        lambda right, D, H: replace(right, window=right.window + 1) if right.window else None,
    ),
    "window one too narrow": (
        "the port's window has one key less than the golden model's",
        lambda right, D, H: replace(right, window=right.window - 1) if right.window > 1 else None,
    ),
    "window left out": (
        "the port attends to all keys; the golden model to a window of them",
        lambda right, D, H: replace(right, window=0) if right.window else None,
    ),
    "softmax over the queries": (
        "the port's probabilities add up to 1 over the queries; it should be over the keys",
        lambda right, D, H: replace(right, axis=-2),
    ),
    "relative bias left out": (
        "the port does not add the bias to the scores",
        lambda right, D, H: None if right.bias is None else replace(right, bias=None),
    ),
    "softmax's gradient without its sum": (
        "the port's backward of softmax is p * dp; it should be p * (dp - sum(p * dp))",
        lambda right, D, H: replace(right, centred=False),
    ),
    "scale left out of the gradient": (
        "the port's gradients of queries and keys lack the factor 1/sqrt(D) of the scores",
        lambda right, D, H: replace(right, scale_back=1.0) if right.scale != 1 else None,
    ),
    "scale applied twice in the gradient": (
        "the port multiplies the gradients of queries and keys by 1/sqrt(D) twice",
        lambda right, D, H: replace(right, scale_back=right.scale**2) if right.scale != 1 else None,
    ),
}


class _Change:
    """A key of CHANGES; formats as its parts."""

    def __init__(self, name):
        self.name = name
        self.sentence, self.change = CHANGES[name]

    def __format__(self, spec):
        return self.sentence if spec == "why" else self.name


EACH = tuple(map(_Change, CHANGES))


def _plain(q, options, mask, bias):
    scale = options["scale"]
    return Plain(
        mask=mask,
        bias=bias,
        causal=options["causal"],
        window=options["window"],
        scale=1 / math.sqrt(q.shape[-1]) if scale is None else scale,
    )


@mistake("{each}", "attend", "{each:why}", each=EACH)
def other_attend(op, q, k, v, mask, bias, each, **options):
    right = _plain(q, options, mask, bias)
    wrong = each.change(right, q.shape[3], q.shape[1])
    if options["dropout"] or _same(wrong, right):
        return None
    value, vjp = wrong.run(q, k, v)

    def other(dy):
        dq, dk, dv, dbias = vjp(dy)
        return dq, dk, dv, None, dbias

    return value, other


@mistake("{each}", "self_attend", "{each:why}", each=EACH)
def other_self_attend(op, qkv, heads, mask, bias, each, **options):
    q, k, v = _split(qkv, heads)
    right = _plain(q, options, mask, bias)
    wrong = each.change(right, q.shape[3], heads)
    if options["dropout"] or _same(wrong, right):
        return None
    value, vjp = wrong.run(q, k, v)

    def other(dy):
        B, T, C = dy.shape
        *parts, dbias = vjp(dy.reshape(B, T, heads, C // heads).swapaxes(1, 2))
        joined = np.stack(parts).transpose(1, 3, 0, 2, 4)  # 3 B H T D -> B T 3 H D
        return joined.reshape(B, T, 3 * C), None, None, dbias

    return _join(value), other


def _same(wrong, right):
    """No change; arrays are compared by identity."""
    if wrong is None or wrong.mask is not right.mask or wrong.bias is not right.bias:
        return wrong is None
    return replace(wrong, mask=None, bias=None) == replace(right, mask=None, bias=None)


def _split(qkv, heads):
    B, T, width = qkv.shape
    return qkv.reshape(B, T, 3, heads, width // (3 * heads)).transpose(2, 0, 3, 1, 4)


def _join(y):
    B, H, T, D = y.shape
    return y.swapaxes(1, 2).reshape(B, T, H * D)  # B H T D -> B T (H D)


# ---- how the heads lie in memory -----------------------------------------------------------------


def _reordered(op, qkv, arguments, options, order, out=None):
    """Attention that takes its input, and leaves its result, in another order of the last axis."""
    value, vjp = op(qkv[..., order], *arguments, **options)
    out = np.arange(value.shape[-1]) if out is None else out

    def other(dy):
        return vjp(dy[..., np.argsort(out)])[0][..., np.argsort(order)], None, None, None

    return value[..., out], other


@mistake(
    "query, key and value taken in the order {order}",
    "self_attend",
    "the port takes the three parts of the projection for {order}; they are qkv",
    order=ORDERS,
)
def other_parts(op, qkv, *arguments, order, **options):
    # Where the port looks for its first, second and third part.
    places = ["qkv".index(letter) for letter in order]
    parts = np.split(np.arange(qkv.shape[-1]), 3)
    taken = np.concatenate([parts[i] for i in np.argsort(places)])
    return _reordered(op, qkv, arguments, options, taken)


@mistake(
    "query, key and value interleaved head by head",
    "self_attend",
    "the port reads the projection as (heads, 3, D); it is (3, heads, D)",
)
def interleaved_parts(op, qkv, heads, *arguments, **options):
    order = interleaved(qkv.shape[-1], heads)
    return _reordered(op, qkv, (heads, *arguments), options, order)


@mistake(
    "heads and their width swapped",
    "self_attend",
    "the port splits the width as (D, heads); it is (heads, D)",
)
def swapped_heads(op, qkv, heads, *arguments, **options):
    C = qkv.shape[-1] // 3
    if heads in (1, C):
        return None
    one = heads_last(C, heads)
    order = np.concatenate([one, one + C, one + 2 * C])
    return _reordered(op, qkv, (heads, *arguments), options, order, np.argsort(one))


@mistake(
    "heads and their width swapped in the projection",
    "self_attend",
    "the port splits queries, keys and values as (D, heads); they are (heads, D)",
)
def swapped_parts(op, qkv, heads, *arguments, **options):
    C = qkv.shape[-1] // 3
    if heads in (1, C):
        return None
    one = heads_last(C, heads)
    order = np.concatenate([one, one + C, one + 2 * C])
    return _reordered(op, qkv, (heads, *arguments), options, order)


@mistake(
    "heads and their width swapped in the result",
    "self_attend",
    "the port joins the heads as (D, heads); it should be (heads, D)",
)
def swapped_result(op, qkv, heads, *arguments, **options):
    C = qkv.shape[-1] // 3
    if heads in (1, C):
        return None
    order = np.arange(3 * C)
    return _reordered(
        op, qkv, (heads, *arguments), options, order, np.argsort(heads_last(C, heads))
    )


@mistake(
    "heads not moved back",
    "self_attend",
    "the port reshapes (B, H, T, D) to (B, T, C) without the transpose to (B, T, H, D)",
)
def not_moved_back(op, qkv, heads, *arguments, **options):
    value, vjp = op(qkv, heads, *arguments, **options)
    B, T, C = value.shape

    def moved(y):  # B T (H D) -> B H T D, taken for B T C
        return y.reshape(B, T, heads, -1).swapaxes(1, 2).reshape(B, T, C)

    def back(dy):
        return dy.reshape(B, heads, T, -1).swapaxes(1, 2).reshape(B, T, C)

    return None if heads == 1 else (moved(value), lambda dy: vjp(back(dy)))


@mistake(
    "heads not moved forward",
    "self_attend",
    "the port reshapes (B, T, C) to (B, H, T, D) without the transpose from (B, T, H, D)",
)
def not_moved(op, qkv, heads, *arguments, **options):
    B, T, C = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    if heads == 1:
        return None

    def forward(x):  # each part's (B T C), taken for B H T D -> B T H D
        parts = x.reshape(B, T, 3, C).swapaxes(1, 2).reshape(B, 3, heads, T, C // heads)
        return parts.transpose(0, 3, 1, 2, 4).reshape(B, T, 3 * C)

    def backward(dx):
        parts = dx.reshape(B, T, 3, heads, C // heads).transpose(0, 2, 3, 1, 4)
        return parts.reshape(B, 3, T, C).swapaxes(1, 2).reshape(B, T, 3 * C)

    value, vjp = op(forward(qkv), heads, *arguments, **options)
    return value, lambda dy: (backward(vjp(dy)[0]), None, None, None)
