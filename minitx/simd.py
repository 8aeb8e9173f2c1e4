"""The innermost loop of every matrix product, written for the processor's vector registers.

A compiled loop over plain arrays stores each partial sum to memory and loads it again.  Here a tile
of the result stays in registers while the sum runs: ``ROWS`` rows of a few vectors each, as many as
the registers hold beside one number of a and one row of b.  So the loop is given to LLVM as vector
instructions, and reaches what vendors' libraries do, on any processor that LLVM knows, with no
library to call.  Of all shapes with so many registers few rows and wide ones load least: where
another program shares the core, and with it the units that load, that shows.
"""

from __future__ import annotations

import itertools

import llvmlite.binding
from llvmlite import ir
from numba.core import cgutils, config, types
from numba.extending import intrinsic
from numba.np import arrayobj

_I64, _I32, _I8 = ir.IntType(64), ir.IntType(32), ir.IntType(8)


def _features() -> set[str]:
    """What the processor that Numba compiles for can do, in LLVM's words."""
    if config.CPU_FEATURES is not None:
        return {name[1:] for name in config.CPU_FEATURES.split(",") if name.startswith("+")}
    try:
        return {name for name, has in llvmlite.binding.get_host_cpu_features().items() if has}
    except RuntimeError:  # LLVM cannot tell on this system
        return set()


_has = _features()
VECTOR_BYTES = 64 if "avx512f" in _has else 32 if "avx" in _has else 16
_MANY_REGISTERS = bool({"avx512f", "neon"} & _has)  # 32 of them, not 16

ROWS, _VECTORS = 6, 4 if _MANY_REGISTERS else 2  # of a tile; they leave room for a and b
TILE_BYTES = _VECTORS * VECTOR_BYTES  # a tile's rows, in bytes
_AHEAD = 8  # rows of b that are on their way from the second cache to the first


def multiply_tile(a, i, k, b, kb, jb, c, ic, jc, rows, columns, depth, add):
    """One tile of c = a @ b, or of c += a @ b if ``add``; all arrays have two axes.

    c[ic : ic + rows, jc : jc + columns] from a[i : i + rows, k : k + depth] and
    b[kb : kb + depth, jb : jb + columns], where 0 < rows <= ROWS, and columns is at most n, as many
    numbers as fill ``TILE_BYTES``.  Of each row of b n numbers are read, whatever they are; half as
    many if those are enough.  Along their last axis b and c are contiguous.  Offsets instead of
    slices: each slice would count a reference.
    """
    part = a[i : i + rows, k : k + depth] @ b[kb : kb + depth, jb : jb + columns]
    tile = c[ic : ic + rows, jc : jc + columns]
    tile[...] = tile + part if add else part


def width_of(x):
    """How many numbers of x one row of a tile has, n above: a constant in machine code."""
    return TILE_BYTES // x.itemsize


def lanes_of(x):
    """How many numbers of x fill ``VECTOR_BYTES``, likewise."""
    return VECTOR_BYTES // x.itemsize


def wide_vectors():
    """Let LLVM use the widest vectors in the loops of the calling function, and what it inlines.

    On processors with AVX-512 it would stop at half of that, out of caution about the clock of the
    first of them.  exp gains a quarter.
    """


def row(x, i, first, end):
    """x[i, first:end] of an array of two axes, contiguous along the last one, as cheap as can be.

    A slice counts a reference, twice 10 ns; this does not.  So use it only inside a loop that goes
    on to use ``x``, which keeps x alive.
    """
    return x[i, first:end]


def copy_vector(x, i, y, j):
    """y[j : j + n] = x[i : i + n], where n numbers fill ``VECTOR_BYTES``: a load and a store.

    Both arrays have one axis and are contiguous.  Who copies less may let the next copy cover what
    was too much, if there is room after the last.
    """
    n = min(lanes_of(y), x.size - i, y.size - j)
    y[j : j + n] = x[i : i + n]


def row_max(x):
    """The largest number of a contiguous row, NaN aside; -inf if there is none."""
    return max((value for value in x if value == value), default=x.dtype.type("-inf"))


def choose(condition, a, b):
    """a if condition else b, without a branch, which LLVM would keep from making vectors of it."""
    return a if condition else b


def address_of(context, builder, kind, array, row, column):
    """The address of array[row, column], and the strides in bytes."""
    array = arrayobj.make_array(kind)(context, builder, array)
    strides = cgutils.unpack_tuple(builder, array.strides, 2)
    offset = builder.add(builder.mul(row, strides[0]), builder.mul(column, strides[1]))
    first = builder.ptrtoint(array.data, _I64)
    real = context.get_data_type(kind.dtype)
    return builder.inttoptr(builder.add(first, offset), real.as_pointer()), *strides


@intrinsic
def _choose(typingctx, condition, a, b):
    def generate(context, builder, signature, arguments):
        return builder.select(*arguments)

    return a(types.boolean, a, a), generate


@intrinsic
def _multiply_tile(typingctx, a, i, k, b, kb, jb, c, ic, jc, rows, columns, depth, add):
    n = types.intp
    signature = types.void(a, n, n, b, n, n, c, n, n, n, n, n, types.boolean)

    def generate(context, builder, signature, arguments):
        a, i, k, b, kb, jb, c, ic, jc, rows, columns, depth, add = arguments
        real = context.get_data_type(signature.args[6].dtype)
        kinds = signature.args
        a_at, a_row, a_column = address_of(context, builder, kinds[0], a, i, k)
        b_at, b_row, _ = address_of(context, builder, kinds[3], b, kb, jb)
        c_at, c_row, _ = address_of(context, builder, kinds[6], c, ic, jc)
        call = [a_at, a_row, a_column, b_at, b_row, c_at, c_row, rows, columns, depth, add]
        whole, half = (_tile_function(builder.module, real, n) for n in (_VECTORS, _VECTORS // 2))
        enough = TILE_BYTES // 2 // context.get_abi_sizeof(real)
        narrow = builder.icmp_signed("<=", columns, _I64(enough))
        builder.call(builder.select(narrow, half, whole), call)
        return context.get_dummy_value()

    return signature, generate


def _numbers_in(size):
    @intrinsic
    def count(typingctx, x):
        def generate(context, builder, signature, arguments):
            return _I64(size // context.get_abi_sizeof(context.get_data_type(x.dtype)))

        return types.intp(x), generate

    return count


@intrinsic
def _wide_vectors(typingctx):
    def generate(context, builder, signature, arguments):
        wish = f'"prefer-vector-width"="{8 * VECTOR_BYTES}"'
        set.add(builder.function.attributes, wish)  # llvmlite's own ``add`` knows no such attribute
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def _row(typingctx, x, i, first, end):
    kind = types.Array(x.dtype, 1, "C")
    signature = kind(x, types.intp, types.intp, types.intp)

    def generate(context, builder, signature, arguments):
        x, i, first, end = arguments
        x = arrayobj.make_array(signature.args[0])(context, builder, x)
        stride = cgutils.unpack_tuple(builder, x.strides, 2)[0]
        at = builder.add(builder.ptrtoint(x.data, _I64), builder.mul(i, stride))
        at = builder.add(at, builder.mul(first, x.itemsize))
        part = arrayobj.make_array(kind)(context, builder)
        count = builder.sub(end, first)
        data = builder.inttoptr(at, x.data.type)
        arrayobj.populate_array(part, data, [count], [x.itemsize], x.itemsize, None)
        return part._getvalue()

    return signature, generate


@intrinsic
def _copy_vector(typingctx, x, i, y, j):
    signature = types.void(x, types.intp, y, types.intp)

    def generate(context, builder, signature, arguments):
        size = context.get_abi_sizeof(context.get_data_type(x.dtype))
        vector = ir.VectorType(context.get_data_type(x.dtype), VECTOR_BYTES // size)

        def at(position):
            array = arrayobj.make_array(signature.args[position])
            start = array(context, builder, arguments[position]).data
            start = builder.gep(start, [arguments[position + 1]])
            return builder.bitcast(start, vector.as_pointer())

        value = builder.load(at(0))
        value.align = size
        builder.store(value, at(2)).align = size
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _row_max(typingctx, x):
    def generate(context, builder, signature, arguments):
        kind = signature.args[0]
        x = arrayobj.make_array(kind)(context, builder, arguments[0])
        real = context.get_data_type(kind.dtype)
        function = _row_max_function(builder.module, real)
        return builder.call(function, [x.data, x.nitems])

    return x.dtype(x), generate


def _row_max_function(module: ir.Module, real: ir.Type) -> ir.Function:
    """largest(x, count): vectors first, then what is left one by one."""
    size = 4 if isinstance(real, ir.FloatType) else 8
    width = VECTOR_BYTES // size
    vector = ir.VectorType(real, width)
    kind = ir.FunctionType(real, [real.as_pointer(), _I64])
    function = cgutils.get_or_insert_function(module, kind, f"minitx_row_max_f{8 * size}")
    if not function.is_declaration:
        return function
    function.linkage = "internal"
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    x, count = function.args
    lowest = ir.Constant(real, float("-inf"))

    def larger(a, b):
        return builder.select(builder.fcmp_ordered(">", a, b), a, b)

    def scan(start, stop, step, kind, first):
        """The largest of x[start:stop] so far, ``step`` at a time; a comparison passes NaN over."""
        entry = builder.block
        loop, done = function.append_basic_block(), function.append_basic_block()
        builder.cbranch(builder.icmp_signed("<", start, stop), loop, done)
        builder.position_at_end(loop)
        at, best = builder.phi(_I64), builder.phi(kind)
        value = builder.load(builder.bitcast(builder.gep(x, [at]), kind.as_pointer()))
        value.align = size
        new, following = larger(value, best), builder.add(at, _I64(step))
        for phi, before, after in (at, start, following), (best, first, new):
            phi.add_incoming(before, entry)
            phi.add_incoming(after, loop)
        builder.cbranch(builder.icmp_signed("<", following, stop), loop, done)
        builder.position_at_end(done)
        result = builder.phi(kind)
        result.add_incoming(first, entry)
        result.add_incoming(new, loop)
        return result

    whole = builder.and_(count, _I64(-width))
    best = scan(_I64(0), whole, width, vector, ir.Constant(vector, [float("-inf")] * width))
    while width > 1:  # fold halves
        width //= 2
        low, high = (
            builder.shuffle_vector(
                best, best, ir.Constant(ir.VectorType(_I32, width), list(range(at, at + width)))
            )
            for at in (0, width)
        )
        best = larger(high, low)
    best = larger(builder.extract_element(best, _I32(0)), lowest)
    builder.ret(scan(whole, count, 1, real, best))
    return function


def _tile_function(module: ir.Module, real: ir.Type, vectors: int) -> ir.Function:
    """void(a, row and column stride, b, row stride, c, row stride, rows, columns, depth, add)."""
    size = 4 if isinstance(real, ir.FloatType) else 8
    width = VECTOR_BYTES // size
    pointer, vector = real.as_pointer(), ir.VectorType(real, width)
    kind = ir.FunctionType(
        ir.VoidType(),
        [pointer, _I64, _I64, pointer, _I64, pointer, _I64, _I64, _I64, _I64, ir.IntType(1)],
    )
    function = cgutils.get_or_insert_function(module, kind, f"minitx_tile_{vectors}_f{8 * size}")
    if not function.is_declaration:
        return function
    function.linkage = "internal"
    function.attributes.add("noinline")  # a kernel needs it in many places, and once is enough
    multiply_add = cgutils.get_or_insert_function(
        module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{width}f{8 * size}"
    )
    prefetch = cgutils.get_or_insert_function(
        module,
        ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32]),
        "llvm.prefetch.p0",
    )
    a, a_row, a_column, b, b_row, c, c_row, rows, columns, depth, add = function.args
    entry, loop, done = (function.append_basic_block(name) for name in ("entry", "loop", "done"))
    builder = ir.IRBuilder(entry)
    zero = ir.Constant(vector, [0.0] * width)
    edge = builder.alloca(real, _I64(vectors * width * ROWS))

    def address(start, offset, kind):
        """``offset`` bytes from ``start``."""
        moved = builder.gep(builder.bitcast(start, _I8.as_pointer()), [offset])
        return builder.bitcast(moved, kind.as_pointer())

    def load(start, offset, kind):
        value = builder.load(address(start, offset, kind))
        value.align = size
        return value

    for r in range(ROWS):  # c is on its way while the sum runs
        for v in range(vectors):
            at = builder.add(builder.mul(c_row, _I64(r)), _I64(v * VECTOR_BYTES))
            builder.call(prefetch, [address(c, at, _I8), _I32(1), _I32(3), _I32(1)])
    last = builder.sub(rows, _I64(1))
    inside = [builder.icmp_signed("<", _I64(r), rows) for r in range(ROWS)]
    clamped = [builder.select(x, _I64(r), last) for r, x in enumerate(inside)]
    a_rows = [address(a, builder.mul(r, a_row), real) for r in clamped]
    builder.cbranch(builder.icmp_signed(">", depth, _I64(0)), loop, done)

    # for k in range(depth): sums[r][v] += a[r, k] * b[k, v]
    builder.position_at_end(loop)
    k = builder.phi(_I64)
    sums = [[builder.phi(vector) for _ in range(vectors)] for _ in range(ROWS)]
    at = builder.mul(k, b_row)
    beside = [load(b, builder.add(at, _I64(v * VECTOR_BYTES)), vector) for v in range(vectors)]
    soon = builder.add(at, builder.mul(b_row, _I64(_AHEAD)))
    for v in range(vectors):
        place = builder.add(soon, _I64(v * VECTOR_BYTES))
        builder.call(prefetch, [address(b, place, _I8), _I32(0), _I32(3), _I32(1)])
    updated = []
    for r in range(ROWS):
        x = load(a_rows[r], builder.mul(k, a_column), real)
        x = builder.insert_element(ir.Constant(vector, ir.Undefined), x, _I32(0))
        zeros = ir.Constant(ir.VectorType(_I32, width), [0] * width)
        x = builder.shuffle_vector(x, ir.Constant(vector, ir.Undefined), zeros)
        beside_sums = zip(beside, sums[r], strict=True)
        updated.append([builder.call(multiply_add, [x, y, total]) for y, total in beside_sums])
    following = builder.add(k, _I64(1))
    for phi, start, new in [
        (k, _I64(0), following),
        *((sums[r][v], zero, updated[r][v]) for r in range(ROWS) for v in range(vectors)),
    ]:
        phi.add_incoming(start, entry)
        phi.add_incoming(new, loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, done)

    builder.position_at_end(done)
    totals = [[builder.phi(vector) for _ in range(vectors)] for _ in range(ROWS)]
    for r in range(ROWS):
        for v in range(vectors):
            totals[r][v].add_incoming(zero, entry)
            totals[r][v].add_incoming(updated[r][v], loop)

    def at_c(r, v):
        offset = builder.add(builder.mul(c_row, _I64(r)), _I64(v * VECTOR_BYTES))
        return address(c, offset, vector)

    def store():
        """All of the tile."""
        with builder.if_else(add) as (then, otherwise):
            for branch, with_c in (then, True), (otherwise, False):
                with branch:
                    for r, v in itertools.product(range(ROWS), range(vectors)):
                        x, at = totals[r][v], at_c(r, v)
                        if with_c:
                            before = builder.load(at)
                            before.align = size
                            x = builder.fadd(before, x)
                        builder.store(x, at).align = size

    def store_part():
        """One by one, by way of the stack, only as many as ``rows`` and ``columns`` say."""
        for r, v in itertools.product(range(ROWS), range(vectors)):
            place = builder.gep(edge, [_I64((vectors * r + v) * width)])
            builder.store(totals[r][v], builder.bitcast(place, vector.as_pointer())).align = size
        with cgutils.for_range(builder, rows) as row:
            target = address(c, builder.mul(c_row, row.index), real)
            source = builder.gep(edge, [builder.mul(row.index, _I64(vectors * width))])
            with cgutils.for_range(builder, columns) as column:
                at = builder.gep(target, [column.index])
                before = builder.select(add, builder.load(at), ir.Constant(real, -0.0))
                x = builder.load(builder.gep(source, [column.index]))
                builder.store(builder.fadd(before, x), at)

    is_whole = builder.and_(inside[-1], builder.icmp_signed("==", columns, _I64(vectors * width)))
    with builder.if_else(is_whole) as (then, otherwise):
        with then:
            store()
        with otherwise:
            store_part()
    builder.ret_void()
    return function


if not config.DISABLE_JIT:
    multiply_tile, wide_vectors = _multiply_tile, _wide_vectors  # noqa: F811
    width_of, lanes_of = _numbers_in(TILE_BYTES), _numbers_in(VECTOR_BYTES)  # noqa: F811
    choose, copy_vector = _choose, _copy_vector  # noqa: F811
    row, row_max = _row, _row_max  # noqa: F811
