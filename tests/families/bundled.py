"""The classes of the bundled models, made from their own configurations."""

from __future__ import annotations

from typing import Any

from families.case import Case
from families.parts import FREE, LARGE, UNBINNED
from families.shrunk import configuration, live, shrunk

LAYERS = {"text_encoder_out_layers": (0, 1, 2)}
"""Which states of a text encoder are taken; by default those of layers that a tiny one lacks."""

CROSS_UNET: dict[str, Any] = {
    "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
    "up_block_types": ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
    "encoder_hid_dim": 32,
    "attention_head_dim": 8,
}
IF_UNET = {**CROSS_UNET, "addition_embed_type_num_heads": 2}
KOLORS_UNET: dict[str, Any] = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2),
    "attention_head_dim": (2, 4),
    "encoder_hid_dim": 32,
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + 32,
}
MCLIP = {"transformerDimSize": 32, "imageDimSize": 32}

CASCADE_PRIOR: dict[str, Any] = {
    "conditioning_dim": 32,
    "block_out_channels": (16, 16),
    "num_attention_heads": (2, 2),
    "down_num_layers_per_block": (1, 1),
    "up_num_layers_per_block": (1, 1),
    "clip_text_in_channels": 32,
    "clip_text_pooled_in_channels": 32,
    "clip_image_in_channels": 32,
    "timestep_ratio_embedding_dim": 8,
}
CASCADE_DECODER: dict[str, Any] = {
    "conditioning_dim": 32,
    "block_out_channels": (8, 8, 16, 16),
    "num_attention_heads": (0, 0, 2, 2),
    "down_num_layers_per_block": (1, 1, 1, 1),
    "up_num_layers_per_block": (1, 1, 1, 1),
    "clip_text_pooled_in_channels": 32,
    "timestep_ratio_embedding_dim": 8,
}
WUERSTCHEN_PRIOR = {"c": 16, "c_cond": 32, "depth": 2, "nhead": 2}
WUERSTCHEN_DECODER: dict[str, Any] = {
    "c_cond": 32,
    "c_hidden": (8, 8, 16, 16),
    "nhead": (-1, 2, 2, 2),
    "blocks": (1, 1, 1, 1),
    "clip_embd": 32,
}
TWO_STAGES = {"height": 128, "width": 128, "prior_num_inference_steps": 2}


def hunyuan_image(*, guided: bool = True) -> Any:
    pipeline = live(configuration("hunyuanimage-2.1", {}))
    if not guided:
        pipeline.guider = pipeline.guider.new(enabled=False)
    return pipeline


CASES: dict[str, Case] = {
    "AuraFlowPipeline": Case(shrunk("auraflow-v0.3"), LARGE),
    "ChromaPipeline": Case(shrunk("chroma1-hd"), LARGE),
    "CogView3PlusPipeline": Case(shrunk("cogview3-plus-3b"), LARGE),
    "CogView4Pipeline": Case(shrunk("cogview4-6b"), LARGE),
    "Flux2KleinPipeline": Case(shrunk("flux.2-klein-base-4b"), {**LARGE, **LAYERS}),
    "Flux2Pipeline": Case(shrunk("flux.2-dev"), {**LARGE, **LAYERS}, guidance_costs=False),
    "HiDreamImagePipeline": Case(
        shrunk("hidream-i1-full", attributes={"default_sample_size": 8}),
        LARGE,
        routed=r"\.experts\.",
    ),
    "HunyuanDiTPipeline": Case(shrunk("hunyuandit"), {**LARGE, **FREE}),
    "HunyuanImagePipeline": Case(hunyuan_image, LARGE, make_unguided=lambda: hunyuan_image(guided=False)),
    "IFPipeline": Case(shrunk("deepfloyd-if-i-xl", unet=IF_UNET), {"height": 32, "width": 32}),
    "Kandinsky3Pipeline": Case(shrunk("kandinsky-3"), LARGE),
    "KandinskyCombinedPipeline": Case(
        shrunk("kandinsky-2.1", unet=CROSS_UNET, text_encoder=MCLIP), {**LARGE, "prior_num_inference_steps": 2}
    ),
    "KandinskyV22CombinedPipeline": Case(shrunk("kandinsky-2.2", unet=CROSS_UNET), {**LARGE, "prior_num_inference_steps": 2}),
    "KolorsPipeline": Case(shrunk("kolors", unet=KOLORS_UNET), LARGE),
    "Lumina2Pipeline": Case(shrunk("lumina-image-2.0"), LARGE),
    "LuminaPipeline": Case(shrunk("lumina-next-sft"), LARGE),
    "OvisImagePipeline": Case(shrunk("ovis-image-7b"), LARGE),
    "QwenImagePipeline": Case(shrunk("qwen-image"), LARGE),
    "SanaSprintPipeline": Case(shrunk("sana-sprint-0.6b"), UNBINNED, steps=2, guidance_costs=False),
    "StableCascadeCombinedPipeline": Case(
        shrunk("stable-cascade", prior_prior=CASCADE_PRIOR, decoder=CASCADE_DECODER), TWO_STAGES
    ),
    "WuerstchenCombinedPipeline": Case(
        shrunk("wuerstchen", prior_prior=WUERSTCHEN_PRIOR, decoder=WUERSTCHEN_DECODER), TWO_STAGES
    ),
    "ZImagePipeline": Case(shrunk("z-image-turbo"), LARGE, unguided={"guidance_scale": 0.0}),
}
