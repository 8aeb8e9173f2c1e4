"""Names and settings of the official GPT-1, GPT-2 and GPT-Neo, as transformers writes them."""

from __future__ import annotations

from ...checkpoint.configs import ConfigTable
from ...checkpoint.names import join, layer, names, transpose

_QKV = "blocks.{}.attention.{query,key,value}"
_CROSS = "blocks.{}.cross_attention"


def _joined_pair(ours, official):
    return (join(f"{ours}.weight"), f"{official}.weight", transpose), (
        join(f"{ours}.bias"),
        f"{official}.bias",
    )


def _block(norm1, norm2):
    """Rows of a block with Conv1D layers, which store (in, out), and query, key, value in one."""
    h = "transformer.h.{}"
    return (
        *layer("blocks.{}.norm1", f"{h}.{norm1}"),
        *_joined_pair(_QKV, f"{h}.attn.c_attn"),
        *layer("blocks.{}.attention.output", f"{h}.attn.c_proj", transpose),
        *layer("blocks.{}.norm2", f"{h}.{norm2}"),
        *layer("blocks.{}.mlp.up", f"{h}.mlp.c_fc", transpose),
        *layer("blocks.{}.mlp.down", f"{h}.mlp.c_proj", transpose),
    )


GPT1 = names(
    "transformers.OpenAIGPTLMHeadModel",
    ("tokens.weight", "transformer.tokens_embed.weight"),
    ("positions.weight", "transformer.positions_embed.weight"),
    *_block("ln_1", "ln_2"),
    tied={"lm_head.weight": "transformer.tokens_embed.weight"},
    ignored=("transformer.h.{}.attn.bias", "transformer.position_ids"),
    optional_prefix="transformer.",
)

GPT2 = names(
    "transformers.GPT2LMHeadModel",
    ("tokens.weight", "transformer.wte.weight"),
    ("positions.weight", "transformer.wpe.weight"),
    *_block("ln_1", "ln_2"),
    *layer("blocks.{}.cross_norm", "transformer.h.{}.ln_cross_attn"),
    *layer(f"{_CROSS}.query", "transformer.h.{}.crossattention.q_attn", transpose),
    *_joined_pair(f"{_CROSS}.{{key,value}}", "transformer.h.{}.crossattention.c_attn"),
    *layer(f"{_CROSS}.output", "transformer.h.{}.crossattention.c_proj", transpose),
    *layer("norm", "transformer.ln_f"),
    tied={"lm_head.weight": "transformer.wte.weight"},
    ignored=(
        "transformer.h.{}.attn.bias",
        "transformer.h.{}.attn.masked_bias",
        "transformer.h.{}.crossattention.bias",
        "transformer.h.{}.crossattention.masked_bias",
        "score.weight",
    ),
    optional_prefix="transformer.",
)

GPT_NEO = names(
    "transformers.GPTNeoForCausalLM",
    ("tokens.weight", "transformer.wte.weight"),
    ("positions.weight", "transformer.wpe.weight"),
    *layer("blocks.{}.norm1", "transformer.h.{}.ln_1"),
    ("blocks.{}.attention.query.weight", "transformer.h.{}.attn.attention.q_proj.weight"),
    ("blocks.{}.attention.key.weight", "transformer.h.{}.attn.attention.k_proj.weight"),
    ("blocks.{}.attention.value.weight", "transformer.h.{}.attn.attention.v_proj.weight"),
    *layer("blocks.{}.attention.output", "transformer.h.{}.attn.attention.out_proj"),
    *layer("blocks.{}.norm2", "transformer.h.{}.ln_2"),
    *layer("blocks.{}.mlp.up", "transformer.h.{}.mlp.c_fc"),
    *layer("blocks.{}.mlp.down", "transformer.h.{}.mlp.c_proj"),
    *layer("norm", "transformer.ln_f"),
    tied={"lm_head.weight": "transformer.wte.weight"},
    ignored=("transformer.h.{}.attn.attention.bias", "transformer.h.{}.attn.attention.masked_bias"),
    optional_prefix="transformer.",
)

_SIZES = {"vocab_size": "vocab_size", "context": "n_positions", "width": "n_embd"}
_SIZES |= {"layers": "n_layer", "heads": "n_head"}
_DROPOUT = {"dropout": ("resid_pdrop", "embd_pdrop", "attn_pdrop")}
_TANH = ("gelu_new", "gelu_pytorch_tanh")


def _four_times(settings):
    return 4 * settings["width"]


def _alternating(settings):
    return [("global", "local")[i % 2] for i in range(settings["layers"])]


def _alternating_types(settings):
    layers = settings["layers"]
    last = [[["global"], 1]] if layers % 2 else []
    return [[["global", "local"], layers // 2], *last]


GPT1_CONFIG = ConfigTable(
    "openai-gpt",
    needed=_SIZES,
    optional={**_DROPOUT, "eps": "layer_norm_epsilon"},
    fixed={"afn": ("gelu", *_TANH)},  # "gelu" is the tanh form there
    ours={"norm_first": False, "window": 0, "qkv_bias": True, "scaled": True}
    | {"cross_attention": False},
)

GPT2_CONFIG = ConfigTable(
    "gpt2",
    needed=_SIZES,
    optional={
        **_DROPOUT,
        "eps": "layer_norm_epsilon",
        "cross_attention": "add_cross_attention",
    },
    fixed={
        "activation_function": _TANH,
        "n_inner": (None, _four_times),
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
    },
    ours={"norm_first": True, "window": 0, "qkv_bias": True, "scaled": True},
)

GPT_NEO_CONFIG = ConfigTable(
    "gpt_neo",
    needed={
        "vocab_size": "vocab_size",
        "context": "max_position_embeddings",
        "width": "hidden_size",
        "layers": "num_layers",
        "heads": "num_heads",
        "window": "window_size",
    },
    optional={
        "dropout": ("resid_dropout", "embed_dropout", "attention_dropout"),
        "eps": "layer_norm_epsilon",
    },
    fixed={
        "activation_function": _TANH,
        "intermediate_size": (None, _four_times),
        "attention_layers": (_alternating,),
        "attention_types": (_alternating_types,),
    },
    ours={"norm_first": True, "qkv_bias": False, "scaled": False, "cross_attention": False},
)

FAMILIES = ((GPT1_CONFIG, GPT1), (GPT2_CONFIG, GPT2), (GPT_NEO_CONFIG, GPT_NEO))
