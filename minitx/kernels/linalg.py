"""Matrix products: the one door to BLAS.

A product is cut into blocks of output rows whose size depends on its shape alone, and each block is
one call of ``cblas_?gemm`` on one of Numba's threads: equally fast whoever imported NumPy, and the
same bits on any number of threads.
"""

from __future__ import annotations

import numpy as np

from ..jit import COMPILED, compiled, jit, kernel, prange
from ..threads import gemm

_SMALL = 1 << 20  # multiplications below which a product is not worth waking a second thread


def matmul_ref(a, b):
    """(..., M, K) @ (..., K, N) -> (..., M, N), leading axes broadcast; both have two at least."""
    return np.matmul(a, b)


def matmul_jit(a, b):
    call = gemm(a.dtype) if COMPILED and a.dtype == b.dtype else None
    (M, K), N = a.shape[-2:], b.shape[-1]
    if call is None or K != b.shape[-2] or max(a.size * N, b.size * M) < _SMALL:
        return np.matmul(a, b)
    if b.ndim == 2 and a.ndim > 2 and a.flags.c_contiguous:
        return matmul_jit(a.reshape(-1, K), b).reshape(*a.shape[:-1], N)
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = _as_batch(a, lead), _as_batch(b, lead)
    c = np.empty((len(a), M, N), a.dtype)
    _gemm_blocks(call, a, _is_transposed(a), b, _is_transposed(b), c, _block_rows(M))
    return c.reshape(*lead, M, N)


def _block_rows(M):
    """A quarter of the rows, from 32 to 128 in steps of 16: small shares out, large packs less."""
    return min(128, max(32, -(-M // 64) * 16))


def _as_batch(x, lead):
    """Leading axes folded to one, and strides for BLAS: one of the last two axes contiguous."""
    x = np.broadcast_to(x, lead + x.shape[-2:]).reshape(-1, *x.shape[-2:])
    (rows, columns), (row, column), size = x.shape[1:], x.strides[1:], x.itemsize
    by_rows = column == size and row >= columns * size and row % size == 0
    by_columns = row == size and column >= rows * size and column % size == 0
    return x if by_rows or by_columns else np.ascontiguousarray(x)


def _is_transposed(x):
    return x.strides[2] != x.itemsize or x.strides[1] < x.shape[2] * x.itemsize


@jit(parallel=True, strided="a b")
def _gemm_blocks(gemm, a, a_transposed, b, b_transposed, c, rows):
    batch, M, N = c.shape
    K = a.shape[2]
    blocks = (M + rows - 1) // rows
    size = c.itemsize
    a_ld = a.strides[2 if a_transposed else 1] // size
    b_ld = b.strides[2 if b_transposed else 1] // size
    a_op = 112 if a_transposed else 111  # CblasTrans, CblasNoTrans
    b_op = 112 if b_transposed else 111
    one, zero = c.dtype.type(1), c.dtype.type(0)
    for task in prange(batch * blocks):
        i, first = task // blocks, task % blocks * rows
        # Row-major (101).  Addresses by hand: a slice would cost a reference count.
        a_at = np.uint64(a.ctypes.data + i * a.strides[0] + first * a.strides[1])
        b_at = np.uint64(b.ctypes.data + i * b.strides[0])
        c_at = np.uint64(c.ctypes.data + i * c.strides[0] + first * c.strides[1])
        count = min(rows, M - first)
        gemm(101, a_op, b_op, count, N, K, one, a_at, a_ld, b_at, b_ld, zero, c_at, N)


_gemm_blocks = compiled(_gemm_blocks)
matmul = kernel(matmul_ref, matmul_jit)


def einsum(a_axes, b_axes, out_axes, a, b):
    """Einstein summation of two operands as one batched matrix product.

    Axes are strings of distinct letters: einsum("bqd", "bkd", "bqk", a, b).
    """
    a, a_axes = _sum_out(a, a_axes, b_axes + out_axes)
    b, b_axes = _sum_out(b, b_axes, a_axes + out_axes)
    batch = [x for x in a_axes if x in b_axes and x in out_axes]
    inner = [x for x in a_axes if x in b_axes and x not in out_axes]
    left = [x for x in a_axes if x not in b_axes]
    right = [x for x in b_axes if x not in a_axes]
    size = dict(zip(a_axes, a.shape, strict=True)) | dict(zip(b_axes, b.shape, strict=True))

    def fold(x, axes, *groups):
        x = x.transpose([axes.index(c) for group in groups for c in group])
        return x.reshape([int(np.prod([size[c] for c in group])) for group in groups])

    product = matmul(fold(a, a_axes, batch, left, inner), fold(b, b_axes, batch, inner, right))
    axes = [*batch, *left, *right]
    return product.reshape([size[c] for c in axes]).transpose([axes.index(c) for c in out_axes])


def _sum_out(x, axes, needed):
    gone = tuple(i for i, c in enumerate(axes) if c not in needed)
    x = x.sum(axis=gone, dtype=np.float64).astype(x.dtype) if gone else x
    return x, "".join(c for c in axes if c in needed)


@jit
def ordered_sum(partial):
    """(chunks, C) -> (C,), one chunk after the other and in float64."""
    chunks, C = partial.shape
    total = np.zeros(C)
    for i in range(chunks):
        for c in range(C):
            total[c] += np.float64(partial[i, c])
    return total.astype(partial.dtype)


def column_sums_ref(x):
    """(..., C) -> (C,), a bias's gradient, summed in float64."""
    return x.sum(axis=tuple(range(x.ndim - 1)), dtype=np.float64).astype(x.dtype)


@jit(parallel=True)
def column_sums_jit(x):
    N, C = x.shape
    chunk = 64
    chunks = (N + chunk - 1) // chunk
    partial = np.zeros((chunks, C), x.dtype)
    for i in prange(chunks):
        for n in range(i * chunk, min(N, (i + 1) * chunk)):
            for c in range(C):
                partial[i, c] += x[n, c]
    return ordered_sum(partial)


column_sums = kernel(column_sums_ref, column_sums_jit, rows="x")
