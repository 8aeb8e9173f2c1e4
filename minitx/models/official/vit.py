"""Names of ViT's weights, as timm and transformers write them.

The files of transformers' models in public repositories have the names of its version 4.
"""

from __future__ import annotations

from ...checkpoint.names import Transform, join, layer, names

lonely = Transform(lambda x: x[0], lambda x: x[None])  # (1, ...) <-> (...)
_QKV = "{query,key,value}"


def embedding(cls, positions, ours=""):
    """Rows of class token and positions."""
    return (
        (f"{ours}cls", cls, lonely, lonely),  # 1 1 C -> C
        (f"{ours}positions", positions, lonely),  # 1 T C -> T C
    )


def timm_block(ours, official):
    """Rows of a block of timm's, with query, key and value in one; MAE's and T2T-ViT's alike."""
    ours, official = f"{ours}.{{}}", f"{official}.{{}}"
    return (
        *layer(f"{ours}.norm1", f"{official}.norm1"),
        (join(f"{ours}.attention.{_QKV}.weight"), f"{official}.attn.qkv.weight"),
        (join(f"{ours}.attention.{_QKV}.bias"), f"{official}.attn.qkv.bias"),
        *layer(f"{ours}.attention.output", f"{official}.attn.proj"),
        *layer(f"{ours}.norm2", f"{official}.norm2"),
        *layer(f"{ours}.mlp.up", f"{official}.mlp.fc1"),
        *layer(f"{ours}.mlp.down", f"{official}.mlp.fc2"),
    )


def transformers_block(ours, official):
    """Rows of a block of transformers', version 5."""
    ours, official = f"{ours}.{{}}", f"{official}.{{}}"
    return (
        *layer(f"{ours}.norm1", f"{official}.layernorm_before"),
        *layer(f"{ours}.attention.query", f"{official}.attention.q_proj"),
        *layer(f"{ours}.attention.key", f"{official}.attention.k_proj"),
        *layer(f"{ours}.attention.value", f"{official}.attention.v_proj"),
        *layer(f"{ours}.attention.output", f"{official}.attention.o_proj"),
        *layer(f"{ours}.norm2", f"{official}.layernorm_after"),
        *layer(f"{ours}.mlp.up", f"{official}.mlp.fc1"),
        *layer(f"{ours}.mlp.down", f"{official}.mlp.fc2"),
    )


def transformers4_block(ours, official):
    """Rows of a block of transformers', version 4."""
    ours, official = f"{ours}.{{}}", f"{official}.{{}}"
    return (
        *layer(f"{ours}.norm1", f"{official}.layernorm_before"),
        *layer(f"{ours}.attention.query", f"{official}.attention.attention.query"),
        *layer(f"{ours}.attention.key", f"{official}.attention.attention.key"),
        *layer(f"{ours}.attention.value", f"{official}.attention.attention.value"),
        *layer(f"{ours}.attention.output", f"{official}.attention.output.dense"),
        *layer(f"{ours}.norm2", f"{official}.layernorm_after"),
        *layer(f"{ours}.mlp.up", f"{official}.intermediate.dense"),
        *layer(f"{ours}.mlp.down", f"{official}.output.dense"),
    )


TIMM = names(
    "timm.VisionTransformer",
    *embedding("cls_token", "pos_embed"),
    *layer("patches", "patch_embed.proj"),
    *timm_block("blocks", "blocks"),
    *layer("norm", "norm"),
    *layer("pooled_norm", "fc_norm"),
    *layer("head_hidden", "pre_logits.fc"),
    *layer("head", "head"),
)


def _transformers(name, blocks):
    return names(
        name,
        *embedding("vit.embeddings.cls_token", "vit.embeddings.position_embeddings"),
        *layer("patches", "vit.embeddings.patch_embeddings.projection"),
        *blocks,
        *layer("norm", "vit.layernorm"),
        *layer("head", "classifier"),
        ignored=("vit.pooler.dense.weight", "vit.pooler.dense.bias"),
        optional_prefix="vit.",
    )


TRANSFORMERS = _transformers(
    "transformers.ViTForImageClassification", transformers_block("blocks", "vit.layers")
)
TRANSFORMERS4 = _transformers(
    "transformers4.ViTForImageClassification", transformers4_block("blocks", "vit.encoder.layer")
)
