"""The training loop and what it needs: a log, a progress line, and the hunt for NaNs."""

from .nonfinite import NonFiniteError
from .trainer import Trainer

__all__ = ["NonFiniteError", "Trainer"]
