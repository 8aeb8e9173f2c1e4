"""Tables: which rows are read, and how their gradients are added up."""

from __future__ import annotations

import numpy as np

from .registry import edited, mistake


@mistake(
    "gradients of a repeated id overwritten",
    "embedding",
    "in the port the last use of an id overwrites the others' gradients (d[ids] = dy); "
    "they should be added up (np.add.at, scatter-add)",
)
def overwritten(op, table, ids, padding_idx):
    value, vjp = op(table, ids, padding_idx)

    def last(dtable, dy):
        other = np.zeros_like(dtable)
        other[ids] = dy
        return other

    return value, edited(vjp, 0, last)


@mistake(
    "rows {by:+d} off",
    "embedding",
    "the port looks up row id {by:+d}: counting starts at another number",
    by=(-1, 1),
)
def row_off(op, table, ids, padding_idx, by):
    return op(table, np.clip(ids + by, 0, len(table) - 1), padding_idx)


@mistake(
    "scaled by the root of the width",
    "embedding",
    "the port multiplies embeddings by sqrt(C), as the original Transformer does",
)
def scaled(op, table, ids, padding_idx):
    root = np.sqrt(table.shape[1])
    value, vjp = op(table, ids, padding_idx)
    return value * root, lambda dy: vjp(dy * root)


@mistake(
    "padding row gets a gradient",
    "embedding",
    "the row of the padding id has no gradient; in the port it has",
)
def padding_trained(op, table, ids, padding_idx):
    return None if padding_idx is None else op(table, ids, None)
