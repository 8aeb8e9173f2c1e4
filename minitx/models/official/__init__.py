"""Tables between our parameter names and the official checkpoints', one file a model."""

from . import bert, gpt, mae, resnet, t2t_vit, transformer, vit

__all__ = [
    "bert",
    "gpt",
    "mae",
    "resnet",
    "t2t_vit",
    "transformer",
    "vit",
]
