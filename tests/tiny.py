"""Whole pipelines that are small enough to run for real on a CPU, with random weights.

Architectures are those of the bundled models, sizes are not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import diffusers
import torch
import transformers

import fxprof
from fxprof.capture.tokenizers import StandInTokenizer
from fxprof.result.profile import Profile


def clip_text(*, projection: bool = False, width: int = 32) -> Any:
    config = transformers.CLIPTextConfig(
        hidden_size=width,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=3,
        projection_dim=width,
        vocab_size=100,
        max_position_embeddings=77,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    return (transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel)(config).eval()


def t5_text(width: int = 32) -> Any:
    config = transformers.T5Config(
        d_model=width, d_ff=37, d_kv=8, num_heads=4, num_layers=2, vocab_size=100, feed_forward_proj="gated-gelu"
    )
    return transformers.T5EncoderModel(config).eval()


def clip_tokenizer() -> StandInTokenizer:
    return StandInTokenizer("CLIPTokenizer", {"model_max_length": 77, "unk_token": "</s>", "pad_token": "</s>"})


def t5_tokenizer() -> StandInTokenizer:
    return StandInTokenizer("T5TokenizerFast", {"model_max_length": 512})


def kl_autoencoder(channels: int = 4, **values: Any) -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=8,
        sample_size=32,
        **values,
    ).eval()


def stable_diffusion() -> Any:
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    return diffusers.StableDiffusionPipeline(
        vae=kl_autoencoder(),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        unet=unet.eval(),
        scheduler=diffusers.PNDMScheduler(skip_prk_steps=True, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl() -> Any:
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=64,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
        norm_num_groups=8,
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=kl_autoencoder(),
        text_encoder=clip_text(),
        text_encoder_2=clip_text(projection=True),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=unet.eval(),
        scheduler=diffusers.EulerDiscreteScheduler(),
        add_watermarker=False,
    )


def stable_diffusion_3() -> Any:
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=8,
        out_channels=8,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=64,
        caption_projection_dim=32,
        pooled_projection_dim=64,
        pos_embed_max_size=32,
    )
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer.eval(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=kl_autoencoder(8, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06),
        text_encoder=clip_text(projection=True),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip_text(projection=True),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=t5_text(64),
        tokenizer_3=t5_tokenizer(),
    )


def flux() -> Any:
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        guidance_embeds=True,
        axes_dims_rope=(4, 4, 8),
    )
    return diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=kl_autoencoder(4, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5_text(),
        tokenizer_2=t5_tokenizer(),
        transformer=transformer.eval(),
    )


def pixart() -> Any:
    transformer = diffusers.PixArtTransformer2DModel(
        sample_size=8,
        num_layers=2,
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
        norm_eps=1e-6,
    )
    return diffusers.PixArtAlphaPipeline(
        transformer=transformer.eval(),
        vae=kl_autoencoder(),
        scheduler=diffusers.DPMSolverMultistepScheduler(),
        text_encoder=t5_text(),
        tokenizer=t5_tokenizer(),
    )


def sana() -> Any:
    transformer = diffusers.SanaTransformer2DModel(
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=4,
        num_cross_attention_heads=2,
        cross_attention_head_dim=4,
        cross_attention_dim=8,
        caption_channels=16,
        sample_size=8,
    )
    vae = diffusers.AutoencoderDC(
        in_channels=3,
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=[1, 1],
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.41407,
    )
    config = transformers.Gemma2Config(
        head_dim=16,
        hidden_size=16,
        intermediate_size=8,
        max_position_embeddings=8192,
        num_attention_heads=2,
        num_hidden_layers=2,
        num_key_value_heads=1,
        vocab_size=64,
        attn_implementation="eager",
    )
    return diffusers.SanaPipeline(
        tokenizer=StandInTokenizer("GemmaTokenizerFast", {}),
        text_encoder=transformers.Gemma2Model(config).eval(),
        vae=vae.eval(),
        transformer=transformer.eval(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
    )


PIPELINES: dict[str, Callable[[], Any]] = {
    "stable_diffusion": stable_diffusion,
    "stable_diffusion_xl": stable_diffusion_xl,
    "stable_diffusion_3": stable_diffusion_3,
    "flux": flux,
    "pixart": pixart,
    "sana": sana,
}


def controlnet(unet: Any) -> Any:
    return diffusers.ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16, 32)).eval()


UNBINNED: dict[str, dict[str, Any]] = {name: {"use_resolution_binning": False} for name in ("pixart", "sana")}
"""Further arguments of pipelines that would otherwise choose a size of their own."""


def make(name: str) -> Any:
    torch.manual_seed(0)
    pipeline = PIPELINES[name]()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@cache
def profile(name: str, **workload: Any) -> Profile:
    """What a fresh pipeline costs, computed once for all tests that compare something with it."""
    return fxprof.profile(make(name), arguments=UNBINNED.get(name, {}), **workload)
