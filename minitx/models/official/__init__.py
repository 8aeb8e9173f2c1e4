"""Tables between our parameter names and the official checkpoints', one file a model."""

from . import gpt, mae, t2t_vit, transformer, vit

__all__ = [
    "gpt",
    "mae",
    "t2t_vit",
    "transformer",
    "vit",
]
