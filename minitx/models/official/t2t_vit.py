"""Names of T2T-ViT's weights, as its authors write them, with either kind of token layers."""

from __future__ import annotations

from ...checkpoint.names import join, layer, names
from .vit import embedding, timm_block


def _token_layers(rows):
    """The rows of each: ours count from 0, theirs from 1."""
    for i in range(2):
        ours, official = f"patches.layers.{i}", f"tokens_to_token.attention{i + 1}"
        yield from layer(f"{ours}.norm1", f"{official}.norm1")
        yield from layer(f"{ours}.norm2", f"{official}.norm2")
        yield from rows(ours, official)


def _performer(ours, official):
    for part in ("weight", "bias"):
        yield join(f"{ours}.{{key,query,value}}.{part}"), f"{official}.kqv.{part}"
    yield from layer(f"{ours}.output", f"{official}.proj")
    yield from layer(f"{ours}.mlp.up", f"{official}.mlp.0")
    yield from layer(f"{ours}.mlp.down", f"{official}.mlp.2")
    yield f"{ours}.directions", f"{official}.w"


def _transformer(ours, official):
    yield join(f"{ours}.{{query,key,value}}.weight"), f"{official}.attn.qkv.weight"
    yield from layer(f"{ours}.output", f"{official}.attn.proj")
    yield from layer(f"{ours}.mlp.up", f"{official}.mlp.fc1")
    yield from layer(f"{ours}.mlp.down", f"{official}.mlp.fc2")


_BACKBONE = (
    *embedding("cls_token", "pos_embed"),
    *layer("patches.project", "tokens_to_token.project"),
    *timm_block("blocks", "blocks"),
    *layer("norm", "norm"),
    *layer("head", "head"),
)

PERFORMER = names("yitu-opensource.T2T_ViT", *_token_layers(_performer), *_BACKBONE)
TRANSFORMER = names("yitu-opensource.T2T_ViT_t", *_token_layers(_transformer), *_BACKBONE)
