"""The usual wrong conventions, each as a way to do an op that reproduces the port's numbers."""

from . import attention, embedding, linear, loss, norm
from .registry import MISTAKES, Guess, NotHere, known_guesses, mistake

__all__ = [
    "MISTAKES",
    "Guess",
    "NotHere",
    "attention",
    "embedding",
    "known_guesses",
    "linear",
    "loss",
    "mistake",
    "norm",
]
