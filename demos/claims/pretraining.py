"""Pre-training lifts fine-tuning, and the more the fewer labels there are.

Devlin et al. 2019, sections 1 and 4: its largest gains are on the smallest tasks.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..language import JOBS
from .lab import Lab
from .words import Scores, above, draw, table

__all__ = ["draw", "holds", "measure", "table"]

WAYS = {"pre-trained": "both", "untrained": "untrained"}


def measure(lab: Lab) -> Scores:
    """Two tasks, each with a third of the labels, with as many as elsewhere, with thrice those.

    Or with all, if there are fewer.
    """
    usual, found = lab.scale.tuning, {}
    for task in ("tags", "texts"):
        for labels in (usual.labels // 3, usual.labels, usual.labels * 3):
            tuning = dataclasses.replace(usual, labels=labels)
            count = len(JOBS[task].few(tuning, seed=0).train)
            found[f"{task}, {count}"] = {
                way: lab.words.scores(task, start, labels) for way, start in WAYS.items()
            }
    return found


def gains(found: Scores) -> np.ndarray:
    """(tasks, counts), of means."""
    each = [np.mean(x["pre-trained"]) - np.mean(x["untrained"]) for x in found.values()]
    return np.reshape(each, (2, 3))


def holds(found: Scores) -> bool:
    """At all counts the worst seed is above the best untrained one, and on either task the mean
    gain is larger at the fewest labels than at the most."""
    lifted = all(above(x["pre-trained"], x["untrained"]) for x in found.values())
    gain = gains(found)
    return bool(lifted and (gain[:, 0] > gain[:, -1]).all())
