"""Attention's kernels: edges by what must come out, whole tiles, and memory that grows with T."""

from __future__ import annotations

import sys

import isolated
import numpy as np
import pytest
from test_kernels import assert_close

from minitx import kernels as K
from minitx.jit import COMPILED


def test_attend_dbias_is_the_gradient_of_the_scores():
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(3, 2, 2, 4, 3))
    bias, dy, step = rng.normal(size=(1, 2, 4, 4)), rng.normal(size=q.shape), 1e-6
    options = True, 0, 0.5, 0.3, np.uint64(3)
    y, lse = K.attend.ref(q, k, v, None, bias, *options)
    dbias = K.attend_dbias(dy, q, k, v, y, lse, None, bias, *options)
    direction = rng.normal(size=bias.shape)
    there, back = (
        K.attend.ref(q, k, v, None, bias + s * direction, *options)[0] for s in (step, -step)
    )
    numeric = ((there - back) * dy).sum() / (2 * step)
    np.testing.assert_allclose((dbias * direction).sum(), numeric, rtol=1e-7)


@pytest.mark.parametrize("form", ["ref", "jit"])
def test_a_query_that_sees_nothing_gives_zeros(form):
    rng = np.random.default_rng(0)
    q, k, v, dy = rng.normal(size=(4, 1, 2, 3, 5)).astype(np.float32)
    mask = np.ones((1, 1, 3, 3), bool)
    mask[..., 1, :] = False
    q[..., 1, :], dy[..., 1, :] = np.nan, np.inf  # nobody may look at these
    options = mask, None, False, 0, 1.0, 0.0, np.uint64(0)
    y, lse = getattr(K.attend, form)(q, k, v, *options)
    gradients = getattr(K.attend_vjp, form)(dy, q, k, v, y, lse, *options)
    assert not y[..., 1, :].any() and not gradients[0][..., 1, :].any()
    assert np.isneginf(lse[..., 1]).all() and np.isfinite(lse[..., [0, 2]]).all()
    assert all(np.isfinite(x).all() for x in (y, *gradients))


@pytest.mark.parametrize("form", ["ref", "jit"])
def test_more_queries_than_keys(form):
    """Causal attention is aligned at the end: the first T - S queries see nothing."""
    q, k, v = (np.random.default_rng(n).normal(size=(1, 1, n, 2)) for n in (5, 3, 3))
    y, lse = getattr(K.attend, form)(q, k, v, None, None, True, 0, 1.0, 0.0, np.uint64(0))
    assert np.isneginf(lse[0, 0]).tolist() == [True, True, False, False, False]
    np.testing.assert_allclose(y[0, 0, 2], v[0, 0, 0])


@pytest.mark.parametrize("S", [0, 3])
@pytest.mark.parametrize("T", [0, 2])
def test_attention_over_nothing(T, S):
    q, k = np.ones((2, 1, T, 3), np.float32), np.ones((2, 1, S, 3), np.float32)
    options = None, None, False, 0, 1.0, 0.0, np.uint64(0)
    y, lse = K.attend(q, k, k, *options)
    dq, dk, dv = K.attend_vjp(y, q, k, k, y, lse, *options)
    assert y.shape == dq.shape == q.shape and dk.shape == dv.shape == k.shape
    assert S or not y.any()


# Tiles of 96 queries and 96 keys: less than one, one, a little more than one or two

LENGTHS = [(n, n) for n in (1, 95, 96, 97, 193)]
LENGTHS += [(1, 97), (4, 193), (5, 193), (97, 96), (150, 120), (193, 97)]
LENGTHS += [(97, 129), (112, 140), (200, 262), (300, 329)]  # the diagonal enters within a tile


def check_both_forms(T, S, *options, dtype, D):
    rng = np.random.default_rng(T)
    q, k, v, dy = (rng.normal(size=(1, 2, n, D)).astype(dtype) for n in (T, S, S, T))
    with np.errstate(divide="ignore"):
        y, lse = K.attend.ref(q, k, v, *options)
        for got, expected in zip(K.attend.jit(q, k, v, *options), (y, lse), strict=True):
            assert_close(got, expected, [v])
    forms = [K.attend_vjp.jit, K.attend_vjp.ref]
    both = (form(dy, q, k, v, y, lse, *options) for form in forms)
    for got, expected in zip(*both, strict=True):
        assert_close(got, expected, [dy, q, k, v])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [0, 1, 40, 96, 150] if COMPILED else [0, 40])
@pytest.mark.parametrize(("T", "S"), LENGTHS if COMPILED else [(1, 1), (97, 97), (97, 129)])
def test_whole_tiles(T, S, window, causal):
    options = None, None, causal, window, 0.3, 0.0, np.uint64(0)
    check_both_forms(T, S, *options, dtype=np.float32, D=16)
    check_both_forms(T, S, *options, dtype=np.float64, D=5)


@pytest.mark.parametrize("shift", range(0, 97, 5) if COMPILED else [30])
def test_the_diagonal_may_enter_a_tile_anywhere(shift):
    options = None, None, True, 0, 0.3, 0.0, np.uint64(0)
    check_both_forms(100, 100 + shift, *options, dtype=np.float64, D=2)


@pytest.mark.parametrize("p", [0.0, 0.3])
def test_gradients_side_by_side_in_one_array(p):
    """What self-attention asks for: q, k and v and their gradients as views."""
    B, H, T, D = 2, 2, 100 if COMPILED else 5, 4
    rng, options = np.random.default_rng(0), (None, None, True, 0, 0.5, p, np.uint64(1))

    def split(x):
        return x.reshape(B, T, 3, H, D).transpose(2, 0, 3, 1, 4)  # 3 B H T D

    qkv, out = rng.normal(size=(B, T, 3 * H * D)), np.full((B, T, 3 * H * D), np.nan)
    q, k, v = split(qkv)
    y, lse = K.attend.jit(q, k, v, *options)
    dy = rng.normal(size=y.shape)
    expected = K.attend_vjp.ref(dy, q, k, v, y, lse, *options)
    for form in K.attend_vjp.jit, K.attend_vjp.ref:
        out[:] = np.nan
        assert len(form(dy, q, k, v, y, lse, *options, tuple(split(out)))) == 3
        for got, right in zip(split(out), expected, strict=True):
            assert_close(got, right, [v])


MEMORY = """
    import resource, sys
    import numpy as np
    from minitx import kernels
    T = {T}
    q, k, v = np.random.default_rng(0).normal(size=(3, 1, 1, T, 16)).astype(np.float32)
    options = None, None, {causal}, 0, 0.25, 0.0, np.uint64(0)
    y, lse = kernels.attend.jit(q, k, v, *options)
    kernels.attend_vjp.jit(y, q, k, v, y, lse, *options)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.long
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a kilobyte is ru_maxrss's unit")
@pytest.mark.parametrize("causal", [False, True])
def test_memory_grows_with_the_length_and_not_its_square(causal):
    small, large = 2048, 8192

    def peak(T):
        return 1024 * int(isolated.run(MEMORY.format(T=T, causal=causal)))

    peak(small)  # compiling takes memory, too
    assert peak(large) - peak(small) < large * large * 4 / 4  # a quarter of one T x T array
