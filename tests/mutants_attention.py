"""Wrong pullbacks of attention, which gradcheck must reject."""

from __future__ import annotations

import numpy as np
from mutants import kernel_mutant, mutant, normal, rng
from strategies import Seed

QKV = normal(2, 2, 5, 4), normal(2, 2, 6, 4), normal(2, 2, 6, 4)
MASK = rng.random((2, 1, 5, 6)) < 0.6
SETTINGS = ["mask", "bias", "causal", "window", "scale", "p", "key"]


def attention_mutant(title, change, *more, **options):
    """Backward runs with some of its settings changed."""

    def wrong(right, dy, q, k, v, y, lse, *settings):
        settings = dict(zip(SETTINGS, settings, strict=True))
        settings |= change(settings)
        return right(dy, q, k, v, y, lse, *settings.values())

    wrong.__name__ = title
    kernel_mutant("attend", "attend_vjp", *QKV, *more, **options)(wrong)


attention_mutant("scale_forgotten", lambda s: {"scale": 1.0})
attention_mutant("causal_forgotten", lambda s: {"causal": False}, causal=True)
attention_mutant("window_off_by_one", lambda s: {"window": 3}, causal=True, window=2)
attention_mutant("mask_forgotten", lambda s: {"mask": None}, MASK)
attention_mutant("mask_shifted", lambda s: {"mask": np.roll(s["mask"], 1, axis=3)}, MASK)
attention_mutant("bias_forgotten", lambda s: {"bias": None}, None, normal(1, 1, 5, 6))
attention_mutant("dropout_forgotten", lambda s: {"p": 0.0}, dropout=0.3, rng=Seed(0))
attention_mutant(
    "other_dropout_mask", lambda s: {"key": s["key"] + np.uint64(1)}, dropout=0.3, rng=Seed(0)
)


@kernel_mutant("attend", "attend_vjp", *QKV, causal=True)
def causal_off_by_one(right, dy, q, k, v, y, lse, mask, bias, causal, *rest):
    upper = np.arange(6) <= np.arange(5)[:, None]  # one key less than with offset S - T = 1
    return right(dy, q, k, v, y, lse, upper[None, None], bias, False, *rest)


@kernel_mutant("attend", "attend_vjp", *QKV)
def keys_and_values_swapped(right, *args):
    dq, dk, dv = right(*args)
    return dq, dv, dk


@kernel_mutant("attend", "attend_vjp", *QKV)
def normalisation_forgotten(right, dy, q, k, v, y, *rest):
    return right(dy, q, k, v, np.zeros_like(y), *rest)


@kernel_mutant("attend", "attend_dbias", *QKV, None, normal(1, 1, 5, 6))
def scaled_bias(right, *args):
    return right(*args) * 0.5


PACKED = normal(2, 5, 3 * 2 * 3), 2  # queries, keys and values of two heads


def packed_mutant(title, wrong, *more, **options):
    """``wrong(dqkv)`` is the wrong gradient, from the right one as (B, T, 3, H, D)."""

    def pullback(dy, vjp, qkv, heads, *_):
        parts = vjp(dy)[0].reshape(*qkv.shape[:2], 3, heads, -1)
        return wrong(parts).reshape(qkv.shape), None, None, None

    pullback.__name__ = title
    mutant("self_attend", *PACKED, *more, **options)(pullback)


packed_mutant("keys_before_queries", lambda d: d[:, :, [1, 0, 2]])
packed_mutant("values_before_keys", lambda d: d[:, :, [0, 2, 1]], causal=True)
packed_mutant("rotated", lambda d: d[:, :, [2, 0, 1]])
packed_mutant("heads_swapped", lambda d: d[:, :, :, ::-1])
packed_mutant("heads_within_numbers", lambda d: d.swapaxes(3, 4))
packed_mutant("values_left_out", lambda d: d * np.array([1, 1, 0])[:, None, None])
packed_mutant("positions_reversed", lambda d: d[:, ::-1])


@mutant("self_attend", *PACKED, causal=True)
def cotangent_with_heads_first(dy, vjp, qkv, heads):
    B, T, C = dy.shape
    return vjp(dy.reshape(B, heads, T, -1).swapaxes(1, 2).reshape(B, T, C))


@kernel_mutant("self_attend", "attend_vjp", *PACKED, causal=True)
def causal_left_out(right, dy, q, k, v, y, lse, mask, bias, causal, *rest):
    return right(dy, q, k, v, y, lse, mask, bias, False, *rest)
