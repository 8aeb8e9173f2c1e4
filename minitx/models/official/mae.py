"""Names of MAE's weights, as its authors and transformers write them."""

from __future__ import annotations

from ...checkpoint.names import layer, names
from .vit import embedding, lonely, timm_block, transformers4_block, transformers_block

AUTHORS = names(
    "facebookresearch.MaskedAutoencoderViT",
    *embedding("cls_token", "pos_embed", "encoder."),
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


def _transformers(name, encoder_blocks, decoder_blocks):
    embeddings = "vit.embeddings"
    return names(
        name,
        *embedding(f"{embeddings}.cls_token", f"{embeddings}.position_embeddings", "encoder."),
        *layer("encoder.patches", f"{embeddings}.patch_embeddings.projection"),
        *encoder_blocks,
        *layer("encoder.norm", "vit.layernorm"),
        *layer("embed", "decoder.decoder_embed"),
        ("mask", "decoder.mask_token", lonely, lonely),
        ("positions", "decoder.decoder_pos_embed", lonely),
        *decoder_blocks,
        *layer("decoder.norm", "decoder.decoder_norm"),
        *layer("predict", "decoder.decoder_pred"),
    )


_DECODER = "decoder.blocks", "decoder.decoder_layers"
TRANSFORMERS = _transformers(
    "transformers.ViTMAEForPreTraining",
    transformers_block("encoder.blocks", "vit.layers"),
    transformers_block(*_DECODER),
)
TRANSFORMERS4 = _transformers(
    "transformers4.ViTMAEForPreTraining",
    transformers4_block("encoder.blocks", "vit.encoder.layer"),
    transformers4_block(*_DECODER),
)
