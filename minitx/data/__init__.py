"""Data to train on: text as windows of ids, and a small labelled task; both ship with Python."""

from .labelled import (
    Labelled,
    bag_of_words,
    docstring_packages,
    majority_baseline,
)
from .shuffled import Shuffled
from .text import Windows, python_topics, read_text, split

__all__ = [
    "Labelled",
    "Shuffled",
    "Windows",
    "bag_of_words",
    "docstring_packages",
    "majority_baseline",
    "python_topics",
    "read_text",
    "split",
]
