"""Looking rows up in a table."""

from __future__ import annotations

from functools import partial

import numpy as np

from .. import kernels
from ..tensor import op


@op
def embedding(table, ids, padding_idx=None):
    """table[ids].  table: (V, C), ids: (...) integers -> (..., C)

    The row ``padding_idx`` gets no gradient.
    Raises ValueError on a table without two axes, TypeError on ids that are not integers,
    IndexError on an id outside [0, V).
    """
    ids = np.asarray(ids)
    if table.ndim != 2:
        raise ValueError(f"embedding: table has shape {table.shape}; expected (V, C)")
    V, C = table.shape
    if ids.dtype.kind not in "iu":
        raise TypeError(f"embedding: ids have dtype {ids.dtype}; expected integers")
    if ids.size and not (0 <= ids.min() and ids.max() < V):
        wrong = ids.min() if ids.min() < 0 else ids.max()
        raise IndexError(f"embedding: id {wrong} is outside [0, {V}), the rows of the table")
    if padding_idx is not None and not -V <= padding_idx < V:
        raise IndexError(f"embedding: padding_idx {padding_idx} is outside the table's {V} rows")

    def vjp(dy):
        rows = ids.reshape(-1).astype(np.int64)
        dy = dy.reshape(rows.size, C)
        if padding_idx is not None:
            kept = rows != padding_idx % V
            dy, rows = dy[kept], rows[kept]
        return (partial(kernels.embedding_vjp, dy, rows, V),)

    return table[ids], vjp
