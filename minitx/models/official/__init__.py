"""Tables between our parameter names and the official checkpoints', one file a model."""

from . import gpt, mae, vit

__all__ = ["gpt", "mae", "vit"]
