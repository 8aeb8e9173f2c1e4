"""Share out work among threads: the one parallel loop of the library.

A kernel cuts its work into numbered tasks, by shape alone, and writes a compiled function of the
task's number that does one of them.  ``run_tasks`` does them all, on Numba's threads.  Each begins
with a share of its own, the same rows in one kernel after the other, which it has in its cache; who
is done early, because its core is faster or has nothing else to do, takes from the others' shares.

Numba's own ``prange`` would compile each loop body three times over; here it is compiled once, and
one loop, which calls it through its address, serves all kernels.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.compiler import Flags, compile_internal
from numba.extending import intrinsic

from .jit import COMPILED

ENOUGH = 16  # tasks, to share out evenly among a few threads
WORTH_WAKING = 8192  # elements: waking a thread takes microseconds, on busy cores a time slice

_I32, _I64, _BYTES = ir.IntType(32), ir.IntType(64), ir.IntType(8).as_pointer()
_LINE = 8  # numbers that fill a line of cache: no two queues share one
_WORKER = ir.FunctionType(ir.VoidType(), [_I64] * 3 + [_I64.as_pointer(), _BYTES])
_LOOP = types.void(*[types.intp] * 3)


def shares(jobs: int, most: int) -> int:
    """Into how many tasks to cut each of so many jobs, ``most`` at most: only few are cut."""
    return max(1, min(most, ENOUGH // max(1, jobs)))


def run_tasks(task, count: int, arguments: tuple[Any, ...], work: Any = None) -> None:
    """task(0, *arguments), ..., task(count - 1, *arguments), in any order.

    To be called in compiled code.  The tasks write to arrays among ``arguments``, each to a part of
    its own; what they return is lost.  Raises MemoryError if one of them fails: they only allocate.
    If the arrays that stand there themselves have few elements, the calling thread does it all.
    work: makes the arrays that a thread's tasks work in, one after the other: a tuple, from
    ``arguments``, which comes after those.
    """
    own = work(*arguments) if work else ()
    for number in range(count):
        task(number, *arguments, *own)


@intrinsic
def _run_tasks(typingctx, task, count, arguments, work=None):
    kinds = [types.unliteral(kind) for kind in arguments]

    def generate(context, builder, signature, values):
        _, count, packed, *_ = values
        items = [
            context.cast(builder, item, kind, wanted)
            for item, kind, wanted in zip(
                cgutils.unpack_tuple(builder, packed), arguments, kinds, strict=True
            )
        ]
        items.append(_I32(0))  # set by a task that fails
        closure = cgutils.alloca_once(builder, ir.LiteralStructType([x.type for x in items]))
        for i, item in enumerate(items):
            builder.store(item, builder.gep(closure, [_I32(0), _I32(i)]))
        makes = getattr(work, "dispatcher", None)
        worker = _worker(context, builder, kinds, closure.type, task.dispatcher, makes)
        elements = _I64(0)
        for item, kind in zip(items, kinds, strict=False):
            if isinstance(kind, types.Array):
                array = context.make_array(kind)(context, builder, item)
                elements = builder.add(elements, array.nitems)
        few = builder.icmp_signed("<", elements, _I64(WORTH_WAKING))
        alone = builder.or_(few, builder.icmp_signed("==", count, _I64(1)))
        with builder.if_else(alone) as (one, several):
            with one:
                first = cgutils.alloca_once(builder, _I64)
                builder.store(_I64(0), first)
                unknown = builder.bitcast(closure, _BYTES)
                builder.call(worker, [_I64(0), _I64(1), count, first, unknown])
            with several:
                loop = _loop.get_compile_result(_LOOP)
                context.add_linking_libs([loop.library])
                addresses = [builder.ptrtoint(x, _I64) for x in (worker, closure)]
                context.call_internal(builder, loop.fndesc, _LOOP, [*addresses, count])
        failed = builder.load(builder.gep(closure, [_I32(0), _I32(len(items) - 1)]))
        with builder.if_then(cgutils.is_not_null(builder, failed), likely=False):
            told = ("a kernel found no memory for its working arrays",)
            context.call_conv.return_user_exc(builder, MemoryError, told)
        return context.get_dummy_value()

    work = types.Omitted(None) if work is None else work
    return types.void(task, types.intp, arguments, work), generate


def _worker(context, builder, kinds, closure, task, work) -> ir.Function:
    """void(worker, workers, count, queues, closure): its own share of the tasks, then the others'.

    queues: the next task of each share.  closure: the tasks' arguments.
    """
    functions = [x.py_func for x in (task, work) if x is not None]
    names = ".".join(f"{x.__module__}.{x.__qualname__}" for x in functions)
    name = context.mangler(f"minitx_task_{names}", kinds)
    function = cgutils.get_or_insert_function(builder.module, _WORKER, name)
    if not function.is_declaration:
        return function
    function.linkage = "internal"
    inner = ir.IRBuilder(function.append_basic_block("entry"))
    worker, workers, count, queues, at = function.args
    at = inner.bitcast(at, closure)
    places = [inner.gep(at, [_I32(0), _I32(i)]) for i in range(len(closure.pointee.elements))]
    items = [inner.load(place) for place in places[:-1]]

    def call(dispatcher, kinds, values):
        """What it returned, of which type, and whether it did."""
        made = _compiled(context, dispatcher, tuple(kinds))
        status, value = context.call_internal_no_propagate(
            inner, made.fndesc, made.signature, values
        )
        with inner.if_then(status.is_error, likely=False):
            inner.store(_I32(1), places[-1])
        return value, made.signature.return_type, status.is_ok

    def do_all(own, made):
        with cgutils.for_range(inner, workers) as turn:
            share = inner.srem(inner.add(worker, turn.index), workers)
            end = inner.sdiv(inner.mul(inner.add(share, _I64(1)), count), workers)
            queue = inner.gep(queues, [inner.mul(share, _I64(_LINE))])
            take, body, done = (function.append_basic_block(x) for x in ("take", "do", "done"))
            inner.branch(take)
            inner.position_at_end(take)
            number = inner.atomic_rmw("add", queue, _I64(1), "monotonic")
            inner.cbranch(inner.icmp_signed("<", number, end), body, done)
            inner.position_at_end(body)
            call(task, [types.intp, *kinds, *made], [number, *items, *own])
            inner.branch(take)
            inner.position_at_end(done)

    if work is None:
        do_all([], [])
    else:
        arrays, made, done = call(work, kinds, items)
        with inner.if_then(done):
            do_all(cgutils.unpack_tuple(inner, arrays), made)
            context.nrt.decref(inner, made, arrays)
    inner.ret_void()
    return function


def _compiled(context, dispatcher, kinds):
    """Into the library at hand: one of its own would be optimised, and made machine code, twice."""
    flags = Flags()
    dispatcher.targetdescr.options.parse_as_flags(flags, dispatcher.targetoptions)
    flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    typing, library = context.typing_context, context.active_code_library
    context = context.subtarget(enable_nrt=flags.nrt)  # references are counted, or not
    return compile_internal(
        typing, context, library, dispatcher.py_func, kinds, None, flags, locals={}
    )


@intrinsic
def _call(typingctx, function, worker, workers, count, queues, closure):
    def generate(context, builder, signature, values):
        function, *numbers, queues, closure = values
        function = builder.inttoptr(function, _WORKER.as_pointer())
        places = [builder.inttoptr(queues, _I64.as_pointer()), builder.inttoptr(closure, _BYTES)]
        builder.call(function, [*numbers, *places])
        return context.get_dummy_value()

    n = types.intp
    return types.void(n, n, n, n, n, n), generate


@intrinsic
def _queues(typingctx, workers, count):
    """The first task of each share, in the caller's frame: on the heap they would split it."""

    def generate(context, builder, signature, values):
        workers, count = values
        queues = builder.alloca(_I64, builder.mul(workers, _I64(_LINE)))
        with cgutils.for_range(builder, workers) as share:
            first = builder.sdiv(builder.mul(share.index, count), workers)
            builder.store(first, builder.gep(queues, [builder.mul(share.index, _I64(_LINE))]))
        return builder.ptrtoint(queues, _I64)

    return types.intp(types.intp, types.intp), generate


@intrinsic
def _threads(typingctx):
    """How many there are: by its name, for what Numba offers is a pointer, and cannot be cached."""

    def generate(context, builder, signature, values):
        kind = ir.FunctionType(_I64, [])
        return builder.call(
            cgutils.get_or_insert_function(builder.module, kind, "get_num_threads"), []
        )

    return types.intp(), generate


# Never cached on its own: Numba would link a kernel to it by a name that the next process lacks.
@numba.njit(parallel=True)
def _loop(function, closure, count):
    workers = min(count, _threads())
    queues = _queues(workers, count)
    for worker in numba.prange(workers):
        _call(function, worker, workers, count, queues, closure)


if COMPILED:
    run_tasks = _run_tasks  # noqa: F811
