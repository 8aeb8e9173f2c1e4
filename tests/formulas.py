"""The value of every op, by a formula in NumPy that shares no code with it."""

from __future__ import annotations

import math

import formulas_images
import numpy as np


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def gelu(x, approximate):
    if approximate == "tanh":
        return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    erf = np.vectorize(math.erf, otypes=[float])
    return x * (1 + erf(x / math.sqrt(2))) / 2


def layer_norm(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdims=True)
    return weight * centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) + bias


def cross_entropy(logits, targets, ignore_index, label_smoothing, reduction):
    losses = np.zeros(targets.shape)
    for place in np.ndindex(targets.shape):
        if targets[place] != ignore_index:
            wanted = np.full(logits.shape[-1], label_smoothing / logits.shape[-1])
            wanted[targets[place]] += 1 - label_smoothing
            losses[place] = -(wanted * np.log(softmax(logits[place]))).sum()
    if reduction == "none":
        return losses
    return losses.sum() / (max(1, (targets != ignore_index).sum()) if reduction == "mean" else 1)


def attend(q, k, v, mask=None, bias=None, causal=False, window=0, scale=None, dropout=0, rng=None):
    """One query at a time.  Ignores dropout, but then returns the probabilities too."""
    (B, H, T, D), S = q.shape, k.shape[2]
    full = B, H, T, S
    mask = np.broadcast_to(True if mask is None else mask, full)
    bias = np.broadcast_to(0.0 if bias is None else bias, full)
    scale = D**-0.5 if scale is None else scale
    y, prob = np.zeros((B, H, T, v.shape[-1])), np.zeros(full)
    for b, h, i in np.ndindex(B, H, T):
        at = i + S - T
        seen = [
            j
            for j in range(S)
            if mask[b, h, i, j] and not (causal and j > at) and not (window and j <= at - window)
        ]
        if seen:
            prob[b, h, i, seen] = softmax(scale * k[b, h, seen] @ q[b, h, i] + bias[b, h, i, seen])
            y[b, h, i] = prob[b, h, i, seen] @ v[b, h, seen]
    return (y, prob) if dropout else y


def self_attend(qkv, heads, *more, **options):
    q, k, v = (
        np.stack(np.split(part, heads, axis=2), axis=1) for part in np.split(qkv, 3, axis=2)
    )  # B T (H D) -> B H T D
    return np.concatenate(list(attend(q, k, v, *more, **options).swapaxes(0, 1)), axis=2)


def linear_attend(features, v, eps):
    q, k = np.moveaxis(features, 2, 0)
    weights = np.einsum("btm,bsm->bts", q, k)
    return weights @ v / (weights.sum(axis=2, keepdims=True) + eps)


def positive_features(along, x):
    return np.exp(along - (x**2).sum(axis=-1, keepdims=True) / 2) / along.shape[-1] ** 0.5


def linear(x, weight, bias, activation):
    z = np.einsum("...i,oi->...o", x, weight) + (0 if bias is None else bias)
    if activation.startswith("gelu"):
        return gelu(z, "tanh" if activation == "gelu_tanh" else "none")
    sigmoid = 1 / (1 + np.exp(-z))
    return {"identity": z, "relu": np.where(z > 0, z, 0), "silu": z * sigmoid}[activation]


VALUES = {
    "absolute": abs,
    "add": lambda a, b: a + b,
    "astype": lambda x, dtype: x,
    "attend": attend,
    "broadcast_to": lambda x, shape: np.zeros(shape) + x,
    "concatenate": lambda *xs, axis: np.concatenate(xs, axis),
    "cos": np.cos,
    "cross_entropy": cross_entropy,
    "divide": lambda a, b: a / b,
    "einsum": np.einsum,
    "embedding": lambda table, ids: table[ids],
    "exp": np.exp,
    "gelu": gelu,
    "getitem": lambda x, index: x[index],
    "layer_norm": layer_norm,
    "linear": linear,
    "linear_attend": linear_attend,
    "log": np.log,
    "log_softmax": lambda x, axis: np.log(softmax(x, axis)),
    "matmul": lambda a, b: a @ b,
    "max": lambda x, axis, keepdims: x.max(axis, keepdims=keepdims),
    "maximum": lambda a, b: np.where(a > b, a, b),
    "mean": lambda x, axis, keepdims: x.mean(axis, keepdims=keepdims),
    "minimum": lambda a, b: np.where(a < b, a, b),
    "multiply": lambda a, b: a * b,
    "negative": lambda x: -x,
    "pad": lambda x, width, value: np.pad(x, width, constant_values=value),
    "positive_features": positive_features,
    "power": lambda a, b: np.exp(b * np.log(a)),
    "relu": lambda x: x * (x > 0),
    "reshape": lambda x, *shape: x.reshape(*shape),
    "self_attend": self_attend,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "sin": np.sin,
    "softmax": softmax,
    "sqrt": lambda x: x**0.5,
    "stack": lambda *xs, axis: np.stack(xs, axis),
    "subtract": lambda a, b: a - b,
    "sum": lambda x, axis, keepdims: x.sum(axis, keepdims=keepdims),
    "swapaxes": lambda x, i, j: np.swapaxes(x, i, j),
    "tanh": lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1),
    "transpose": lambda x, *axes: x.transpose(*axes),
    "var": lambda x, axis, ddof, keepdims: np.var(x, axis, ddof=ddof, keepdims=keepdims),
    "where": lambda c, a, b: np.choose(c, (b, a)),
} | formulas_images.VALUES
