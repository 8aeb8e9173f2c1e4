"""Byte-pair merges (Sennrich et al. 2016, algorithm 1): learning them, and applying them to a word.

Learning: while symbols are wanted, the most frequent pair of neighbouring symbols becomes a symbol
of its own.  Applying: in the order in which they were learned, the merges are repeated on one word.
Both are done incrementally, with a heap; no step looks again at what the step before left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

import numpy as np

Pair = tuple[int, int]  # ids of two neighbouring symbols
_NOTHING = -1  # in place of a symbol: swallowed by its neighbour, or beyond the ends of a word


def learn_merges(
    words: Mapping[str, int],
    alphabet: Sequence[str],
    wanted: int,
    progress: Callable[[int, int], None] | None = None,
    inside: str = "",
) -> tuple[list[str], list[str]]:
    """Learn until there are `wanted` new symbols, or no pairs left.

    words: a word, written in the single characters of `alphabet` -> how often it occurs.
    inside: what marks a symbol that does not begin a word, as "##" does with WordPiece; then
    `alphabet` has such symbols too, and from its second character on, a word is made of them.
    Among equally frequent pairs the smaller left id wins, then the smaller right id.
    `progress(done, wanted)` is called after each merge.  A merge takes time in proportion to the
    occurrences of its pair in distinct words.
    Returns all symbols by id, alphabet first, and the merges, "left right" each; merge n makes
    symbol len(alphabet) + n.

    All occurrences of a pair come into being at once, with the newer of its symbols, and from then
    on there can only be fewer.  So it is enough to count a pair at its birth, and again when it
    seems to be the most frequent one.
    """
    symbols = list(alphabet)
    merges: list[str] = []
    line = _Line(words, alphabet, inside)
    heap: list[tuple[int, int, np.ndarray, Iterator]] = []

    def offer(pairs: Iterator[tuple]) -> None:  # the first one, and when that is taken, the next
        if best := next(pairs, None):
            heappush(heap, (*best, pairs))

    offer(line.pairs(np.arange(len(line.symbols), dtype=np.int32)))
    while heap and len(merges) < wanted:
        negative, pair, places, rarer = heappop(heap)
        offer(rarer)
        places = places[line.pair(places) == pair]
        if (count := int(line.often[places].sum())) < -negative:
            offer(iter([(-count, pair, places)] if count else []))
            continue
        left, right = (symbols[id] for id in divmod(pair, 1 << 32))
        touched = line.merge(pair, places, len(symbols))
        symbols.append(left + right.removeprefix(inside))
        merges.append(f"{left} {right}")
        offer(line.pairs(touched))
        if progress:
            progress(len(merges), wanted)
    return symbols, merges


class _Line:
    """All words in a row, as symbols that know their neighbours.  A place is that of a symbol."""

    def __init__(self, words: Mapping[str, int], alphabet: Sequence[str], inside: str):
        lengths = np.fromiter(map(len, words), np.int64, len(words)) + 1  # _NOTHING ends each word
        ends = np.cumsum(lengths) - 1
        text = np.frombuffer("\0".join([*words, ""]).encode("utf-32-le"), np.uint32)
        first, other = (np.full(0x110000, _NOTHING, np.int32) for _ in range(2))
        for id, symbol in enumerate(alphabet):
            for ids, mark in ((first, ""), (other, inside)):
                if symbol == mark + symbol[-1]:
                    ids[ord(symbol[-1])] = id
        self.symbols = other[text]
        starts = ends + 1 - lengths
        self.symbols[starts] = first[text[starts]]
        self.symbols[ends] = _NOTHING
        self.often = np.repeat(np.fromiter(words.values(), np.int64, len(words)), lengths)
        self.before = np.arange(-1, len(text) - 1, dtype=np.int32)  # place -1 is the last one
        self.after = np.arange(1, len(text) + 1, dtype=np.int32) % max(1, len(text))

    def pair(self, places: np.ndarray) -> np.ndarray:
        """The symbol at each place and the one after it, as one number; below 0 if one is none."""
        return self.symbols[places].astype(np.int64) << 32 | self.symbols[self.after[places]]

    def pairs(self, places: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
        """All pairs at these places, the most frequent first: (-count, pair, its places)."""
        pair = self.pair(places)
        order = np.argsort(pair)[np.count_nonzero(pair < 0) :]
        places = places[order]
        kinds, starts = np.unique(pair[order], return_index=True)
        negative = -np.add.reduceat(self.often[places], starts) if len(places) else starts
        ends = np.append(starts[1:], len(places))
        return (
            (int(negative[n]), int(kinds[n]), places[starts[n] : ends[n]])
            for n in np.argsort(negative, kind="stable")
        )

    def merge(self, pair: int, places: np.ndarray, merged: int) -> np.ndarray:
        """Put one symbol in place of two; returns the places where there are new pairs."""
        left, right = divmod(pair, 1 << 32)
        if left == right:  # occurrences can overlap: take every other one of a run
            places = np.sort(places)
            n = np.arange(len(places))
            follows = np.append(False, self.after[places[:-1]] == places[1:])
            places = places[(n - np.maximum.accumulate(np.where(follows, 0, n))) % 2 == 0]
        second = self.after[places]
        self.symbols[places] = merged
        self.symbols[second] = _NOTHING
        self.after[places] = after = self.after[second]
        self.before[after] = places
        before = self.before[places]
        return np.append(before[self.symbols[before] != merged], places)


def apply_merges(word: Sequence[int], merges: Mapping[Pair, tuple[int, int]]) -> list[int]:
    """Merge neighbours, the lowest rank first, then the leftmost, until no pair is in `merges`.

    word: ids of symbols; merges: pair -> (rank, merged id).
    The symbols form a linked list, so that a word of n symbols takes n log n steps, not n squared.
    """
    symbols = [*word, _NOTHING]  # the last one serves both ends: position -1 is position n
    before = list(range(-1, len(word)))
    after = [*range(1, len(symbols)), len(word)]
    waiting = [  # rank, position of the left symbol, pair
        (merges[pair][0], i, pair) for i, pair in enumerate(pairwise(word)) if pair in merges
    ]
    heapify(waiting)
    while waiting:
        _, i, pair = heappop(waiting)
        j = after[i]
        if (symbols[i], symbols[j]) != pair:  # one of the two has been merged meanwhile
            continue
        symbols[i], symbols[j] = merges[pair][1], _NOTHING
        k = after[j]
        after[i], before[k] = k, i
        for left, right in ((before[i], i), (i, k)):
            pair = symbols[left], symbols[right]
            if pair in merges:
                heappush(waiting, (merges[pair][0], left, pair))
    return [symbol for symbol in symbols if symbol != _NOTHING]
