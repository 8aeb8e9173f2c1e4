"""The training loop and what it needs: a log and a progress line."""

from .trainer import NonFiniteError, Trainer

__all__ = ["NonFiniteError", "Trainer"]
