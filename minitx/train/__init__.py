"""The training loop and what it needs: a log, a progress line, measures."""

from .evaluate import evaluate
from .trainer import NonFiniteError, Trainer

__all__ = ["NonFiniteError", "Trainer", "evaluate"]
