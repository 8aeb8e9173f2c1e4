"""Names in torch.nn.Transformer; names and settings of MarianMT, as transformers writes it."""

from __future__ import annotations

from functools import partial

import numpy as np

from ...checkpoint.configs import ConfigTable
from ...checkpoint.names import Transform, join, layer, names

row = Transform(partial(np.squeeze, axis=0), partial(np.expand_dims, axis=0))  # (1, V) <-> (V,)


def _torch_layers(ours, official, attentions, norms):
    """Rows of a stack; query, key and value are one array with a name of its own."""
    block, theirs = f"{ours}.blocks.{{}}", f"{official}.layers.{{}}"
    for our_name, their_name in attentions:
        for part in ("weight", "bias"):
            yield (
                join(f"{block}.{our_name}.{{query,key,value}}.{part}"),
                f"{theirs}.{their_name}.in_proj_{part}",
            )
        yield from layer(f"{block}.{our_name}.output", f"{theirs}.{their_name}.out_proj")
    yield from layer(f"{block}.mlp.up", f"{theirs}.linear1")
    yield from layer(f"{block}.mlp.down", f"{theirs}.linear2")
    for i, our_name in enumerate(norms, 1):
        yield from layer(f"{block}.{our_name}", f"{theirs}.norm{i}")
    yield from layer(f"{ours}.norm", f"{official}.norm")


_SELF, _CROSS = ("attention", "self_attn"), ("cross_attention", "multihead_attn")

# It has no embedding of its own; "tokens.weight" is what users call theirs.
TORCH = names(
    "torch.nn.Transformer",
    ("tokens.weight", "tokens.weight"),
    *_torch_layers("encoder", "encoder", [_SELF], ["norm1", "norm2"]),
    *_torch_layers("decoder", "decoder", [_SELF, _CROSS], ["norm1", "cross_norm", "norm2"]),
)


def _marian_layers(side, attentions):
    block, theirs = f"{side}.blocks.{{}}", f"model.{side}.layers.{{}}"
    for attention, norm, their_attention in attentions:
        for our_name, their_name in (
            ("query", "q_proj"),
            ("key", "k_proj"),
            ("value", "v_proj"),
            ("output", "out_proj"),
        ):
            ours, official = f"{attention}.{our_name}", f"{their_attention}.{their_name}"
            yield from layer(f"{block}.{ours}", f"{theirs}.{official}")
        yield from layer(f"{block}.{norm}", f"{theirs}.{their_attention}_layer_norm")
    yield from layer(f"{block}.mlp.up", f"{theirs}.fc1")
    yield from layer(f"{block}.mlp.down", f"{theirs}.fc2")
    yield from layer(f"{block}.norm2", f"{theirs}.final_layer_norm")


_OWN = ("attention", "norm1", "self_attn")
_ENCODED = ("cross_attention", "cross_norm", "encoder_attn")

MARIAN = names(
    "transformers.MarianMTModel",
    ("tokens.weight", "model.shared.weight"),
    *_marian_layers("encoder", [_OWN]),
    *_marian_layers("decoder", [_OWN, _ENCODED]),
    ("output_bias", "final_logits_bias", row),
    tied={
        "model.encoder.embed_tokens.weight": "model.shared.weight",
        "model.decoder.embed_tokens.weight": "model.shared.weight",
        "lm_head.weight": "model.shared.weight",
    },
    ignored=("model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight"),
    optional_prefix="model.",
)

MARIAN_CONFIG = ConfigTable(
    "marian",
    needed={
        "vocab_size": "vocab_size",
        "layers": "encoder_layers",
        "decoder_layers": "decoder_layers",
        "heads": "encoder_attention_heads",
        "width": "d_model",
        "hidden": "encoder_ffn_dim",
        "activation": "activation_function",
        "pad": "pad_token_id",
        "start": "decoder_start_token_id",
        "end": "eos_token_id",
    },
    optional={"dropout": ("dropout", "attention_dropout")},
    fixed={
        "decoder_attention_heads": (lambda settings: settings["heads"],),
        "decoder_ffn_dim": (lambda settings: settings["hidden"],),
        "decoder_vocab_size": (lambda settings: settings["vocab_size"], None),
        "scale_embedding": (True,),
        "share_encoder_decoder_embeddings": (True,),
        "static_position_embeddings": (True,),
        "add_final_layer_norm": (False,),
        "normalize_before": (False,),
        "normalize_embedding": (False,),
        "is_encoder_decoder": (True,),
    },
    ours={"norm_first": False, "final_norm": False, "halves": True, "output_bias": True},
    values={"activation_function": {"swish": "silu", "gelu_new": "gelu_tanh"}},
    neutral=(
        "activation_dropout",
        "add_bias_logits",
        "classif_dropout",
        "decoder_layerdrop",
        "encoder_layerdrop",
        "extra_pos_embeddings",
        "forced_eos_token_id",
        "init_std",
        "is_decoder",
        "max_position_embeddings",
        "num_hidden_layers",
    ),
)
