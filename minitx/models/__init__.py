"""One paper per file."""

from . import official
from .bert import (
    BERT,
    BERTChoice,
    BERTClassifier,
    BERTConfig,
    BERTPretraining,
    BERTSpans,
    BERTTagger,
)
from .gpt import GPT, GPTConfig
from .mae import MAE, MAEConfig
from .resnet import ResNet, ResNetConfig
from .t2t_vit import T2TViT, T2TViTConfig
from .transformer import Transformer, TransformerConfig
from .vit import ViT, ViTConfig

__all__ = [
    "BERT",
    "GPT",
    "MAE",
    "BERTChoice",
    "BERTClassifier",
    "BERTConfig",
    "BERTPretraining",
    "BERTSpans",
    "BERTTagger",
    "GPTConfig",
    "MAEConfig",
    "ResNet",
    "ResNetConfig",
    "T2TViT",
    "T2TViTConfig",
    "Transformer",
    "TransformerConfig",
    "ViT",
    "ViTConfig",
    "official",
]
