"""One page that shows a whole run: ``report(trace, "run.html")``."""

from .page import report

__all__ = ["report"]
