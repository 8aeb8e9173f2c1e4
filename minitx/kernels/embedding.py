"""The embedding table's gradient: rows of the cotangent added up where their token stands.

A row adds up its token's occurrences in their order, in the cotangent's dtype.
"""

from __future__ import annotations

import numpy as np

from ..jit import jit, kernel, prange

_COLUMNS = 32  # table columns that one thread owns, so that no two threads add to the same place


def embedding_vjp_ref(dy, ids, count):
    """dtable[ids[n]] += dy[n].  dy: (N, C), ids: (N,) integers in [0, count) -> (count, C)

    Raises IndexError as NumPy's indexing does.
    """
    dtable = np.zeros((count, dy.shape[1]), dy.dtype)
    np.add.at(dtable, ids, dy)
    return dtable


@jit(parallel=True)
def embedding_vjp_jit(dy, ids, count):
    N, C = dy.shape
    for i in ids:  # machine code would write elsewhere
        if not -count <= i < count:
            raise IndexError("embedding_vjp: an id is outside the table")
    dtable = np.zeros((count, C), dy.dtype)
    for block in prange((C + _COLUMNS - 1) // _COLUMNS):
        for n in range(N):
            for c in range(block * _COLUMNS, min(C, (block + 1) * _COLUMNS)):
                dtable[ids[n], c] += dy[n, c]
    return dtable


embedding_vjp = kernel(embedding_vjp_ref, embedding_vjp_jit)
