"""Matrix products, with a layer's bias and activation applied while the result is in cache.

The twin does not call a library: it cuts the result into blocks by its shape alone, so that bits do
not depend on the number of threads, and each block into tiles that stay in registers (simd.py).
The order of loops is that of Goto and van de Geijn (2008), "Anatomy of High-Performance Matrix
Multiplication", with rows and columns exchanged: a few rows of a stay in the first cache, a block
of b in the second, and the result is written along its rows.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from ..jit import COMPILED, compiled, jit, kernel
from ..packing import pack_columns, pack_rows
from ..simd import ROWS, TILE_BYTES, multiply_tile, row, wide_vectors
from ..tasks import run_tasks
from .activation import activate_ref, activate_row

_DEPTH = 384  # of a part of the sum: so much of some rows of a fits into the first cache
_BLOCK_ROWS, _BLOCK_COLUMNS = 192, 256  # at most: so much of b fits into the second
_ENOUGH = 8  # blocks, to share out evenly
_NEAR = 64  # rows packed together: near enough for the first cache and its table of pages
_CROWDED = 8192  # bytes: rows so far apart share few places in the first cache
_FEW_ROWS = 4  # a product with so few reads each number of b once: nothing to keep in cache
_COLUMNS = 64  # that a task takes where there are no blocks


def matmul_ref(a, b):
    """(..., M, K) @ (..., K, N) -> (..., M, N), leading axes broadcast; both have two at least."""
    return np.matmul(a, b)


def _compiles(a, b):
    """Whether there is machine code for these: both float32, or both float64."""
    return COMPILED and a.dtype == b.dtype and a.dtype.char in "fd"


def matmul_jit(a, b):
    (M, K), N = a.shape[-2:], b.shape[-1]
    if not _compiles(a, b) or K != b.shape[-2]:
        return np.matmul(a, b)
    if a.ndim == b.ndim == 2:
        return _product(_as_batch(a), _as_batch(b), None, 0)[0][0]
    if b.ndim == 2 and a.ndim > 2 and a.flags.c_contiguous:
        return matmul_jit(a.reshape(math.prod(a.shape[:-1]), K), b).reshape(*a.shape[:-1], N)
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (np.broadcast_to(x, lead + x.shape[-2:]) for x in (a, b))
    return _product(_as_batch(a), _as_batch(b), None, 0)[0].reshape(*lead, M, N)


def _as_batch(x):
    """Leading axes folded to one, and one of the last two contiguous."""
    x = x[None] if x.ndim == 2 else x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])
    return x if x.itemsize in x.strides[1:] else np.ascontiguousarray(x)


def linear_ref(x, weight, bias, activation):
    """activation(x @ weight.T + bias).  x: (N, I), weight: (O, I), bias: (O,) or None

    activation: an index into ACTIVATIONS.  -> y (N, O), and z (N, O), what the activation was
    applied to; y itself for the identity.
    """
    z = x @ weight.T
    if bias is not None:
        z = z + bias
    return (activate_ref(z, activation) if activation else z), z


def linear_jit(x, weight, bias, activation):
    if not _compiles(x, weight):
        return linear_ref(x, weight, bias, activation)
    y, z = _product(_as_batch(x), _as_batch(weight.T), bias, activation)
    return y[0], z[0]


@jit
def _finish(bias, activation, y, z, b, i0, i1, j0, j1):
    """Bias and activation of one block."""
    bias, z, y = bias[j0:j1], z[b], y[b]
    for i in range(i0, i1 if bias.size or activation else i0):
        z_row = row(z, i, j0, j1)
        for j in range(bias.size):
            z_row[j] += bias[j]
        if activation:
            activate_row(activation, z_row, row(y, i, j0, j1))


def _product(a, b, bias, activation):
    """(batch, M, K) @ (batch, K, N), then a bias or None, then an activation."""
    batch, M, K = a.shape
    N = b.shape[2]
    z = np.empty((batch, M, N), a.dtype.newbyteorder("="))
    y = z if activation == 0 else np.empty_like(z)
    bias = np.empty(0, z.dtype) if bias is None else bias
    aT, bT = a.swapaxes(1, 2), b.swapaxes(1, 2)
    if M <= _FEW_ROWS and bT.flags.c_contiguous:
        _few_rows(a, bT, bias, activation, y, z)
        return y, z
    whole = b.strides[2] == b.itemsize and N * b.itemsize % TILE_BYTES == 0
    pack_a = a.strides[2] != a.itemsize or a.strides[1] % _CROWDED == 0
    pack_b = not (whole and M <= _BLOCK_ROWS)
    blocks = _blocks(batch, M, N, z.itemsize)
    _tiles(a, aT, b, bias, activation, y, z, *blocks, pack_a, pack_b)
    return y, z


@functools.cache
def _blocks(batch, M, N, itemsize):
    """Rows and columns of a block: whole tiles, evenly large, enough of them to share out.

    Of these, the ones that read least: each block of columns reads all of a, each of rows all of b.
    """
    columns = TILE_BYTES // itemsize
    tile_rows, tile_columns = max(1, -(-M // ROWS)), max(1, -(-N // columns))
    enough = min(_ENOUGH, batch * tile_rows * tile_columns)
    options = []
    for down in range(max(1, -(-M // _BLOCK_ROWS)), tile_rows + 1):
        across = max(1, -(-N // _BLOCK_COLUMNS), -(-enough // max(1, batch * down)))
        if across <= tile_columns:
            options.append((down * N + across * M, down, across))
    _, down, across = min(options)
    return -(-tile_rows // down) * ROWS, -(-tile_columns // across) * columns


@jit
def _pack(task, x, out):
    """Some rows of x[i], (K, N), in all panels; zeros in the last one beyond the last column."""
    wide_vectors()
    width, (K, N) = out.shape[1], x.shape[1:]
    chunks, panels = (K + _NEAR - 1) // _NEAR, (N + width - 1) // width
    i, k0 = task // chunks, task % chunks * _NEAR
    k1, x = min(K, k0 + _NEAR), x[i]
    for panel in range(panels):
        first, j0 = (i * panels + panel) * K, panel * width
        count = min(width, N - j0)
        if x.strides[1] == x.itemsize:
            pack_rows(x, j0, count, k0, k1, out, first)
        else:
            pack_columns(x.T, j0, count, k0, k1, out, first)
        for j in range(count, width):  # what is there by chance may be too small to be fast
            out[first + k0 : first + k1, j] = out.dtype.type(0)


@jit
def _packed(x, width, wanted):
    """(batch, K, N) in panels, (batch * panels * K, width); without any rows if not ``wanted``."""
    batch, K, N = x.shape
    out = np.empty((batch * ((N + width - 1) // width) * K if wanted else 0, width), x.dtype)
    if wanted:
        run_tasks(_pack, batch * ((K + _NEAR - 1) // _NEAR), (x, out))
    return out


@jit
def _do_block(task, a, b, y, z, more, bias, activation, rows, columns, a_panels, b_panels):
    """z[i, i0:i1, j0:j1] = (a @ b)[i, i0:i1, j0:j1], tile by tile; added if there is ``more``.

    Then bias and activation, unless this is -1: a and b are one part of a longer sum.
    """
    wide_vectors()
    (M, N), K, width = z.shape[1:], a.shape[2], TILE_BYTES // z.itemsize
    down, across = (M + rows - 1) // rows, (N + columns - 1) // columns
    i, i0 = task // (down * across), task // across % down * rows
    j0 = task % across * columns
    i1, j1 = min(M, i0 + rows), min(N, j0 + columns)
    a_first, b_first = i * ((M + ROWS - 1) // ROWS) * K, i * ((N + width - 1) // width) * K
    a, b, c, a_tiles = a[i], b[i], z[i], a_panels.T
    for ic in range(i0, i1, ROWS):  # a tile's rows of a stay in the first cache
        left, ia, k, have = a, ic, 0, min(ROWS, i1 - ic)
        if a_panels.size:
            left, ia, k = a_tiles, 0, a_first + ic // ROWS * K
        for j in range(j0, j1, width):
            right, kb, jb, wide = b, 0, j, min(width, j1 - j)
            if b_panels.size:
                right, kb, jb = b_panels, b_first + j // width * K, 0
            multiply_tile(left, ia, k, right, kb, jb, c, ic, j, have, wide, K, more)
    if activation >= 0:
        _finish(bias, activation, y, z, i, i0, i1, j0, j1)


@jit(strided="a aT b")
def _tiles(a, aT, b, bias, activation, y, z, rows, columns, pack_a, pack_b):
    batch, M, N = z.shape
    K = a.shape[2]
    tasks = batch * ((M + rows - 1) // rows) * ((N + columns - 1) // columns)
    for k0 in range(0, max(1, K), _DEPTH):
        k1 = min(K, k0 + _DEPTH)
        left, right = a[:, :, k0:k1], b[:, k0:k1]
        a_panels = _packed(aT[:, k0:k1], ROWS, pack_a)
        b_panels = _packed(right, TILE_BYTES // z.itemsize, pack_b)
        last = activation if k1 == K else -1
        more = y, z, k0 > 0, bias, last, rows, columns, a_panels, b_panels
        run_tasks(_do_block, tasks, (left, right, *more))


@jit
def _dot_columns(task, a, b, bias, activation, y, z):
    wide_vectors()
    M, N = z.shape[1:]
    tasks = (N + _COLUMNS - 1) // _COLUMNS
    i, j0 = task // tasks, task % tasks * _COLUMNS
    j1 = min(N, j0 + _COLUMNS)
    a, b, z_rows, K = a[i], b[i], z[i], a.shape[2]
    whole = j0 + (j1 - j0) // 4 * 4
    for m in range(M):
        x = row(a, m, 0, K)
        for j in range(j0, whole, 4):  # four streams from memory are faster than one
            b0, b1 = row(b, j, 0, K), row(b, j + 1, 0, K)
            b2, b3 = row(b, j + 2, 0, K), row(b, j + 3, 0, K)
            s0 = s1 = s2 = s3 = z.dtype.type(0)
            for k in range(K):
                s0 += x[k] * b0[k]
                s1 += x[k] * b1[k]
                s2 += x[k] * b2[k]
                s3 += x[k] * b3[k]
            z_rows[m, j], z_rows[m, j + 1], z_rows[m, j + 2], z_rows[m, j + 3] = s0, s1, s2, s3
        for j in range(whole, j1):
            total, weights = z.dtype.type(0), row(b, j, 0, K)
            for k in range(K):
                total += x[k] * weights[k]
            z_rows[m, j] = total
    _finish(bias, activation, y, z, i, 0, M, j0, j1)


@jit
def _few_rows(a, b, bias, activation, y, z):
    """A handful of rows a (batch, M, K) times the rows of b (batch, N, K): dot products."""
    batch, M, N = z.shape
    tasks = batch * ((N + _COLUMNS - 1) // _COLUMNS)
    run_tasks(_dot_columns, tasks, (a, b, bias, activation, y, z))


_tiles, _few_rows = compiled(_tiles), compiled(_few_rows)
matmul = kernel(matmul_ref, matmul_jit)
linear = kernel(linear_ref, linear_jit)


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
