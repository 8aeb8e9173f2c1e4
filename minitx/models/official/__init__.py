"""Tables between our parameter names and the official checkpoints', one file a model."""

from . import gpt, vit

__all__ = ["gpt", "vit"]
