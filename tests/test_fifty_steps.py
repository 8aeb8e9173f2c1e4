"""50 steps of training: the losses of the reference, and the same bits on any number of threads."""

from __future__ import annotations

import json
import pathlib

import isolated
import numpy as np
import pytest

HERE = pathlib.Path(__file__).parent


@pytest.mark.long
def test_fifty_steps():
    told = json.loads(isolated.run(HERE / "fifty_steps.py", NUMBA_NUM_THREADS=4))
    assert told["1"] == told["2"] == told["4"]
    assert np.abs(np.subtract(told["1"], told["ref"])).max() <= 1e-4
    assert told["ref"][-1] < told["ref"][0]
