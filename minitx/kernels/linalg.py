"""Matrix products, with a layer's bias and activation applied while the result is in cache.

The twin does not call a library: it cuts the result into strips, by its shape alone, so that bits
do not depend on the number of threads, and each strip into tiles that stay in registers (simd.py).
They divide the longer side, unless that has only few tiles to share out.  The order of loops is
that of Goto and van de Geijn (2008), "Anatomy of High-Performance Matrix Multiplication", with rows
and columns exchanged: a few rows of a stay in the first cache, some columns of b in the second, and
the result is written along its rows.  What only one strip reads is packed by the thread that reads
it; the other side by all.
"""

from __future__ import annotations

import math

import numpy as np

from ..jit import COMPILED, compiled, jit, kernel
from ..packing import pack_columns, pack_rows
from ..simd import ROWS, TILE_BYTES, multiply_tile, row, wide_vectors, width_of
from ..tasks import run_tasks
from .activation import activate_ref, activate_row
from .sums import holds, put

_DEPTH = 384  # of a part of the sum: so much of some rows of a fits into the first cache
_STRIPS = 32  # to share out evenly, even among cores of different speed
_FEW_TILES = 6  # beside each other: fewer cannot be shared out evenly, so rows are
_MOST_ROWS, _MOST_COLUMNS = 192, 256  # of a strip: so much of b fits into the second
_NEAR_COLUMNS = 1024 // TILE_BYTES  # tiles that share rows of a while these are in the first cache
_NEAR = 64  # rows packed together: near enough for the first cache and its table of pages
_PANELS = 8  # packed by one task
_CROWDED = 8192  # bytes: rows so far apart share few places in the first cache
FEW_ROWS = 4  # a product with so few reads each number of b once: nothing to keep in cache
_COLUMNS = 64  # that a task takes of a product with few rows
_NATIVE = {char: np.dtype(char) for char in "fd"}


def matmul_ref(a, b, out=None, add=False):
    """(..., M, K) @ (..., K, N) -> (..., M, N), leading axes broadcast; both have two at least.

    out: an array for it, which is returned; if ``add``, the product is added to what is there.
    """
    product = np.matmul(a, b)
    return product if out is None else put(product, out, add)


def _compiles(a, b):
    """Whether there is machine code for these: both float32, or both float64."""
    return COMPILED and a.dtype == b.dtype and a.dtype.char in _NATIVE


def matmul_jit(a, b, out=None, add=False):
    (M, K), N = a.shape[-2:], b.shape[-1]
    if not _compiles(a, b) or K != b.shape[-2]:
        return matmul_ref(a, b, out, add)
    if out is not None:
        if a.ndim == b.ndim == 2 and holds(out, a, (M, N)):
            return _product(_as_batch(a), _as_batch(b), None, 0, out, add)[0][0]
        return put(matmul_jit(a, b), out, add)
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

    activation: an index into ACTIVATIONS.  -> y (N, O), and the activation's slope there, (N, O);
    of the identity, which needs none, y itself.
    """
    z = x @ weight.T
    if bias is not None:
        z = z + bias
    return activate_ref(z, activation) if activation else (z, z)


def linear_jit(x, weight, bias, activation):
    if not _compiles(x, weight):
        return linear_ref(x, weight, bias, activation)
    y, slope = _product(_as_batch(x), _as_batch(weight.T), bias, activation)
    return y[0], slope[0]


@jit
def _finish(bias, activation, y, z, b, i0, i1, j0, j1):
    """Bias and activation of one block: to y goes its value, to z its slope."""
    bias, z, y = bias[j0:j1], z[b], y[b]
    for i in range(i0, i1 if bias.size or activation else i0):
        z_row = row(z, i, j0, j1)
        for j in range(bias.size):
            z_row[j] += bias[j]
        if activation:
            activate_row(activation, z_row, row(y, i, j0, j1))


def _product(a, b, bias, activation, out=None, add=False):
    """(batch, M, K) @ (batch, K, N), then a bias or None, then an activation."""
    (batch, M, _), N = a.shape, b.shape[2]
    z = np.empty((batch, M, N), _NATIVE[a.dtype.char]) if out is None else out[None]
    y = np.empty_like(z) if activation else z
    bias = np.empty(0, z.dtype) if bias is None else bias
    if M <= FEW_ROWS and not add and (bT := b.swapaxes(1, 2)).flags.c_contiguous:
        _few_rows(a, bT, bias, activation, y, z)
    else:
        _tiles(a, a.swapaxes(1, 2), b, bias, activation, y, z, add)
    return y, z


@jit
def _lay_panels(x, first, last, k0, k1, out, at, depth):
    """Columns of x (K, N) in panels number ``first`` to ``last``, which begin at out[at].

    In each stands x[k0:k1] in places 0 to k1 - k0 of ``depth``; zeros beyond the last column.
    """
    width, N = out.shape[1], x.shape[1]
    for near in range(k0, k1, _NEAR):
        end = min(k1, near + _NEAR)
        for panel in range(first, last):
            start, j0 = at + (panel - first) * depth - k0, panel * width
            count = min(width, N - j0)
            if x.strides[1] == x.itemsize:
                pack_rows(x, j0, count, near, end, out, start)
            else:
                pack_columns(x.T, j0, count, near, end, out, start)
            for j in range(count, width):  # what is there by chance may be too small to be fast
                out[start + near : start + end, j] = out.dtype.type(0)


@jit(borrows=True)
def _pack(task, x, out):
    """Some rows of x[i], (K, N), in some of its panels."""
    wide_vectors()
    width, (K, N) = out.shape[1], x.shape[1:]
    panels = (N + width - 1) // width
    across, down = (panels + _PANELS - 1) // _PANELS, (K + _NEAR - 1) // _NEAR
    i, k0, first = task // (across * down), task // across % down * _NEAR, task % across * _PANELS
    last, k1 = min(panels, first + _PANELS), min(K, k0 + _NEAR)
    _lay_panels(x[i], first, last, k0, k1, out, (i * panels + first) * K + k0, K)


@jit
def _packed(x, width, wanted):
    """(batch, K, N) in panels, (batch * panels * K, width); without any rows if not ``wanted``."""
    batch, K, N = x.shape
    panels = (N + width - 1) // width
    out = np.empty((batch * panels * K if wanted else 0, width), x.dtype)
    if wanted:
        tasks = (panels + _PANELS - 1) // _PANELS * ((K + _NEAR - 1) // _NEAR)
        run_tasks(_pack, batch * tasks, (x, out))
    return out


@jit
def _strip_work(a, aT, b, bias, activation, y, z, add, down, across, pack_a, pack_b, panels):
    """Room for the side that only one strip reads, if that is to be packed."""
    (M, N), width, depth = z.shape[1:], width_of(z), min(a.shape[2], _DEPTH)
    lanes, tiles, wanted = width, ((N + width - 1) // width + across - 1) // across, pack_b
    if across == 1:
        lanes, tiles, wanted = ROWS, ((M + ROWS - 1) // ROWS + down - 1) // down, pack_a
    return (np.empty((tiles * depth if wanted else 0, lanes), z.dtype),)


@jit(borrows=True)
def _do_strip(
    task, a, aT, b, bias, activation, y, z, add, down, across, pack_a, pack_b, panels, own
):
    """z[i, i0:i1, j0:j1] = (a @ b)[i, i0:i1, j0:j1], or += it; then bias and activation.

    panels: of the side that all strips share, if that is to be packed.
    """
    wide_vectors()
    (M, N), K, width = z.shape[1:], a.shape[2], width_of(z)
    rows, columns, depth = (M + ROWS - 1) // ROWS, (N + width - 1) // width, min(K, _DEPTH)
    i, u, v = task // (down * across), task // across % down, task % across
    r0, r1 = u * rows // down, (u + 1) * rows // down  # in tiles
    c0, c1 = v * columns // across, (v + 1) * columns // across
    i0, i1, c = r0 * ROWS, min(M, r1 * ROWS), z[i]
    side, first, last = b[i], c0, c1  # that no other strip reads
    if across == 1:
        side, first, last = aT[i], r0, r1
    for k0 in range(0, max(1, K), _DEPTH):
        k1 = min(K, k0 + _DEPTH)
        if own.size:
            _lay_panels(side, first, last, k0, k1, own, 0, depth)
        # Tile (r, q) is of left[ia * r, ka + da * r] and what follows, right[kb + db * q, jb * q].
        left, ia, ka, da = a[i], ROWS, k0, 0
        if pack_a and across == 1:
            left, ia, ka, da = own.T, 0, -r0 * depth, depth
        elif pack_a:
            left, ia, ka, da = panels.T, 0, i * rows * K + k0, K
        right, kb, db, jb = b[i], k0, 0, width
        if pack_b and across > 1:
            right, kb, db, jb = own, -c0 * depth, depth, 0
        elif pack_b:
            right, kb, db, jb = panels, i * columns * K + k0, K, 0
        for near in range(c0, c1, _NEAR_COLUMNS):
            end = min(c1, near + _NEAR_COLUMNS)
            for r in range(r0, r1):
                have, top = min(ROWS, M - r * ROWS), r * ROWS
                for q in range(near, end):
                    at, wide = q * width, min(width, N - q * width)
                    multiply_tile(
                        left, ia * r, ka + da * r, right, kb + db * q, jb * q, c, top, at,
                        have, wide, k1 - k0, add or k0 > 0,
                    )  # fmt: skip
            if k1 == K:
                j1 = min(N, end * width)
                _finish(bias, activation, y, z, i, i0, i1, near * width, j1)


@jit
def _strips(batch, M, N, itemsize):
    """How many strips of rows, and how many of columns: one of the two is 1."""
    tiles, least = (M + ROWS - 1) // ROWS, (M + _MOST_ROWS - 1) // _MOST_ROWS
    columns = (N * itemsize + TILE_BYTES - 1) // TILE_BYTES
    wide = M < N and (columns >= _FEW_TILES or columns >= tiles)
    if wide:
        tiles, least = columns, (N + _MOST_COLUMNS - 1) // _MOST_COLUMNS
    strips = max(1, least)
    if batch < _STRIPS:
        strips = min(max(1, tiles), (strips + _STRIPS - 1) // _STRIPS * _STRIPS)
    return (1, strips) if wide else (strips, 1)


@jit(strided="a aT b")
def _tiles(a, aT, b, bias, activation, y, z, add):
    """All strips, after packing what they share."""
    (batch, M, N), size = z.shape, z.itemsize
    down, across = _strips(batch, M, N, size)
    whole = b.strides[2] == size and N * size % TILE_BYTES == 0
    pack_a = a.strides[2] != size or a.strides[1] % _CROWDED == 0
    pack_b = not (whole and M <= _MOST_ROWS)
    shared, lanes, wanted = aT, ROWS, pack_a
    if across == 1:
        shared, lanes, wanted = b, width_of(z), pack_b
    panels = _packed(shared, lanes, wanted)
    more = bias, activation, y, z, add, down, across, pack_a, pack_b, panels
    run_tasks(_do_strip, batch * down * across, (a, aT, b, *more), _strip_work)


@jit
def dots(x, rows, first, last, out):
    """out[first:last] = rows[first:last] @ x, where a row may be longer than x."""
    K, zero, whole = x.size, out.dtype.type(0), first + (last - first) // 4 * 4
    for j in range(first, whole, 4):  # four streams from memory are faster than one
        b0, b1 = row(rows, j, 0, K), row(rows, j + 1, 0, K)
        b2, b3 = row(rows, j + 2, 0, K), row(rows, j + 3, 0, K)
        s0 = s1 = s2 = s3 = zero
        for k in range(K):
            s0 += x[k] * b0[k]
            s1 += x[k] * b1[k]
            s2 += x[k] * b2[k]
            s3 += x[k] * b3[k]
        out[j], out[j + 1], out[j + 2], out[j + 3] = s0, s1, s2, s3
    for j in range(whole, last):
        total, weights = zero, row(rows, j, 0, K)
        for k in range(K):
            total += x[k] * weights[k]
        out[j] = total


@jit(borrows=True)
def _dot_columns(task, a, b, bias, activation, y, z):
    wide_vectors()
    M, N = z.shape[1:]
    tasks = (N + _COLUMNS - 1) // _COLUMNS
    i, j0 = task // tasks, task % tasks * _COLUMNS
    j1 = min(N, j0 + _COLUMNS)
    rows, weights, z_rows = a[i], b[i], z[i]
    for m in range(M):
        dots(row(rows, m, 0, a.shape[2]), weights, j0, j1, row(z_rows, m, 0, N))
    _finish(bias, activation, y, z, i, 0, M, j0, j1)


@jit
def few_rows(a, b, bias, activation, y, z):
    """A handful of rows a (batch, M, K) times the rows of b (batch, N, K): dot products."""
    batch, M, N = z.shape
    tasks = batch * ((N + _COLUMNS - 1) // _COLUMNS)
    run_tasks(_dot_columns, tasks, (a, b, bias, activation, y, z))


_tiles, _few_rows = compiled(_tiles), compiled(few_rows)
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
