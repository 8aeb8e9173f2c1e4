"""One paper per file."""

from . import official
from .gpt import GPT, GPTConfig

__all__ = ["GPT", "GPTConfig", "official"]
