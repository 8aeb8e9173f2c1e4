"""Tables between our parameter names and the official checkpoints', one file a model."""

from . import gpt

__all__ = ["gpt"]
