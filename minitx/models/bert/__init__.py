"""BERT: the encoder, its inputs, its pre-training and its fine-tuning, one idea a file."""

from .finetune import BERTChoice, BERTClassifier, BERTSpans, BERTTagger
from .inputs import Batch, mask_tokens, pack, sentence_pairs
from .model import BERT, BERTConfig
from .pretraining import BERTPretraining

__all__ = [
    "BERT",
    "Batch",
    "BERTChoice",
    "BERTClassifier",
    "BERTConfig",
    "BERTPretraining",
    "BERTSpans",
    "BERTTagger",
    "mask_tokens",
    "pack",
    "sentence_pairs",
]
