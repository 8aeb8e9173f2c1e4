"""Look into a run: every op's value, gradient, saved values, time and place in the model."""

from .nonfinite import FirstNonFinite, explain_nan
from .place import Line
from .record import Record
from .recorder import Trace, trace

__all__ = ["FirstNonFinite", "Line", "Record", "Trace", "explain_nan", "trace"]
