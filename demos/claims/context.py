"""A token's state is better for having seen both sides.

Devlin et al. 2019, section 5.1 ("LTR & no NSP").  The same encoder, whose attention is causal,
learns the next token instead of gaps; on roles of names in Python and on spans that answer.
"""

from __future__ import annotations

from .lab import Lab
from .words import Scores, above, draw, table

__all__ = ["draw", "holds", "measure", "table"]

WAYS = {
    "both sides": "mlm",
    "left only": "ltr",
    "both sides, untrained": "untrained",
    "left only, untrained": "untrained ltr",
}


def measure(lab: Lab) -> Scores:
    return {
        task: {way: lab.words.scores(task, start) for way, start in WAYS.items()}
        for task in ("tags", "spans")
    }


def holds(found: Scores) -> bool:
    """Pre-trained, on either task the worst seed with both sides is above the best without."""
    return all(above(task["both sides"], task["left only"]) for task in found.values())
