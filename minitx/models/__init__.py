"""One paper per file."""

from . import official
from .gpt import GPT, GPTConfig
from .vit import ViT, ViTConfig

__all__ = ["GPT", "GPTConfig", "ViT", "ViTConfig", "official"]
