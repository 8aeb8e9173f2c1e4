"""Sampling: exact edge cases, and frequencies against probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minitx.models.sampling import sample

PROBABILITIES = np.array([0.1, 0.35, 0.05, 0.3, 0.2])
LOGITS = np.log(PROBABILITIES) + 3
DRAWS = 20_000
CRITICAL = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47}  # chi-square at 0.001, by degrees of freedom


def counts(logits=LOGITS, **options):
    rows = np.broadcast_to(logits, (DRAWS, len(logits)))
    return np.bincount(sample(rows, np.random.default_rng(0), **options), minlength=len(logits))


def assert_follows(counted, probabilities):
    """No token of probability 0, and a chi-square below the critical value."""
    probabilities = np.asarray(probabilities) / np.sum(probabilities)
    possible = probabilities > 0
    assert counted[~possible].sum() == 0
    expected = DRAWS * probabilities[possible]
    statistic = ((counted[possible] - expected) ** 2 / expected).sum()
    assert statistic < CRITICAL[possible.sum() - 1], statistic


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_frequencies_are_the_tempered_probabilities(temperature, dtype):
    assert_follows(
        counts(LOGITS.astype(dtype), temperature=temperature), PROBABILITIES ** (1 / temperature)
    )


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"top_k": 2}, [1, 3]),
        ({"top_k": 4}, [0, 1, 3, 4]),
        ({"top_k": 5}, range(5)),
        ({"top_k": 100}, range(5)),
        ({"top_p": 0.5}, [1, 3]),
        ({"top_p": 0.64}, [1, 3]),
        ({"top_p": 0.66}, [1, 3, 4]),
        ({"top_p": 0.99}, range(5)),
        ({"top_p": 1.0}, range(5)),
        ({"top_k": 3, "top_p": 0.5}, [1, 3]),  # 0.35 of 0.85 is less than half
        ({"top_k": 2, "top_p": 0.5}, [1]),  # 0.35 of 0.65 is more
    ],
)
def test_frequencies_of_what_is_kept(options, kept):
    probabilities = np.where(np.isin(np.arange(5), list(kept)), PROBABILITIES, 0)
    if len(kept) == 1:
        assert counts(**options)[kept[0]] == DRAWS
    else:
        assert_follows(counts(**options), probabilities)


def test_the_temperature_comes_before_top_p():
    assert_follows(
        counts(temperature=100.0, top_p=0.79), PROBABILITIES ** (1 / 100) * (PROBABILITIES > 0.05)
    )


@pytest.mark.parametrize("top_p", [5e-324, 1e-9, 0.35])
def test_a_small_top_p_keeps_one(top_p):
    assert counts(top_p=top_p)[1] == DRAWS


def test_of_equal_tokens_the_first_are_kept():
    flat = np.zeros(4)
    assert_follows(counts(flat, top_k=2), [1, 1, 0, 0])
    assert_follows(counts(flat, top_p=0.5), [1, 1, 0, 0])
    assert_follows(counts(flat, top_p=0.51), [1, 1, 1, 0])
    assert_follows(counts(flat), [1, 1, 1, 1])
    assert sample(flat[None], np.random.default_rng(0), temperature=0).tolist() == [0]


def test_top_p_of_1_keeps_even_what_rounding_hides():
    logits = np.concatenate([np.zeros(3), np.full(100_000, -25.0)])[None]  # 1e-11 each

    class Latest:
        def random(self, shape):
            return np.full(shape, 1 - 2**-53)

    assert sample(logits, Latest(), top_p=1.0)[0] == 100_002
    assert sample(logits, Latest(), top_p=0.9)[0] == 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cold_is_greedy_and_zero_draws_nothing(dtype):
    logits = np.random.default_rng(1).standard_normal((50, 7)).astype(dtype)
    for temperature in (0, 1e-6, 5e-324):
        rng = np.random.default_rng(2)
        tokens = sample(logits, rng, temperature)
        assert tokens.dtype == np.int64 and tokens.shape == (50,)
        np.testing.assert_array_equal(tokens, logits.argmax(axis=1))
        assert (rng.random() == np.random.default_rng(2).random()) == (temperature == 0)


def test_hot_is_uniform():
    assert_follows(counts(temperature=1e12), np.ones(5))
    assert_follows(counts(temperature=np.inf), np.ones(5))


def test_one_number_is_drawn_per_row_whatever_the_settings():
    logits = np.random.default_rng(3).standard_normal((4, 9))
    states = []
    for options in ({}, {"top_k": 1}, {"top_p": 0.1}, {"temperature": 9.0}):
        rng = np.random.default_rng(4)
        sample(logits, rng, **options)
        states.append(rng.random())
    assert len(set(states)) == 1
    np.testing.assert_array_equal(
        sample(logits, np.random.default_rng(5)), sample(logits, np.random.default_rng(5))
    )


def test_rows_are_independent():
    logits = np.array([[9.0, 0, 0], [0, 9, 0], [0, 0, 9]]) * 10
    assert sample(logits, np.random.default_rng(0), top_k=2, top_p=0.9).tolist() == [0, 1, 2]
    assert sample(np.empty((0, 3)), np.random.default_rng(0)).shape == (0,)
    assert sample(np.array([[2.5], [1.0]]), np.random.default_rng(0)).tolist() == [0, 0]


@given(
    logits=hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
    ),
    temperature=st.floats(0, 1e300),
    top_k=st.integers(0, 7),
    top_p=st.floats(0, 1, exclude_min=True),
    seed=st.integers(0, 99),
)
def test_the_token_is_always_among_the_kept(logits, temperature, top_k, top_p, seed):
    before = logits.copy()
    tokens = sample(logits, np.random.default_rng(seed), temperature, top_k, top_p)
    np.testing.assert_array_equal(logits, before)
    assert ((0 <= tokens) & (tokens < logits.shape[1])).all()
    better = (logits > np.take_along_axis(logits, tokens[:, None], axis=1)).sum(axis=1)
    assert (better < (top_k or logits.shape[1])).all()


@pytest.mark.parametrize(
    ("logits", "options", "message"),
    [
        (LOGITS[None], {"temperature": -1.0}, "temperature -1.0"),
        (LOGITS[None], {"temperature": np.nan}, "temperature nan"),
        (LOGITS[None], {"top_k": -1}, "top_k -1"),
        (LOGITS[None], {"top_p": 0.0}, "top_p 0.0"),
        (LOGITS[None], {"top_p": 1.1}, "top_p 1.1"),
        (LOGITS[None], {"top_p": np.nan}, "top_p nan"),
        (LOGITS, {}, r"shape \(5,\); expected \(B, V\)"),
        (np.empty((2, 0)), {}, r"shape \(2, 0\)"),
        (np.array([[0.0, np.nan]]), {}, "not finite"),
        (np.array([[0.0, np.inf]]), {"temperature": 0}, "not finite"),
    ],
)
def test_bad_arguments_get_one_clear_error(logits, options, message):
    with pytest.raises(ValueError, match=f"sample: .*{message}"):
        sample(logits, np.random.default_rng(0), **options)
