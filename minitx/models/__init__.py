"""One paper per file."""

from . import official
from .gpt import GPT, GPTConfig
from .mae import MAE, MAEConfig
from .vit import ViT, ViTConfig

__all__ = ["GPT", "GPTConfig", "MAE", "MAEConfig", "ViT", "ViTConfig", "official"]
