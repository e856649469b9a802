"""Pipelines that make videos."""

from __future__ import annotations

from functools import partial
from typing import Any

import diffusers
import tiny
import transformers

from families.case import Case, film, picture
from families.parts import SD, SIZED, of, processor, vision
from fxprof.capture.tokenizers import StandInTokenizer


def text_to_video() -> Any:
    unet = diffusers.UNet3DConditionModel(
        block_out_channels=(8, 8),
        layers_per_block=1,
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=2,
    )
    parts = tiny.make(SD).components
    return diffusers.TextToVideoSDPipeline(
        vae=parts["vae"],
        text_encoder=parts["text_encoder"],
        tokenizer=parts["tokenizer"],
        unet=unet.eval(),
        scheduler=diffusers.DDIMScheduler(),
    )


def wan(**changes: Any) -> Any:
    vae = diffusers.AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    values: dict[str, Any] = {
        "patch_size": (1, 2, 2),
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "in_channels": 16,
        "out_channels": 16,
        "text_dim": 32,
        "freq_dim": 256,
        "ffn_dim": 32,
        "num_layers": 2,
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "rope_max_seq_len": 32,
    }
    transformer = diffusers.WanTransformer3DModel(**{**values, **changes})
    return diffusers.WanPipeline(
        tokenizer=tiny.t5_tokenizer(),
        text_encoder=tiny.t5_text(),
        vae=vae.eval(),
        transformer=transformer.eval(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
    )


def ltx() -> Any:
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        patch_size=1,
        patch_size_t=1,
        num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        num_layers=1,
        caption_channels=32,
    )
    vae = diffusers.AutoencoderKLLTXVideo(
        in_channels=3,
        out_channels=3,
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        decoder_inject_noise=(False, False, False, False, False),
        upsample_residual=(False, False, False, False),
        upsample_factor=(1, 1, 1, 1),
        timestep_conditioning=False,
        patch_size=1,
        patch_size_t=1,
        encoder_causal=True,
        decoder_causal=False,
    )
    return diffusers.LTXPipeline(
        transformer=transformer.eval(),
        vae=vae.eval(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        text_encoder=tiny.t5_text(),
        tokenizer=tiny.t5_tokenizer(),
    )


def cogvideox(channels: int = 4) -> Any:
    transformer = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=8,
        in_channels=channels,
        out_channels=4,
        time_embed_dim=2,
        text_embed_dim=32,
        num_layers=1,
        sample_width=2,
        sample_height=2,
        sample_frames=9,
        patch_size=2,
        temporal_compression_ratio=4,
        max_text_seq_length=16,
    )
    vae = diffusers.AutoencoderKLCogVideoX(
        in_channels=3,
        out_channels=3,
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    )
    return diffusers.CogVideoXPipeline(
        tokenizer=tiny.t5_tokenizer(),
        text_encoder=tiny.t5_text(),
        vae=vae.eval(),
        transformer=transformer.eval(),
        scheduler=diffusers.DDIMScheduler(),
    )


def hunyuan_video(channels: int = 4) -> Any:
    transformer = diffusers.HunyuanVideoTransformer3DModel(
        in_channels=channels,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        patch_size=1,
        patch_size_t=1,
        guidance_embeds=True,
        text_embed_dim=32,
        pooled_projection_dim=32,
        rope_axes_dim=(2, 4, 4),
    )
    vae = diffusers.AutoencoderKLHunyuanVideo(
        latent_channels=4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
    )
    config = transformers.LlamaConfig(
        hidden_size=32,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=3,
        vocab_size=128,
        pad_token_id=1,
    )
    return diffusers.HunyuanVideoPipeline(
        transformer=transformer.eval(),
        vae=vae.eval(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
        text_encoder=transformers.LlamaModel(config).eval(),
        text_encoder_2=tiny.clip_text(),
        tokenizer=StandInTokenizer("LlamaTokenizerFast", {}),
        tokenizer_2=tiny.clip_tokenizer(),
    )


def mochi() -> Any:
    transformer = diffusers.MochiTransformer3DModel(
        patch_size=2,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        pooled_projection_dim=16,
        in_channels=12,
        time_embed_dim=4,
        text_embed_dim=32,
        max_sequence_length=16,
    )
    vae = diffusers.AutoencoderKLMochi(
        latent_channels=12,
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1),
    )
    return diffusers.MochiPipeline(
        transformer=transformer.eval(),
        vae=vae.eval(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        text_encoder=tiny.t5_text(),
        tokenizer=tiny.t5_tokenizer(),
    )


def latte() -> Any:
    transformer = diffusers.LatteTransformer3DModel(
        sample_size=8,
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=3,
        caption_channels=32,
        in_channels=4,
        cross_attention_dim=24,
        out_channels=8,
        attention_bias=True,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
    )
    return diffusers.LattePipeline(
        transformer=transformer.eval(),
        vae=tiny.kl_autoencoder(),
        scheduler=diffusers.DDIMScheduler(),
        text_encoder=tiny.t5_text(),
        tokenizer=tiny.t5_tokenizer(),
    )


TEMPLATE = {"template": "{}", "crop_start": 0}
WAN = {"height": 16, "width": 16, "num_frames": 9, "max_sequence_length": 16}
LTX = {"height": 32, "width": 32, "num_frames": 9, "max_sequence_length": 16}
COG = {"height": 16, "width": 16, "num_frames": 8, "max_sequence_length": 16}

CASES: dict[str, Case] = {
    "TextToVideoSDPipeline": Case(text_to_video, {**SIZED, "num_frames": 2}),
    "VideoToVideoSDPipeline": Case(
        of("VideoToVideoSDPipeline", text_to_video), {"video": film(2, 32), "strength": 0.7}, steps=4
    ),
    "WanPipeline": Case(wan, WAN),
    "WanImageToVideoPipeline": Case(
        of(
            "WanImageToVideoPipeline",
            partial(wan, in_channels=36, image_dim=32, added_kv_proj_dim=24),
            image_encoder=partial(vision, projection=False),
            image_processor=processor,
        ),
        {**WAN, "image": picture(16)},
    ),
    "WanVideoToVideoPipeline": Case(
        of("WanVideoToVideoPipeline", wan),
        {"video": film(9, 16), "height": 16, "width": 16, "strength": 0.7, "max_sequence_length": 16},
        steps=4,
    ),
    "LTXPipeline": Case(ltx, LTX),
    "LTXImageToVideoPipeline": Case(of("LTXImageToVideoPipeline", ltx), {**LTX, "image": picture(32)}),
    "LTXConditionPipeline": Case(of("LTXConditionPipeline", ltx), {**LTX, "image": picture(32)}),
    "CogVideoXPipeline": Case(cogvideox, COG),
    "CogVideoXImageToVideoPipeline": Case(
        of("CogVideoXImageToVideoPipeline", partial(cogvideox, 8)), {**COG, "image": picture(16)}
    ),
    "CogVideoXVideoToVideoPipeline": Case(
        of("CogVideoXVideoToVideoPipeline", cogvideox),
        {"video": film(8, 16), "height": 16, "width": 16, "strength": 0.7, "max_sequence_length": 16},
        steps=4,
    ),
    "CogVideoXFunControlPipeline": Case(
        of("CogVideoXFunControlPipeline", partial(cogvideox, 8)),
        {"control_video": film(8, 16), "height": 16, "width": 16, "max_sequence_length": 16},
    ),
    "HunyuanVideoPipeline": Case(
        hunyuan_video, {"height": 16, "width": 16, "num_frames": 9, "max_sequence_length": 16, "prompt_template": TEMPLATE}
    ),
    "MochiPipeline": Case(mochi, {"height": 16, "width": 16, "num_frames": 7, "max_sequence_length": 16}),
    "LattePipeline": Case(latte, {**SIZED, "video_length": 1}),
}
