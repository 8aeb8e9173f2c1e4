"""Modules and the layers that the papers share."""

from .attention import KVCache, MultiHeadAttention
from .layers import Dropout, DropPath, Embedding, LayerNorm, Linear
from .module import Module, constant, evaluating, normal, shapes_only
from .patches import PatchEmbedding
from .positions import sinusoids
from .transformer import MLP, Block, Encoder

__all__ = [
    "MLP",
    "Block",
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
    "constant",
    "evaluating",
    "normal",
    "shapes_only",
    "sinusoids",
]
