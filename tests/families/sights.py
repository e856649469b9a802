"""Pipelines whose text encoders see images, too: DreamLite, NucleusMoE-Image, Kandinsky 5; and others with images to go by."""

from __future__ import annotations

from functools import partial
from typing import Any

import diffusers
import transformers

from families.bundled import LAYERS
from families.case import Case, picture
from families.packages import eightfold, kandinsky_5, processor_of, prx
from families.parts import LARGE, SIZED, of
from families.shrunk import shrunk


def seeing(layers: int = 2) -> tuple[Any, Any]:
    """A Qwen3-VL and its processor, which agree on what stands for an image."""
    processor = processor_of("Qwen3VLProcessor")
    text = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8}
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6}
    config = transformers.Qwen3VLConfig(
        text_config={**text, "num_hidden_layers": layers, "vocab_size": 512, "rope_parameters": rope},
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 16,
            "patch_size": 14,
            "deepstack_visual_indexes": [0],
        },
        image_token_id=processor.image_token_id,
        video_token_id=processor.video_token_id,
        vision_start_token_id=processor.vision_start_token_id,
        vision_end_token_id=processor.vision_end_token_id,
    )
    return transformers.Qwen3VLForConditionalGeneration(config).eval(), processor


def dreamlite(class_name: str) -> Any:
    def make() -> Any:
        unet = diffusers.DreamLiteUNetModel(
            sample_size=8,
            down_block_types=("DreamLiteCrossAttnNoSelfAttnDownBlock2D", "DreamLiteCrossAttnDownBlock2D"),
            up_block_types=("DreamLiteCrossAttnUpBlock2D", "DreamLiteUpBlock2D"),
            block_out_channels=(32, 64),
            cross_attention_dim=16,
            attention_head_dim=8,
            layers_per_block=1,
            norm_num_groups=8,
        )
        vae = diffusers.AutoencoderTiny(
            encoder_block_out_channels=(32, 32),
            decoder_block_out_channels=(32, 32),
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
        )
        text_encoder, processor = seeing()
        return getattr(diffusers, class_name)(
            text_encoder=text_encoder,
            tokenizer=processor.tokenizer,
            processor=processor,
            vae=vae.eval(),
            unet=unet.eval(),
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        )

    return make


def nucleus() -> Any:
    transformer = diffusers.NucleusMoEImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=5,
        attention_head_dim=16,
        num_attention_heads=4,
        joint_attention_dim=16,
        axes_dims_rope=(8, 4, 4),
        num_experts=4,
        moe_intermediate_dim=16,
        capacity_factors=2.0,
    )
    vae = diffusers.AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 2, 4],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    text_encoder, processor = seeing(8)
    return diffusers.NucleusMoEImagePipeline(
        transformer=transformer.eval(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=vae.eval(),
        text_encoder=text_encoder,
        processor=processor,
    )


def kandinsky(class_name: str, **changes: Any) -> Any:
    """A pipeline of Kandinsky 5 that takes an image, makes a video, or both."""

    def make() -> Any:
        base = kandinsky_5(**changes)
        base.text_encoder.config.image_token_id = base.tokenizer.image_token_id
        video = diffusers.AutoencoderKLHunyuanVideo(
            latent_channels=16,
            block_out_channels=(8, 8, 8),
            down_block_types=("HunyuanVideoDownBlock3D",) * 3,
            up_block_types=("HunyuanVideoUpBlock3D",) * 3,
            layers_per_block=1,
            norm_num_groups=4,
            mid_block_add_attention=False,
            spatial_compression_ratio=8,
        )
        vae = video.eval if class_name.endswith("VPipeline") else partial(eightfold, 16, shift_factor=0.1)
        made = of(class_name, lambda: base, vae=vae)()
        made.resolutions = base.resolutions
        return made

    return make


def prx_pixel() -> Any:
    transformer = diffusers.PRXTransformer2DModel(
        patch_size=8,
        in_channels=3,
        context_in_dim=8,
        hidden_size=8,
        mlp_ratio=2.0,
        num_heads=2,
        depth=1,
        axes_dim=[2, 2],
        bottleneck_size=4,
        resolution_embeds=True,
    )
    return of("PRXPixelPipeline", prx, transformer=transformer.eval)()


FILM = {**LARGE, "num_frames": 5, "max_sequence_length": 16}

CASES: dict[str, Case] = {
    "PRXPixelPipeline": Case(prx_pixel, {**SIZED, "use_resolution_binning": False}),
    "DreamLitePipeline": Case(dreamlite("DreamLitePipeline"), SIZED, guidance_costs=False),
    "DreamLitePipeline with an image": Case(
        dreamlite("DreamLitePipeline"), {**SIZED, "image": picture()}, guidance_costs=False
    ),
    "DreamLiteMobilePipeline": Case(dreamlite("DreamLiteMobilePipeline"), SIZED, guidance_costs=False),
    "NucleusMoEImagePipeline": Case(nucleus, {**SIZED, "max_sequence_length": 64}),
    "Kandinsky5T2VPipeline": Case(kandinsky("Kandinsky5T2VPipeline"), FILM),
    "Kandinsky5I2VPipeline": Case(kandinsky("Kandinsky5I2VPipeline", visual_cond=True), {**FILM, "image": picture(64)}),
    "Kandinsky5I2IPipeline": Case(
        kandinsky("Kandinsky5I2IPipeline", visual_cond=True), {**LARGE, "image": picture(64), "max_sequence_length": 64}
    ),
    "Flux2KleinPipeline with images to go by": Case(
        shrunk("flux.2-klein-base-4b"), {**LARGE, **LAYERS, "image": [picture(64), picture(64)]}
    ),
}
