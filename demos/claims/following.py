"""To have learnt which passages follow each other helps where two texts are compared.

Devlin et al. 2019, section 5.1 ("no NSP").  Fine-tuned on pairs and on choices.
"""

from __future__ import annotations

from .lab import Lab
from .words import Scores, above, draw, table

__all__ = ["draw", "holds", "measure", "table"]

WAYS = {"with it": "both", "without": "mlm"}


def measure(lab: Lab) -> Scores:
    return {
        task: {way: lab.words.scores(task, start) for way, start in WAYS.items()}
        for task in ("pairs", "choices")
    }


def holds(found: Scores) -> bool:
    """On either task the worst seed with it is above the best without."""
    return all(above(task["with it"], task["without"]) for task in found.values())
