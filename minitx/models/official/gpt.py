"""Names in the official checkpoints of GPT-1, GPT-2 and GPT-Neo, as transformers writes them."""

from __future__ import annotations

from ...checkpoint.names import join, names, transpose

_QKV = "blocks.{}.attention.{query,key,value}"
_CROSS = "blocks.{}.cross_attention"


def _pair(ours, official, *transforms):
    """A row for the weight, transformed, and a row for the bias."""
    return (f"{ours}.weight", f"{official}.weight", *transforms), (
        f"{ours}.bias",
        f"{official}.bias",
    )


def _joined_pair(ours, official):
    return (join(f"{ours}.weight"), f"{official}.weight", transpose), (
        join(f"{ours}.bias"),
        f"{official}.bias",
    )


def _block(norm1, norm2):
    """Rows of a block with Conv1D layers, which store (in, out), and query, key, value in one."""
    h = "transformer.h.{}"
    return (
        *_pair("blocks.{}.norm1", f"{h}.{norm1}"),
        *_joined_pair(_QKV, f"{h}.attn.c_attn"),
        *_pair("blocks.{}.attention.output", f"{h}.attn.c_proj", transpose),
        *_pair("blocks.{}.norm2", f"{h}.{norm2}"),
        *_pair("blocks.{}.mlp.up", f"{h}.mlp.c_fc", transpose),
        *_pair("blocks.{}.mlp.down", f"{h}.mlp.c_proj", transpose),
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
    *_pair("blocks.{}.cross_norm", "transformer.h.{}.ln_cross_attn"),
    *_pair(f"{_CROSS}.query", "transformer.h.{}.crossattention.q_attn", transpose),
    *_joined_pair(f"{_CROSS}.{{key,value}}", "transformer.h.{}.crossattention.c_attn"),
    *_pair(f"{_CROSS}.output", "transformer.h.{}.crossattention.c_proj", transpose),
    *_pair("norm", "transformer.ln_f"),
    tied={"lm_head.weight": "transformer.wte.weight"},
    ignored=(
        "transformer.h.{}.attn.bias",
        "transformer.h.{}.attn.masked_bias",
        "transformer.h.{}.crossattention.bias",
        "transformer.h.{}.crossattention.masked_bias",
    ),
    optional_prefix="transformer.",
)

GPT_NEO = names(
    "transformers.GPTNeoForCausalLM",
    ("tokens.weight", "transformer.wte.weight"),
    ("positions.weight", "transformer.wpe.weight"),
    *_pair("blocks.{}.norm1", "transformer.h.{}.ln_1"),
    ("blocks.{}.attention.query.weight", "transformer.h.{}.attn.attention.q_proj.weight"),
    ("blocks.{}.attention.key.weight", "transformer.h.{}.attn.attention.k_proj.weight"),
    ("blocks.{}.attention.value.weight", "transformer.h.{}.attn.attention.v_proj.weight"),
    *_pair("blocks.{}.attention.output", "transformer.h.{}.attn.attention.out_proj"),
    *_pair("blocks.{}.norm2", "transformer.h.{}.ln_2"),
    *_pair("blocks.{}.mlp.up", "transformer.h.{}.mlp.c_fc"),
    *_pair("blocks.{}.mlp.down", "transformer.h.{}.mlp.c_proj"),
    *_pair("norm", "transformer.ln_f"),
    tied={"lm_head.weight": "transformer.wte.weight"},
    ignored=("transformer.h.{}.attn.attention.bias", "transformer.h.{}.attn.attention.masked_bias"),
    optional_prefix="transformer.",
)
