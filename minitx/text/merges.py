"""Byte-pair merges (Sennrich et al. 2016, algorithm 1): learning them, and applying them to a word.

Learning: while symbols are wanted, the most frequent pair of neighbouring symbols becomes a symbol
of its own.  Applying: in the order in which they were learned, the merges are repeated on one word.
Both are done incrementally, with a heap; no step looks again at what the step before left alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from operator import add

Pair = tuple[int, int]  # ids of two neighbouring symbols
MAX_SYMBOLS = 0x110000  # learn_merges spells symbols as code points


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
    length of the distinct words that hold its pair.
    Returns all symbols by id, alphabet first, and the merges, "left right" each; merge n makes
    symbol len(alphabet) + n.
    """
    symbols = list(alphabet)
    merges: list[str] = []
    # A word is respelled with chr(id) for each symbol.  Then a pair is a str of length two, merging
    # it is str.replace, and comparing two pairs compares their ids.
    first, other = (
        str.maketrans({s[-1]: chr(id) for id, s in enumerate(alphabet) if s == mark + s[-1]})
        for mark in ("", inside)
    )
    spelled = [word[:1].translate(first) + word[1:].translate(other) for word in words]
    often = list(words.values())
    counts: Counter[str] = Counter()  # pair -> occurrences
    holders: defaultdict[str, set[int]] = defaultdict(set)  # pair -> words that have or had it
    for w, word in enumerate(spelled):
        for pair in map(add, word, word[1:]):
            counts[pair] += often[w]
            holders[pair].add(w)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapify(heap)

    while heap and len(merges) < wanted:
        negative, pair = heappop(heap)
        if -negative != counts[pair]:  # out of date: every change pushes a new entry
            continue
        left, right = (symbols[ord(character)] for character in pair)
        merged = chr(len(symbols))
        symbols.append(left + right.removeprefix(inside))
        merges.append(f"{left} {right}")
        changes: Counter[str] = Counter()
        for w in holders.pop(pair):
            old = spelled[w]
            new = spelled[w] = old.replace(pair, merged)
            for gone in map(add, old, old[1:]):
                changes[gone] -= often[w]
            for come in map(add, new, new[1:]):
                changes[come] += often[w]
                holders[come].add(w)
        for changed, change in changes.items():
            counts[changed] += change
            if change and counts[changed]:
                heappush(heap, (-counts[changed], changed))
        if progress:
            progress(len(merges), wanted)
    return symbols, merges


def apply_merges(word: Sequence[int], merges: Mapping[Pair, tuple[int, int]]) -> list[int]:
    """Merge neighbours, the lowest rank first, then the leftmost, until no pair is in `merges`.

    word: ids of symbols; merges: pair -> (rank, merged id).
    The symbols form a linked list, so that a word of n symbols takes n log n steps, not n squared.
    """
    nothing = -1  # swallowed by its neighbour, or beyond the ends of the word
    symbols = [*word, nothing]  # the last one serves both ends: position -1 is position n
    before = list(range(-1, len(word)))
    after = [*range(1, len(symbols)), len(word)]
    waiting: list[tuple[int, int, Pair]] = []  # rank, position of the left symbol, pair

    def consider(i: int) -> None:
        pair = symbols[i], symbols[after[i]]
        if pair in merges:
            heappush(waiting, (merges[pair][0], i, pair))

    for i in range(len(word)):
        consider(i)
    while waiting:
        _, i, pair = heappop(waiting)
        j = after[i]
        if (symbols[i], symbols[j]) != pair:  # one of the two has been merged meanwhile
            continue
        symbols[i], symbols[j] = merges[pair][1], nothing
        after[i] = after[j]
        before[after[i]] = i
        consider(before[i])
        consider(i)
    return [symbol for symbol in symbols if symbol != nothing]
