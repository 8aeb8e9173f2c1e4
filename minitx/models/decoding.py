"""Writing a likely sequence token by token: greedily, or with a beam of candidates.

Both ask a function ``step(tokens, rows)`` what comes next.  tokens: (N, t), all so far, of which
row i goes on with what was row rows[i] at the step before (at the first, rows are 0 to N - 1)
-> log-probabilities of the next token, (N, V).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Step = Callable[[np.ndarray, np.ndarray], np.ndarray]


def greedy_search(step: Step, start: np.ndarray, end: int, count: int, pad: int = 0) -> np.ndarray:
    """The most likely token each time, until every sequence has its ``end``, or ``count`` tokens.

    start: (B,) first tokens -> (B, <= count) what follows them, ``pad`` after the end.
    """
    _check_count(count)
    tokens, rows = start[:, None], np.arange(len(start))
    ended = np.zeros(len(start), bool)
    while tokens.shape[1] <= count and not ended.all():
        best = step(tokens, rows).argmax(axis=1)
        tokens = np.concatenate([tokens, np.where(ended, pad, best)[:, None]], axis=1)
        ended |= best == end
    return tokens[:, 1:]


def beam_search(
    step: Step,
    start: np.ndarray,
    end: int,
    count: int,
    beams: int,
    alpha: float = 0.6,
    pad: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """The best of ``beams`` candidates for each of B sequences; N = B * beams rows in ``step``.

    A candidate is complete with its ``end``, or after ``count`` tokens, and then scores
    log P / ((5 + length) / 6) ^ alpha (Wu et al. 2016, equation 14).  The search stops when none
    that goes on can still enter the best.

    start: (B,) first tokens -> (B, <= count) what follows them, ``pad`` after the end; scores (B,).
    Raises ValueError unless count >= 1, beams >= 1 and alpha >= 0.
    """
    _check_count(count)
    if beams < 1 or not alpha >= 0:
        raise ValueError(
            f"beam_search: beams {beams}, alpha {alpha}; expected beams >= 1 and alpha >= 0"
        )
    B, K = len(start), beams
    tokens = np.repeat(start[:, None, None], K, axis=1)  # B K t
    rows = np.arange(B * K)
    log_p = np.full((B, K), -np.inf)
    log_p[:, 0] = 0  # the first step has but one past to go on from
    done, done_scores = np.full((B, K, count), pad), np.full((B, K), -np.inf)
    for length in range(1, count + 1):
        next_log_p = step(tokens.reshape(B * K, length), rows).reshape(B, K, -1)
        V = next_log_p.shape[2]
        joint = (log_p[:, :, None] + next_log_p).reshape(B, K * V)
        best = _largest(joint, min(2 * K, K * V))  # at most K of which end
        values, past, token = np.take_along_axis(joint, best, 1), best // V, best % V
        longer = np.concatenate([_choose(tokens, past), token[:, :, None]], axis=2)

        complete = values / ((5 + length) / 6) ** alpha
        if length < count:
            complete[token != end] = -np.inf
        filled = np.full((*token.shape, count), pad)
        filled[:, :, :length] = longer[:, :, 1:]
        scores = np.concatenate([done_scores, complete], axis=1)
        kept = _largest(scores, K)
        done = _choose(np.concatenate([done, filled], axis=1), kept)
        done_scores = np.take_along_axis(scores, kept, 1)

        values[token == end] = -np.inf
        alive = _largest(values, K)
        log_p, tokens = np.take_along_axis(values, alive, 1), _choose(longer, alive)
        rows = (np.arange(B)[:, None] * K + np.take_along_axis(past, alive, 1)).reshape(-1)
        hope = log_p[:, 0] / ((5 + count) / 6) ** alpha  # none of them can score above it
        if (done_scores[:, -1] >= hope).all():
            break
    written = done[:, 0]
    ends = (written == end).argmax(axis=1) + 1
    lengths = np.where((written == end).any(axis=1), ends, length)
    return written[:, : lengths.max(initial=0)], done_scores[:, 0]


def _check_count(count: int) -> None:
    if count < 1:
        raise ValueError(f"decoding: count is {count}; expected at least 1 token")


def _largest(x: np.ndarray, count: int) -> np.ndarray:
    """Where the largest of each row are, largest first.  (B, N) -> (B, count)"""
    places = np.sort(np.argpartition(-x, count - 1, axis=1)[:, :count], axis=1)
    order = np.argsort(-np.take_along_axis(x, places, 1), axis=1, kind="stable")
    return np.take_along_axis(places, order, 1)


def _choose(x: np.ndarray, places: np.ndarray) -> np.ndarray:
    """x: (B, N, t), places: (B, K) -> (B, K, t)"""
    return np.take_along_axis(x, places[:, :, None], axis=1)
