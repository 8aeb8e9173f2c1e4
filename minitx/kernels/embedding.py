"""The embedding table's gradient: rows of the cotangent added up where their token stands.

A row adds up its token's occurrences in their order, in the cotangent's dtype.
"""

from __future__ import annotations

import numpy as np

from ..jit import jit, kernel
from ..tasks import run_tasks

_COLUMNS = 32  # table columns that one task owns, so that no two add to the same place


def embedding_vjp_ref(dy, ids, count):
    """dtable[ids[n]] += dy[n].  dy: (N, C), ids: (N,) integers in [0, count) -> (count, C)

    Raises IndexError as NumPy's indexing does.
    """
    dtable = np.zeros((count, dy.shape[1]), dy.dtype)
    np.add.at(dtable, ids, dy)
    return dtable


@jit
def _embedding_vjp(task, dy, ids, dtable):
    part = slice(task * _COLUMNS, (task + 1) * _COLUMNS)
    dy, dtable = dy[:, part], dtable[:, part]
    for n in range(dy.shape[0]):
        for c in range(dy.shape[1]):
            dtable[ids[n], c] += dy[n, c]


@jit
def embedding_vjp_jit(dy, ids, count):
    for i in ids:  # machine code would write elsewhere
        if not -count <= i < count:
            raise IndexError("embedding_vjp: an id is outside the table")
    dtable = np.zeros((count, dy.shape[1]), dy.dtype)
    run_tasks(_embedding_vjp, (dy.shape[1] + _COLUMNS - 1) // _COLUMNS, (dy, ids, dtable))
    return dtable


embedding_vjp = kernel(embedding_vjp_ref, embedding_vjp_jit)
