"""The embedding table's gradient: rows of the cotangent added up where their token stands.

A row adds up its token's occurrences in their order, in the cotangent's dtype.
"""

from __future__ import annotations

import numpy as np

from ..jit import COMPILED, compiled, jit, kernel
from ..tasks import run_tasks
from .sums import holds, put

_COLUMNS = 32  # table columns that one task owns, so that no two add to the same place


def embedding_vjp_ref(dy, ids, count, out=None, add=False):
    """dtable[ids[n]] += dy[n].  dy: (N, C), ids: (N,) integers in [0, count) -> dtable (count, C)

    out: an array for it, which is returned; if ``add``, dtable is added to what is there.
    Raises IndexError as NumPy's indexing does.
    """
    dtable = np.zeros((count, dy.shape[1]), dy.dtype)
    np.add.at(dtable, ids, dy)
    return dtable if out is None else put(dtable, out, add)


@jit
def _add_columns(task, dy, ids, order, out):
    """Some columns of out[i] += dy[order[n]], summed over all n for which ids[n] is i."""
    part = slice(task * _COLUMNS, (task + 1) * _COLUMNS)
    dy, out = dy[:, part], out[:, part]
    total, n = np.empty(dy.shape[1], dy.dtype), 0
    while n < ids.size:
        i = ids[n]
        for c in range(total.size):
            total[c] = dy.dtype.type(0)
        while n < ids.size and ids[n] == i:
            for c in range(total.size):
                total[c] += dy[order[n], c]
            n += 1
        for c in range(total.size):
            out[i, c] += total[c]


@jit
def _add_rows(dy, ids, order, out):
    run_tasks(_add_columns, (dy.shape[1] + _COLUMNS - 1) // _COLUMNS, (dy, ids, order, out))


def embedding_vjp_jit(dy, ids, count, out=None, add=False):
    if ids.size and not -count <= ids.min() <= ids.max() < count:
        raise IndexError(f"embedding_vjp: an id is outside the table of {count} rows")
    if out is None:
        out, add = np.empty((count, dy.shape[1]), dy.dtype.newbyteorder("=")), False
    if not (COMPILED and holds(out, dy, (count, dy.shape[1]))):
        return embedding_vjp_ref(dy, ids, count, out, add)
    if not add:
        out.fill(0)
    ids = ids.astype(np.int64) % max(1, count)
    order = np.argsort(ids, kind="stable")
    _add_rows(dy, ids[order], order, out)
    return out


_add_rows = compiled(_add_rows)
embedding_vjp = kernel(embedding_vjp_ref, embedding_vjp_jit)
