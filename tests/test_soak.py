"""A few kills of a training process; ``python -m tests.soak`` makes more of them."""

from __future__ import annotations

import pytest
from soak import soak


@pytest.mark.long
def test_a_run_that_was_killed_a_few_times_ends_with_the_same_bytes(tmp_path):
    summary = soak(tmp_path, kills=3, seed=46)  # the first and the last while it saves
    assert summary.kills == summary.in_training == 3
