"""What BERT reads: packed sentences, pairs that follow each other or do not, and gaps to fill."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Ids = Sequence[int] | np.ndarray


class Batch(NamedTuple):
    """Sequences padded to one length; a model takes it as ``model(*batch)``."""

    ids: np.ndarray  # (B, T)
    types: np.ndarray  # (B, T), 0 in the first sentence and 1 in the second
    mask: np.ndarray  # bool (B, T), True at real tokens


def pack(
    firsts: Sequence[Ids],
    seconds: Sequence[Ids] | None = None,
    *,
    cls: int,
    sep: int,
    pad: int = 0,
    length: int = 512,
) -> Batch:
    """[CLS] first [SEP], or [CLS] first [SEP] second [SEP] (section 3, figure 2).

    cls, sep, pad: the ids of the special tokens.  length: the most tokens of a sequence; the longer
    of two sentences is cut first, at its end.  Raises ValueError on lists of different lengths, on
    none at all, and on a length without room.
    """
    alone = seconds is None
    seconds = [[]] * len(firsts) if seconds is None else seconds
    if len(firsts) != len(seconds) or not len(firsts):
        raise ValueError(f"pack: {len(firsts)} first and {len(seconds)} second sentences")
    room = length - (2 if alone else 3)
    if room < 1:
        raise ValueError(f"pack: a length of {length} has no room beside the special tokens")
    rows = []
    for a, b in zip(firsts, seconds, strict=True):
        a = a[: max(room - len(b), (room + 1) // 2)]
        b = b[: room - len(a)]
        rows.append(([cls, *a, sep], [] if alone else [*b, sep]))
    shape = len(rows), max(len(a) + len(b) for a, b in rows)
    ids, types, mask = np.full(shape, pad), np.zeros(shape, np.int64), np.zeros(shape, bool)
    for i, (a, b) in enumerate(rows):
        end = len(a) + len(b)
        ids[i, :end], types[i, len(a) : end], mask[i, :end] = a + b, 1, True
    return Batch(ids, types, mask)


def sentence_pairs(
    documents: Sequence[Sequence[Ids]], rng: np.random.Generator
) -> tuple[list[Ids], list[Ids], np.ndarray]:
    """Each sentence with the one after it or, half of the time, with one from another document.

    documents: sentences, in order.  -> firsts, seconds, and labels (N,): 0 "is next", 1 "is not"
    (section 3.1, task 2).  Raises ValueError unless there are two documents with a sentence.
    """
    full = [document for document in documents if len(document)]
    if len(full) < 2:
        raise ValueError(f"sentence_pairs: {len(full)} documents with sentences; expected 2")
    firsts, seconds, labels = [], [], []
    for i, document in enumerate(full):
        for a, b in zip(document[:-1], document[1:], strict=True):
            strange = rng.random() < 0.5
            if strange:
                other = full[(i + rng.integers(1, len(full))) % len(full)]
                b = other[rng.integers(len(other))]
            firsts.append(a)
            seconds.append(b)
            labels.append(int(strange))
    return firsts, seconds, np.array(labels, np.int64)


def mask_tokens(
    ids: np.ndarray,
    rng: np.random.Generator,
    *,
    mask_id: int,
    vocab_size: int,
    special: Sequence[int],
    share: float = 0.15,
    words: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose 15 % of the tokens; of these 80 % become [MASK], 10 % any token, 10 % stay.

    Section 3.1, task 1, and appendix A.1.  ids: (B, T).  special: ids that are never chosen.
    words: (B, T) numbers, equal for the pieces of one word, -1 for none: then words are chosen as a
    whole.  In every row with something to choose from, at least one token is chosen.
    -> inputs (B, T), and targets (B, T): what stood at the chosen places, -100 elsewhere.
    """
    ids = np.asarray(ids)
    units = np.broadcast_to(np.arange(ids.shape[-1]), ids.shape) if words is None else words
    units = np.asarray(units)
    if ids.ndim != 2 or units.shape != ids.shape:
        raise ValueError(f"mask_tokens: ids {ids.shape}, words {units.shape}; expected (B, T) both")
    if not 0 < share < 1:
        raise ValueError(f"mask_tokens: share is {share}; expected 0 < share < 1")
    free = ~np.isin(ids, special) & (units >= 0)
    chosen = np.zeros(ids.shape, bool)
    for row in range(len(ids)):
        found, sizes = np.unique(units[row, free[row]], return_counts=True)
        order = rng.permutation(len(found))
        wanted = round(share * free[row].sum())
        count = np.searchsorted(sizes[order].cumsum(), wanted, side="right")
        chosen[row] = free[row] & np.isin(units[row], found[order[: max(1, count)]])
    draws, any_token = rng.random(ids.shape), rng.integers(0, vocab_size, ids.shape)
    replaced = np.where(draws < 0.8, mask_id, np.where(draws < 0.9, any_token, ids))
    return np.where(chosen, replaced, ids), np.where(chosen, ids, -100)
