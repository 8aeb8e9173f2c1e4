"""Hypothesis tries the same examples every time, and does not look at the clock.

``pytest --hypothesis-profile=brief`` tries few of them: enough to tell another Python version or
another installation from this one.
"""

import pytest
from hypothesis import HealthCheck, settings

from minitx.threads import get_threads, set_threads

for name, examples in {"minitx": 30, "brief": 4}.items():
    settings.register_profile(
        name,
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile("minitx")


@pytest.fixture(scope="module")
def one_thread():
    """For many calls on few numbers: on a busy machine each wait for a second thread is 10 ms."""
    before = get_threads()
    set_threads(1)
    yield
    set_threads(before)
