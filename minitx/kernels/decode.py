"""One more position through a whole block: what generating does again and again.

For one token, calling a block's seven kernels one by one takes as long as their arithmetic.
"""

from __future__ import annotations

import numpy as np

from ..jit import COMPILED, compiled, jit, kernel
from .attention import attend_ref
from .attention_heads import attend_few
from .linalg import FEW_ROWS, few_rows, linear_ref
from .norm import layer_norm_jit, layer_norm_ref
from .sums import holds


def decode_ref(x, weights, keys, values, length, norm_first, activation, eps, window, scale):
    """Causal self-attention and MLP of the position ``length``, each with residual and norm.

    x: (B, C) -> (B, C).  weights: weight and bias of the first norm, of queries, keys and values
    in one (its bias may be None), of attention's output, of the second norm, of the MLP's two
    layers; matrices are (outputs, inputs).  keys, values: (B, H, capacity, D), of the positions
    before this one, whose own are written there.  activation: an index into ACTIVATIONS.  window,
    scale: as ``attend`` has them.
    """
    norm1, shift1, qkv, qkv_bias, output, output_bias, *after = weights
    norm2, shift2, up, up_bias, down, down_bias = after
    B, H, _, D = keys.shape

    def attention(x):
        q, k, v = linear_ref(x, qkv, qkv_bias, 0)[0].reshape(B, 3, H, D).swapaxes(0, 1)
        keys[:, :, length], values[:, :, length] = k, v
        seen = keys[:, :, : length + 1], values[:, :, : length + 1]
        options = None, None, True, window, scale, 0.0, np.uint64(0)
        y, _ = attend_ref(q[:, :, None], *seen, *options)  # B H 1 D
        return linear_ref(y.reshape(B, H * D), output, output_bias, 0)[0]

    def mlp(x):
        return linear_ref(linear_ref(x, up, up_bias, activation)[0], down, down_bias, 0)[0]

    for f, weight, bias in ((attention, norm1, shift1), (mlp, norm2, shift2)):
        if norm_first:
            x = x + f(layer_norm_ref(x, weight, bias, eps)[0])
        else:
            x = layer_norm_ref(x + f(x), weight, bias, eps)[0]
    return x


@jit
def _linear(x, weight, bias, activation):
    (B, inputs), outputs = x.shape, len(weight)
    z = np.empty((1, B, outputs), x.dtype)
    y = np.empty_like(z) if activation else z
    few_rows(x.reshape(1, B, inputs), weight.reshape(1, outputs, inputs), bias, activation, y, z)
    return y.reshape(B, outputs)


@jit
def _sum(x, y):
    total = np.empty_like(x)
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            total[n, c] = x[n, c] + y[n, c]
    return total


@jit
def _attention(x, qkv, qkv_bias, output, output_bias, keys, values, length, window, scale):
    B, H, _, D = keys.shape
    parts = _linear(x, qkv, qkv_bias, 0).reshape(B, 3, H, D)
    for b in range(B):
        for h in range(H):
            for d in range(D):  # whole slices would take Numba six seconds to compile
                keys[b, h, length, d] = parts[b, 1, h, d]
                values[b, h, length, d] = parts[b, 2, h, d]
    seen = keys[:, :, : length + 1], values[:, :, : length + 1]
    nothing = np.empty((0, 0, 0, 0), np.bool_), np.empty((0, 0, 0, 0), x.dtype)
    q, y = parts.reshape(B, 3, H, 1, D)[:, 0], np.empty((B, H, 1, D), x.dtype)
    lse = np.empty((B, H, 1), x.dtype)
    attend_few(q, seen[0], seen[1], nothing[0], nothing[1], True, window, scale, y, lse)
    return _linear(y.reshape(B, H * D), output, output_bias, 0)


@jit
def _decode(
    x, norm1, shift1, qkv, qkv_bias, output, output_bias,
    norm2, shift2, up, up_bias, down, down_bias,
    keys, values, length, norm_first, activation, eps, window, scale,
):  # fmt: skip
    y = layer_norm_jit(x, norm1, shift1, eps)[0] if norm_first else x
    y = _attention(y, qkv, qkv_bias, output, output_bias, keys, values, length, window, scale)
    x = _sum(x, y)
    if not norm_first:
        x = layer_norm_jit(x, norm1, shift1, eps)[0]
    y = layer_norm_jit(x, norm2, shift2, eps)[0] if norm_first else x
    y = _linear(_linear(y, up, up_bias, activation), down, down_bias, 0)
    x = _sum(x, y)
    return x if norm_first else layer_norm_jit(x, norm2, shift2, eps)[0]


_decode = compiled(_decode)


def decode_jit(x, weights, keys, values, *options):
    ours = COMPILED and len(x) <= FEW_ROWS and x.dtype.char in "fd"
    if not ours or not all(holds(cache, x, cache.shape) for cache in (keys, values)):
        return decode_ref(x, weights, keys, values, *options)
    weights = [np.empty(0, x.dtype) if w is None else w for w in weights]
    return _decode(x, *weights, keys, values, *options)


decode = kernel(decode_ref, decode_jit)
