import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitx.data import Shuffled


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**32))
def test_a_pass_gives_every_index_once(count, batch_size, seed):
    rng = np.random.default_rng(seed)
    shuffled = Shuffled(count, batch_size)
    for epoch in range(3):
        assert shuffled.epoch == epoch
        batches = [shuffled.next(rng) for _ in range(-(-count // batch_size))]
        assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
        assert batches[0].dtype == np.int64
        np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(count))
    assert (shuffled.epoch, shuffled.position) == (3, 0)


def test_passes_differ():
    rng = np.random.default_rng(0)
    shuffled = Shuffled(50, 50)
    assert not np.array_equal(shuffled.next(rng), shuffled.next(rng))


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 40), st.integers(0, 2**32))
def test_resumes_exactly_from_json(count, batch_size, steps, seed):
    rng = np.random.default_rng(seed)
    shuffled = Shuffled(count, batch_size)
    for _ in range(steps):
        shuffled.next(rng)
    saved = json.loads(json.dumps([shuffled.state(), rng.bit_generator.state]))
    later = [shuffled.next(rng) for _ in range(20)]

    resumed = Shuffled(count, batch_size)
    resumed.load_state(saved[0])
    other = np.random.default_rng()
    other.bit_generator.state = saved[1]
    for batch in later:
        np.testing.assert_array_equal(resumed.next(other), batch)
    assert resumed.state() == shuffled.state()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"count": 11}, "count must be 10 here, got 11; resume with the data"),
        ({"batch_size": 5}, "batch_size must be 4 here, got 5"),
        ({"epoch": -1}, "epoch must be from 0"),
        ({"epoch": 1.0}, "epoch must be .* got 1.0"),
        ({"position": 10}, "position must be from 0 to 9 here, got 10"),
        ({"position": -4}, "position must be from 0 to 9 here, got -4"),
        ({"position": 3}, "multiple of batch_size 4, got 3"),
        ({"position": True}, "position must be .* got True"),
        ({"position": "4"}, "position must be .* got '4'"),
        ({"seed": 2**32}, "seed must be from 0 to 4294967295"),
        ({"seed": None}, "seed must be .* got None"),
        ({"extra": 0}, r"fields .* got \[.*'extra'\]"),
    ],
)
def test_a_bad_state_changes_nothing(changes, says):
    rng = np.random.default_rng(0)
    shuffled = Shuffled(10, 4)
    shuffled.next(rng)
    before = shuffled.state()
    with pytest.raises(ValueError, match=says):
        shuffled.load_state({"epoch": 7} | before | changes)
    assert shuffled.state() == before


@pytest.mark.parametrize("state", [None, [], "state", 3, {}, {"count": 10}])
def test_a_state_of_another_kind(state):
    with pytest.raises(ValueError, match="Shuffled.load_state: expected a dict with the fields"):
        Shuffled(10, 4).load_state(state)


@pytest.mark.parametrize("name", ["count", "batch_size"])
def test_bad_sizes(name):
    for value, error in [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)]:
        with pytest.raises(error, match=f"Shuffled: {name} must be "):
            Shuffled(**({"count": 5, "batch_size": 2} | {name: value}))


def test_next_needs_a_generator_and_changes_nothing_without():
    shuffled = Shuffled(5, 2)
    before = shuffled.state()
    with pytest.raises(TypeError, match="default_rng"):
        shuffled.next(np.random.RandomState(0))
    assert shuffled.state() == before
