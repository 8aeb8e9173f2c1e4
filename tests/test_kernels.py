"""Every kernel: both forms agree, whatever the shapes, layouts and dtypes; edges, one by one."""

from __future__ import annotations

import math

import isolated
import numpy as np
import pytest
from hypothesis import given, settings
from kernel_arguments import ARGUMENTS

from minitx import kernels as K
from minitx.jit import COMPILED, KERNELS, jit
from minitx.kernels import scalar

# Relative to the largest number around.  Both forms sum up to 150 products, in different orders:
# 150 roundings of half an ulp each are 9e-6 (1.7e-14), and exp multiplies its argument's by ten.
TOLERANCE = {"float32": 2e-5, "float64": 1e-13}


def test_every_kernel_has_arguments():
    assert set(ARGUMENTS) == set(KERNELS)


def is_real(x):
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def largest(arrays):
    return max((np.abs(x[np.isfinite(x)]).max(initial=0) for x in arrays), default=0)


def assert_close(got, expected, around=()):
    """As to value, shape, dtype, and where there is NaN or infinity."""
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype.newbyteorder("=")
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(got[~finite], expected[~finite])
    error = np.abs(got[finite] - expected[finite]).max(initial=0)
    assert error <= TOLERANCE[got.dtype.name] * largest([expected, *around])


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_ref_and_jit_agree(name):
    kernel, in_place = KERNELS[name], name == "adamw"
    slow = not COMPILED and name.startswith("attend")

    @settings(max_examples=20 if slow else 150)
    @given(ARGUMENTS[name])
    def check(args):
        def run(form):
            own = [x.copy() if in_place and is_real(x) else x for x in args]
            with np.errstate(all="ignore"):
                out = form(*own)
            return [own[0], own[2], own[3]] if in_place else out if type(out) is tuple else [out]

        before = [x.tobytes() for x in args if isinstance(x, np.ndarray)]
        expected, got = run(kernel.ref), run(kernel.jit)
        assert [x.tobytes() for x in args if isinstance(x, np.ndarray)] == before
        assert len(got) == len(expected)
        dtype = next(x for x in args if is_real(x)).dtype.newbyteorder("=")
        for g, e in zip(got, expected, strict=True):
            if name == "sum_of_squares":  # a number, always in double precision
                assert type(e) is float and isinstance(g, float)
                np.testing.assert_allclose(g, e, rtol=1e-12)
            else:
                assert e.dtype.newbyteorder("=") == dtype
                assert_close(g, e, [x for x in args if is_real(x)])

    check()


# What NumPy alone does is right, too


@pytest.mark.parametrize(
    "axes", ["bqhd,bkhd,bhqk", "ij,jk,ik", "ij,ij,", "i,j,ji", "ij,k,k", "hwd,whe,ed", "i,i,i"]
)
def test_einsum(axes):
    a_axes, b_axes, out = axes.split(",")
    size, rng = dict(zip("bqhdkijwe", range(1, 10), strict=True)), np.random.default_rng(0)
    a, b = (rng.normal(size=[size[c] for c in x]) for x in (a_axes, b_axes))
    expected = np.einsum(f"{a_axes},{b_axes}->{out}", a, b)
    np.testing.assert_allclose(K.einsum(a_axes, b_axes, out, a, b), expected, rtol=1e-12)


def test_log_softmax():
    x = np.random.default_rng(0).normal(size=(3, 7))
    np.testing.assert_allclose(np.exp(K.log_softmax(x)), K.softmax.ref(x), rtol=1e-12)


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


# Edges, by what must come out


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


@pytest.mark.parametrize("form", ["ref", "jit"])
def test_indices_out_of_range_are_refused(form):
    x, lse = np.ones((3, 4), np.float32), np.ones(3, np.float32)
    for wrong in 4, -5, 2**40:
        ids = np.array([1, wrong, 2])
        with pytest.raises(IndexError):
            getattr(K.embedding_vjp, form)(x, ids, 4)
        with pytest.raises(IndexError):
            getattr(K.cross_entropy, form)(x, ids, -100, 0.0)
        with pytest.raises(IndexError):
            getattr(K.cross_entropy_vjp, form)(lse, x, ids, lse, -100, 0.0)
        getattr(K.cross_entropy, form)(x, ids, wrong, 0.0)  # unless that one is ignored


def test_adamw_wants_arrays_that_it_can_change():
    x = np.ones(8)
    for param in x[::2], np.broadcast_to(1.0, 4):
        with pytest.raises(ValueError, match="adamw"):
            K.adamw.jit(param, x[:4], x[:4], x[:4], 1.0, 0.1, 0.9, 0.999, 1e-8, 0.0, 1)


def test_products_of_oddly_strided_matrices():
    """A row of 34 bytes is no whole number of float32."""
    records = np.zeros(200, [("row", np.float32, 100), ("gap", np.int16)])
    records["row"] = np.random.default_rng(0).normal(size=(200, 100))
    a = records["row"]
    assert_close(K.matmul.jit(a, a.T), a @ a.T, [a])
    column = np.lib.stride_tricks.as_strided(a[0].copy(), (100, 1), (4, 0))
    b = np.random.default_rng(1).normal(size=(20_000, 100)).astype(np.float32)
    assert_close(K.matmul.jit(b, column), b @ column, [b])


def test_the_last_key_of_a_causal_row_may_stand_alone_in_its_tile():
    q, k, v = np.random.default_rng(0).normal(size=(3, 1, 1, 65 if COMPILED else 5, 4))
    options = None, None, True, 0, 1.0, 0.0, np.uint64(0)
    y, lse = K.attend.ref(q, k, v, *options)
    assert_close(K.attend.jit(q, k, v, *options)[0], y, [v])
    forms = [K.attend_vjp.ref, K.attend_vjp.jit]
    for expected, got in zip(*(form(v, q, k, v, y, lse, *options) for form in forms), strict=True):
        assert_close(got, expected, [v])


def test_long_sums_keep_their_digits():
    """A million float32 numbers, one after the other, would lose the last three digits."""
    rows = 1_000_000 if COMPILED else 1000
    x = np.random.default_rng(0).random((rows, 1), dtype=np.float32)
    one, eye = np.ones(1, np.float32), np.ones_like(x)
    exact = x.sum(dtype=np.float64)
    forms = ["ref", "jit"]
    sums = [getattr(K.column_sums, form)(x) for form in forms]
    sums += [getattr(K.layer_norm_vjp, form)(x, x, one, x * 0, eye)[2] for form in forms]
    np.testing.assert_allclose(np.concatenate(sums), exact, rtol=3e-7)


# exp, in plain arithmetic


@jit
def exp_all(x, out):
    for i in range(x.size):
        out[i] = scalar.exp(x[i])


def exponentials(x):
    out = np.empty_like(x)
    with np.errstate(all="ignore"):
        exp_all(x, out)
        return out, np.exp(x.astype(np.float64))


def test_exp_is_within_one_float_of_the_right_one():
    """Over every float32 from -86.98 to 88.72 the worst was 1.024 ulp; here, a grid of them."""
    bits = np.arange(0, np.float32(88.72).view(np.uint32), 1009 if COMPILED else 1_000_003)
    positive = bits.astype(np.uint32).view(np.float32)
    x = np.concatenate([-positive[positive < 86.98], positive])
    got, exact = exponentials(x)
    steps = got.view(np.int32) - exact.astype(np.float32).view(np.int32)
    assert np.abs(steps).max() <= 1
    error = np.abs(got - exact) / np.spacing(exact.astype(np.float32))
    assert 0.5 < error.max() <= 1.03


def test_exp_at_the_edges():
    x = np.array(
        [0, -0.0, 1e-45, -1e-45, 1e-30, -1e-30, 89, 1e38, np.inf, -88, -1e38, -np.inf, np.nan]
    )
    got, _ = exponentials(x.astype(np.float32))
    inf = np.inf
    np.testing.assert_array_equal(got, [1, 1, 1, 1, 1, 1, inf, inf, inf, 0, 0, 0, np.nan])
    assert got.dtype == np.float32


def test_exp_of_float64_is_the_library_s():
    x = np.linspace(-700, 700, 1001)
    got, exact = exponentials(x)
    np.testing.assert_allclose(got, exact, rtol=4e-16)


# the hash behind dropout


@jit
def draw_all(key, out):
    for i in range(out.size):
        out[i] = scalar.uniform_jit(key, np.uint64(i))


def test_draws_are_the_same_bits_in_both_forms():
    for key in np.uint64(0), np.uint64(2**64 - 1), np.uint64(12345):
        out = np.empty(1000)
        with np.errstate(over="ignore"):
            draw_all(key, out)
        assert out.tobytes() == scalar.uniform(key, np.arange(1000, dtype=np.uint64)).tobytes()


def test_draws_are_uniform():
    """Mean, 256 cells and pairs of neighbours, each within what one in a million draws exceeds."""
    n, index = 1 << 18, np.arange(1 << 18, dtype=np.uint64)
    for key in np.random.default_rng(0).integers(0, 2**64, size=4, dtype=np.uint64):
        u = scalar.uniform(key, index)
        assert u.min() >= 0 and u.max() < 1
        assert abs(u.mean() - 0.5) < 4.9 / math.sqrt(12 * n)
        pairs = (u[::2] * 16).astype(int) * 16 + (u[1::2] * 16).astype(int)
        for cells in (u * 256).astype(int), pairs:
            counts = np.bincount(cells, minlength=256)
            chi_square = ((counts - cells.size / 256) ** 2).sum() / (cells.size / 256)
            assert abs(chi_square - 255) < 4.9 * math.sqrt(2 * 255)
        assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 4.9 / math.sqrt(n)


def test_dropout_keeps_the_share_it_says():
    x = np.ones((1000, 250 if COMPILED else 2), np.float32)
    for p in 0.1, 0.5, 0.9:
        y = K.dropout(x, p, np.uint64(1))
        kept = (y != 0).mean()
        assert abs(kept - (1 - p)) < 5 * math.sqrt(p * (1 - p) / x.size)
        np.testing.assert_allclose(y[y != 0], 1 / (1 - p), rtol=1e-6)


# threads


def test_the_same_bits_on_one_two_and_four_threads():
    assert isolated.run(isolated.HERE / "same_bits.py", NUMBA_NUM_THREADS=4) == "[]"


COMPILE_OR_LOAD = """
    import hashlib
    import numpy as np
    from minitx import kernels
    q, k, v = np.random.default_rng(0).normal(size=(3, 2, 3, 70, 32)).astype(np.float32)
    y, lse = kernels.attend.jit(q, k, v, None, None, True, 0, 0.2, 0.0, np.uint64(0))
    print(hashlib.sha256(y.tobytes() + lse.tobytes()).hexdigest())
"""


def test_the_same_bits_from_the_compiler_and_from_the_cache(tmp_path):
    """A run that is resumed loads what the run before it compiled."""
    compiled, loaded = (isolated.run(COMPILE_OR_LOAD, MINITX_CACHE_DIR=tmp_path) for _ in range(2))
    assert compiled.split()[-1] == loaded
