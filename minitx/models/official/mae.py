"""Names of MAE's weights, as its authors and transformers write them."""

from __future__ import annotations

from ...checkpoint.names import names
from .vit import embedding, layer, lonely, timm_block, transformers_block

AUTHORS = names(
    "facebookresearch.MaskedAutoencoderViT",
    *embedding("cls_token", "pos_embed", ours="encoder."),
    *layer("encoder.patches", "patch_embed.proj"),
    *timm_block("encoder.blocks", "blocks"),
    *layer("encoder.norm", "norm"),
    *layer("embed", "decoder_embed"),
    ("mask", "mask_token", lonely, lonely),
    ("positions", "decoder_pos_embed", lonely),
    *timm_block("decoder.blocks", "decoder_blocks"),
    *layer("decoder.norm", "decoder_norm"),
    *layer("predict", "decoder_pred"),
)

_EMBEDDINGS = "vit.embeddings"
TRANSFORMERS = names(
    "transformers.ViTMAEForPreTraining",
    *embedding(f"{_EMBEDDINGS}.cls_token", f"{_EMBEDDINGS}.position_embeddings", ours="encoder."),
    *layer("encoder.patches", f"{_EMBEDDINGS}.patch_embeddings.projection"),
    *transformers_block("encoder.blocks", "vit.layers"),
    *layer("encoder.norm", "vit.layernorm"),
    *layer("embed", "decoder.decoder_embed"),
    ("mask", "decoder.mask_token", lonely, lonely),
    ("positions", "decoder.decoder_pos_embed", lonely),
    *transformers_block("decoder.blocks", "decoder.decoder_layers"),
    *layer("decoder.norm", "decoder.decoder_norm"),
    *layer("predict", "decoder.decoder_pred"),
)
