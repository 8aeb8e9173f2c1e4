"""Scaled dot-product attention."""

from __future__ import annotations

import math

import numpy as np

from .. import kernels
from ..tensor import op
from .checks import check_floating, check_probability, draw_key


@op
def attend(
    q, k, v, mask=None, bias=None, *, causal=False, window=0, scale=None, dropout=0.0, rng=None
):
    """softmax(scale * q k^T + bias) v, without a T x S array (Vaswani et al. 2017, section 3.2.1).

    q: (B, H, T, D), k and v: (B, H, S, D) -> (B, H, T, D).
    mask: boolean, four axes that broadcast to (B, H, T, S), True where attention is allowed; a
    query that may see nothing gives zeros.  bias: added to the scores, likewise four axes.
    causal: query i sees keys up to i + S - T.  window: and none at i + S - T - window or before
    (Child et al. 2019's local attention); 0 for no such bound.  scale: 1 / sqrt(D) unless given.
    dropout: on the probabilities, drawn from the Generator ``rng``.
    """
    settings = _settings(q, k, v, mask, bias, causal, window, scale, dropout, rng)
    y, lse = kernels.attend(q, k, v, *settings)

    def vjp(dy):
        dq, dk, dv = kernels.attend_vjp(dy, q, k, v, y, lse, *settings)
        return dq, dk, dv, None, lambda: kernels.attend_dbias(dy, q, k, v, y, lse, *settings)

    return y, vjp


@op
def self_attend(
    qkv, heads, mask=None, bias=None, *, causal=False, window=0, scale=None, dropout=0.0, rng=None
):
    """``attend``, of one array that holds queries, keys and values side by side.

    qkv: (B, T, 3 C), C = heads * D -> (B, T, C).  No array is copied on the way.
    """
    if qkv.ndim != 3 or heads < 1 or qkv.shape[2] % (3 * heads):
        raise ValueError(
            f"self_attend: qkv {qkv.shape} with {heads} heads; expected (B, T, 3 * heads * D)"
        )
    B, T, C = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3

    def split(x):
        return x.reshape(B, T, 3, heads, C // heads).transpose(2, 0, 3, 1, 4)  # 3 B H T D

    def join(y):
        return y.swapaxes(1, 2).reshape(B, T, C)  # B H T D -> B T (H D)

    q, k, v = split(qkv)
    settings = _settings(q, k, v, mask, bias, causal, window, scale, dropout, rng)
    y, lse = kernels.attend(q, k, v, *settings)

    def vjp(dy):
        dy = dy.reshape(B, T, heads, C // heads).swapaxes(1, 2)
        dqkv = np.empty(qkv.shape, qkv.dtype)
        kernels.attend_vjp(dy, q, k, v, y, lse, *settings, tuple(split(dqkv)))
        return dqkv, None, None, lambda: kernels.attend_dbias(dy, q, k, v, y, lse, *settings)

    return join(y), vjp


def _settings(q, k, v, mask, bias, causal, window, scale, dropout, rng):
    """What the kernels want to know, checked."""
    _check(q, k, v, mask, bias)
    check_floating("attend", q, k, v, bias)
    check_probability("attend", dropout)
    if window < 0:
        raise ValueError(f"attend: window is {window}; expected a number of keys, or 0 for all")
    D, S = q.shape[3], k.shape[2]
    key = draw_key("attend", rng) if dropout else np.uint64(0)
    scale = 1 / math.sqrt(D) if scale is None else float(scale)
    mask, bias = (
        x if x is None or x.shape[3] == S else np.broadcast_to(x, (*x.shape[:3], S))
        for x in (mask, bias)
    )
    return mask, bias, bool(causal), int(window), scale, float(dropout), key


def _check(q, k, v, mask, bias):
    fits = q.ndim == k.ndim == v.ndim == 4 and k.shape == v.shape and q.shape[:2] == k.shape[:2]
    if not fits or not q.shape[3] == k.shape[3] > 0:
        raise ValueError(
            f"attend: q {q.shape}, k {k.shape}, v {v.shape}; "
            f"expected (B, H, T, D), (B, H, S, D) twice, D > 0"
        )
    full = (*q.shape[:3], k.shape[2])
    for name, x in (("mask", mask), ("bias", bias)):
        if x is not None and (
            x.ndim != 4 or any(n not in (1, m) for n, m in zip(x.shape, full, strict=True))
        ):
            raise ValueError(
                f"attend: {name} {x.shape} does not broadcast to (B, H, T, S) = {full}; "
                f"it needs four axes (a mask of keys (B, S) is mask[:, None, None, :])"
            )
    if mask is not None and mask.dtype != bool:
        raise TypeError(
            f"attend: mask has dtype {mask.dtype}; expected bool, True where attention is allowed"
        )
