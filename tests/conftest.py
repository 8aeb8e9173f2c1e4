"""Hypothesis tries the same examples every time, and does not look at the clock."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "minitx",
    max_examples=30,
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("minitx")
