"""Lay parts of a matrix side by side in panels, a vector's worth of numbers at a time.

A product reads both sides from panels: row after row of as many numbers as a tile has rows or
columns.  Copied one by one, each number would cost a load and a store.  Where the numbers of a
panel's row follow each other in the matrix, ``lay`` copies vectors.  Where they stand below each
other, ``turn`` loads as many rows as a vector has lanes, exchanges ever larger squares of numbers
(Eklundh 1972, "A Fast Computer Method for Matrix Transposing"), and stores columns.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, config, types
from numba.extending import intrinsic

from .jit import jit
from .simd import ROWS, VECTOR_BYTES, address_of, lanes_of

_I64, _I32, _I8 = ir.IntType(64), ir.IntType(32), ir.IntType(8)


def lay(x, k, j, out, first, at, lanes):
    """out[first, at : at + lanes] = x[k, j : j + lanes], where lanes is n or ``ROWS`` % n.

    Both arrays have two axes, contiguous along the last one.
    """
    out[first, at : at + lanes] = x[k, j : j + lanes]


def turn(x, j, k, rows, out, first, at, lanes):
    """out[first + s, at + r] = x[j + r, k + s] for r < lanes and s < n; arrays and lanes as above.

    Of the rows of x beyond ``rows``, which is 1 at least, copies of the last one take the place.
    """
    n = lanes_of(x)
    for r in range(lanes):
        out[first : first + n, at + r] = x[j + min(r, rows - 1), k : k + n]


@intrinsic
def _lay(typingctx, x, k, j, out, first, at, lanes):
    n = types.intp
    signature = types.void(x, n, n, out, n, n, n)

    def generate(context, builder, signature, arguments):
        x, k, j, out, first, at, lanes = arguments
        source, *_ = address_of(context, builder, signature.args[0], x, k, j)
        target, *_ = address_of(context, builder, signature.args[3], out, first, at)
        width = VECTOR_BYTES // context.get_abi_sizeof(source.type.pointee)

        def copy(lanes):
            _store(builder, _load(builder, source, lanes), target, lanes)

        with builder.if_else(builder.icmp_signed("==", lanes, _I64(width))) as (whole, part):
            with whole:
                copy(width)
            with part:
                copy(ROWS % width)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _turn(typingctx, x, j, k, rows, out, first, at, lanes):
    n = types.intp
    signature = types.void(x, n, n, n, out, n, n, n)

    def generate(context, builder, signature, arguments):
        x, j, k, rows, out, first, at, lanes = arguments
        source, x_row, _ = address_of(context, builder, signature.args[0], x, j, k)
        target, out_row, _ = address_of(context, builder, signature.args[4], out, first, at)
        width = VECTOR_BYTES // context.get_abi_sizeof(source.type.pointee)
        whole, part = (
            _turn_function(builder.module, source.type, count) for count in (width, ROWS % width)
        )
        is_whole = builder.icmp_signed("==", lanes, _I64(width))
        call = [source, x_row, rows, target, out_row]
        builder.call(builder.select(is_whole, whole, part), call)
        return context.get_dummy_value()

    return signature, generate


def _powers(lanes):
    """(start, count) of parts that are powers of two: single loads and stores."""
    start = 0
    while start < lanes:
        count = 1 << (lanes - start).bit_length() - 1
        yield start, count
        start += count


def _load(builder, source, lanes):
    """Parts of a vector, from where ``source`` points."""
    parts = []
    for start, count in _powers(lanes):
        place = builder.gep(source, [_I64(start)])
        kind = ir.VectorType(source.type.pointee, count)
        parts.append(builder.load(builder.bitcast(place, kind.as_pointer())))
        parts[-1].align = 4
    return parts


def _store(builder, parts, target, lanes):
    for part, (start, _) in zip(parts, _powers(lanes), strict=True):
        place = builder.gep(target, [_I64(start)])
        builder.store(part, builder.bitcast(place, part.type.as_pointer())).align = 4


def _turn_function(module: ir.Module, pointer: ir.Type, lanes: int) -> ir.Function:
    """void(x, its row's stride, rows, out, its row's stride); see ``turn``."""
    size = 4 if isinstance(pointer.pointee, ir.FloatType) else 8
    width = VECTOR_BYTES // size
    kind = ir.FunctionType(ir.VoidType(), [pointer, _I64, _I64, pointer, _I64])
    function = cgutils.get_or_insert_function(module, kind, f"minitx_turn_{lanes}_f{8 * size}")
    if not function.is_declaration:
        return function
    function.linkage = "internal"
    function.attributes.add("noinline")  # a kernel needs it in many places, and once is enough
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    x, x_row, rows, out, out_row = function.args
    last = builder.sub(rows, _I64(1))

    def at(start, stride, row):
        moved = builder.gep(builder.bitcast(start, _I8.as_pointer()), [builder.mul(stride, row)])
        return builder.bitcast(moved, pointer)

    def pick(a, b, lanes):
        return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, len(lanes)), lanes))

    block = []
    for r in range(width):
        row = _I64(min(r, max(lanes, 1) - 1))
        row = builder.select(builder.icmp_signed("<", row, rows), row, last)
        block += _load(builder, at(x, x_row, row), width)
    side = 1
    while side < width:  # exchange the squares beside the diagonal
        above = [s + width - side if s & side else s for s in range(width)]
        below = [s + width if s & side else s + side for s in range(width)]
        for r in range(width):
            if not r & side:
                a, b = block[r], block[r + side]
                block[r], block[r + side] = pick(a, b, above), pick(a, b, below)
        side *= 2
    for s, row in enumerate(block):
        parts = [pick(row, row, [*range(start, start + n)]) for start, n in _powers(lanes)]
        _store(builder, parts, at(out, out_row, _I64(s)), lanes)
    builder.ret_void()
    return function


if not config.DISABLE_JIT:
    lay, turn = _lay, _turn  # noqa: F811


@jit
def pack_rows(x, j0, count, k0, k1, out, first):
    """out[first + k, j] = x[k, j0 + j] for k0 <= k < k1 and j < count."""
    width, lanes = out.shape[1], lanes_of(out)
    for j in range(0, count, lanes):
        some = min(lanes, width - j)
        if count - j >= some:
            for k in range(k0, k1):
                lay(x, k, j0 + j, out, first + k, j, some)
        else:
            for k in range(k0, k1):
                for r in range(j, count):
                    out[first + k, r] = x[k, j0 + r]


@jit
def pack_columns(x, j0, count, k0, k1, out, first):
    """out[first + k, j] = x[j0 + j, k] for k0 <= k < k1 and j < count."""
    width, lanes = out.shape[1], lanes_of(out)
    whole = k0 + (k1 - k0) // lanes * lanes
    for j in range(0, count, lanes):
        for k in range(k0, whole, lanes):
            turn(x, j0 + j, k, count - j, out, first + k, j, min(lanes, width - j))
        for k in range(whole, k1):
            for r in range(j, min(j + lanes, count)):
                out[first + k, r] = x[j0 + r, k]
