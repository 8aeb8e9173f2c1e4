"""Ops that move elements and compute nothing: reshape, transpose, index, join, pad, choose."""

from __future__ import annotations

import weakref

import numpy as np

from ..tensor import Tensor, op


@op
def reshape(x, *shape):
    """reshape(x, 2, -1) or reshape(x, (2, -1))."""
    if len(shape) == 1 and not isinstance(shape[0], int | np.integer):
        shape = tuple(shape[0])
    before = x.shape
    return x.reshape(shape), lambda dy: (dy.reshape(before),)


@op
def transpose(x, *axes):
    """transpose(x) reverses the axes; transpose(x, 0, 2, 1) or transpose(x, (0, 2, 1)) orders."""
    if len(axes) == 1 and not isinstance(axes[0], int | np.integer):
        axes = axes[0]
    axes = tuple(axes) if axes else tuple(reversed(range(x.ndim)))
    ndim = max(x.ndim, 1)
    return x.transpose(axes), lambda dy: (dy.transpose(np.argsort(np.asarray(axes, int) % ndim)),)


@op
def swapaxes(x, axis1, axis2):
    return x.swapaxes(axis1, axis2), lambda dy: (dy.swapaxes(axis1, axis2),)


@op
def broadcast_to(x, shape):
    return np.broadcast_to(x, shape), lambda dy: (dy,)  # the engine sums it back


def _is_basic(index):
    parts = index if isinstance(index, tuple) else (index,)
    return all(p is None or p is Ellipsis or isinstance(p, int | np.integer | slice) for p in parts)


@op
def getitem(x, index):
    """x[index]: slices, numbers, None, Ellipsis, integer and boolean arrays, as in NumPy.

    A place taken twice gets both gradients.
    """

    shape = x.shape

    def vjp(dy):
        dx = np.zeros(shape, dy.dtype)
        if _is_basic(index):
            dx[index] = dy
        else:
            np.add.at(dx, index, dy)
        return (dx,)

    return x[index], vjp


def _address(x):
    return x.ctypes.data


_places: dict[int, tuple[list[weakref.ref], slice]] = {}  # of joined parts, by the first one's id


def _side_by_side(xs, axis):
    """Parts of one buffer that follow each other there, joined without a copy; else None.

    To ask NumPy for an address takes microseconds: where a layer's parts lie is remembered, as
    long as the first of them lives.
    """
    if axis:
        return None
    first, key = xs[0], id(xs[0])
    parts, place = _places.get(key, ((), None))
    if len(parts) != len(xs) or any(x is not part() for x, part in zip(xs, parts, strict=True)):
        place = _place(xs)
        if place is None:
            return None
        parts = [weakref.ref(x) for x in xs[1:]]
        _places[key] = [weakref.ref(first, lambda _: _places.pop(key, None)), *parts], place
    return first.base[place].reshape(sum(len(x) for x in xs), *first.shape[1:])


def _place(xs):
    """Which part of their one-dimensional base these are together, if they follow each other."""
    whole, first = xs[0].base, xs[0]
    if not isinstance(whole, np.ndarray) or whole.ndim != 1 or not first.ndim:
        return None
    if not whole.flags.c_contiguous:
        return None
    at = start = _address(first)
    for x in xs:
        fits = x.base is whole and x.shape[1:] == first.shape[1:] and x.flags.c_contiguous
        if not fits or x.dtype != whole.dtype or _address(x) != at:
            return None
        at += x.nbytes
    before = (start - _address(whole)) // whole.itemsize
    return slice(before, before + (at - start) // whole.itemsize)


@op
def _concatenate(*xs, axis):
    y = _side_by_side(xs, axis)
    y = np.concatenate(xs, axis=axis) if y is None else y
    shapes = [np.shape(x) for x in xs]

    def vjp(dy):
        before, pieces, end = (slice(None),) * (axis % dy.ndim), [], 0
        for shape in shapes:
            start, end = end, end + shape[axis]
            pieces.append(dy[before + (slice(start, end),)])
        return tuple(pieces)

    return y, vjp


def concatenate(xs, axis=0) -> Tensor:
    """Join a sequence of tensors along an existing axis.

    Nothing is copied where they already lie side by side, as parameters do once they are packed.
    """
    if not len(xs):
        raise ValueError("concatenate: needs at least one tensor")
    return _concatenate(*xs, axis=axis)


@op
def _stack(*xs, axis):
    return np.stack(xs, axis=axis), lambda dy: tuple(np.moveaxis(dy, axis, 0))


def stack(xs, axis=0) -> Tensor:
    """Join a sequence of tensors of one shape along a new axis."""
    if not len(xs):
        raise ValueError("stack: needs at least one tensor")
    return _stack(*xs, axis=axis)


@op
def pad(x, width, value=0.0):
    """Surround with a constant.

    width: a (before, after) pair per axis, or what else ``numpy.pad`` takes.
    """
    y = np.pad(x, width, constant_values=value)
    before = np.broadcast_to(width, (x.ndim, 2))[:, 0]
    inside = tuple(slice(b, b + n) for b, n in zip(before, x.shape, strict=True))
    return y, lambda dy: (dy[inside],)


@op
def where(condition, a, b):
    """a where the boolean ``condition`` holds, else b."""
    if np.asarray(condition).dtype != bool:
        dtype = np.asarray(condition).dtype
        raise TypeError(f"where: the condition has dtype {dtype}; expected bool")

    def vjp(dy):
        zero = dy.dtype.type(0)
        return (
            None,
            lambda: np.where(condition, dy, zero),
            lambda: np.where(condition, zero, dy),
        )

    return np.where(condition, a, b), vjp
