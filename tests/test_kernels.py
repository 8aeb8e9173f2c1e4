"""Every kernel: both forms agree, whatever the shapes, layouts and dtypes; edges, one by one."""

from __future__ import annotations

import math

import isolated
import kernel_arguments_images  # noqa: F401  (registers itself)
import numpy as np
import pytest
from hypothesis import given, settings
from kernel_arguments import ARGUMENTS

from minitx import kernels as K
from minitx.jit import COMPILED, KERNELS

# Relative to the largest number around.  Both forms sum hundreds of products, in different orders:
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
    changing = "activate_vjp", "adamw", "decode", "embedding_vjp", "matmul"
    kernel, in_place = KERNELS[name], name in changing
    slow = not COMPILED and name.startswith("attend")

    @settings(max_examples=settings.default.max_examples * (1 if slow else 5))
    @given(ARGUMENTS[name])
    def check(args):
        dtype = next(x for x in args if is_real(x)).dtype.newbyteorder("=")

        def run(form):
            own = [x.copy() if in_place and is_real(x) else x for x in args]
            with np.errstate(all="ignore"):
                out = form(*own)
            if name == "adamw":
                return [own[0], own[2], own[3]]
            if name == "decode":
                return [out, *(cache.astype(dtype) for cache in own[2:4])]
            return out if type(out) is tuple else [out]

        before = [x.tobytes() for x in args if isinstance(x, np.ndarray)]
        expected, got = run(kernel.ref), run(kernel.jit)
        assert [x.tobytes() for x in args if isinstance(x, np.ndarray)] == before
        assert len(got) == len(expected)
        for g, e in zip(got, expected, strict=True):
            if name == "sum_of_squares":  # a number, always in double precision
                assert type(e) is float and isinstance(g, float)
                np.testing.assert_allclose(g, e, rtol=1e-12)
            elif e.dtype.kind == "i":
                assert g.dtype == e.dtype
                np.testing.assert_array_equal(g, e)
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


# Edges, by what must come out


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["gelu_tanh", "silu", "gelu"])
def test_far_from_zero_an_activation_is_a_line(name, dtype):
    """Where squares and cubes overflow, too."""
    x = np.array([[-1e38, -1e20, -2e13, -1e5, 1e5, 2e13, 1e20, 1e38]], dtype)
    slope, index = np.repeat([[0.0, 1.0]], 4).reshape(1, 8), K.ACTIVATIONS.index(name)
    with np.errstate(over="ignore"):
        for form in "ref", "jit":
            got = getattr(K.activate, form)(x, index)
            np.testing.assert_array_equal(got, [x * slope, slope])


# dropout


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
    q, k, v, dy = np.random.default_rng(0).normal(size=(4, 2, 3, 70, 32)).astype(np.float32)
    options = None, None, True, 0, 0.2, 0.0, np.uint64(0)
    y, lse = kernels.attend.jit(q, k, v, *options)
    results = y, lse, *kernels.attend_vjp.jit(dy, q, k, v, y, lse, *options)
    print(hashlib.sha256(b"".join(x.tobytes() for x in results)).hexdigest())
"""


def test_the_same_bits_from_the_compiler_and_from_the_cache(tmp_path):
    """A run that is resumed loads what the run before it compiled."""
    compiled, loaded = (isolated.run(COMPILE_OR_LOAD, MINITX_CACHE_DIR=tmp_path) for _ in range(2))
    assert compiled.split()[-1] == loaded
