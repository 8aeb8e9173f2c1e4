"""Modules and the layers that the papers share."""

from .attention import KVCache, MultiHeadAttention
from .images import BatchNorm2d, Conv2d, ConvTranspose2d
from .layers import Dropout, DropPath, Embedding, LayerNorm, Linear
from .module import Module, buffer, constant, evaluating, normal, shapes_only
from .patches import PatchEmbedding
from .positions import sinusoids
from .transformer import MLP, Block, Encoder

__all__ = [
    "MLP",
    "BatchNorm2d",
    "Block",
    "Conv2d",
    "ConvTranspose2d",
    "DropPath",
    "Dropout",
    "Embedding",
    "Encoder",
    "KVCache",
    "LayerNorm",
    "Linear",
    "Module",
    "MultiHeadAttention",
    "PatchEmbedding",
    "buffer",
    "constant",
    "evaluating",
    "normal",
    "shapes_only",
    "sinusoids",
]
