"""Pipelines that want a package which is not installed, or classes that their library keeps to itself."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import diffusers
import tiny
import torch
import transformers
from transformers.models.t5gemma.configuration_t5gemma import T5GemmaConfig
from transformers.models.t5gemma.modeling_t5gemma import T5GemmaEncoder

from families.case import Case, picture
from families.parts import LARGE, SIZED, of
from families.video import wan
from fxprof.capture.optional import standing_in
from fxprof.capture.processors import processor
from fxprof.capture.tokenizers import StandInTokenizer
from fxprof.source.config import ComponentConfig

WORDS = 160_000
"""More than any identifier of a special token that a model of these tests is told."""
PAIRS = [[picture(), picture()], [picture(), None]]
"""An example and a question, as VisualCloze takes them."""


def allegro() -> Any:
    transformer = diffusers.AllegroTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        cross_attention_dim=24,
        sample_width=8,
        sample_height=8,
        sample_frames=8,
        caption_channels=32,
    )
    vae = diffusers.AutoencoderKLAllegro(
        down_block_types=("AllegroDownBlock3D",) * 4,
        up_block_types=("AllegroUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
    )
    return diffusers.AllegroPipeline(
        transformer=transformer.eval(),
        vae=vae.eval(),
        scheduler=diffusers.DDIMScheduler(),
        text_encoder=tiny.t5_text(),
        tokenizer=tiny.t5_tokenizer(),
    )


def allegro_tiled() -> Any:
    pipeline = allegro()
    pipeline.vae.enable_tiling()
    return pipeline


def prx() -> Any:
    transformer = diffusers.PRXTransformer2DModel(
        patch_size=1, in_channels=4, context_in_dim=8, hidden_size=8, mlp_ratio=2.0, num_heads=2, depth=1, axes_dim=[2, 2]
    )
    half = {
        "vocab_size": 128,
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 4,
        "max_position_embeddings": 512,
        "layer_types": ["sliding_attention", "full_attention"],
        "query_pre_attn_scalar": 4,
    }
    config = T5GemmaConfig(encoder=half, decoder=half)
    return diffusers.PRXPipeline(
        transformer=transformer.eval(),
        vae=tiny.kl_autoencoder(4, shift_factor=0.06),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        text_encoder=T5GemmaEncoder(config.encoder).eval(),
        tokenizer=StandInTokenizer("GemmaTokenizerFast", {"model_max_length": 64}),
    )


def motif() -> Any:
    transformer = diffusers.MotifVideoTransformer3DModel(
        in_channels=33,
        out_channels=16,
        num_attention_heads=2,
        attention_head_dim=24,
        num_layers=1,
        num_single_layers=1,
        num_decoder_layers=1,
        text_embed_dim=32,
        image_embed_dim=None,
        rope_axes_dim=(4, 10, 10),
    )
    text = {
        "hidden_size": 32,
        "intermediate_size": 37,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "num_hidden_layers": 2,
        "vocab_size": 128,
        "pad_token_id": 0,
    }
    sight = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28}
    whole = transformers.T5Gemma2Config(
        decoder=text, encoder={"text_config": text, "vision_config": {**sight, "patch_size": 14}, "mm_tokens_per_image": 4}
    )
    return diffusers.MotifVideoPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=wan().vae,
        text_encoder=transformers.T5Gemma2Encoder(whole.encoder).eval(),
        tokenizer=tiny.t5_tokenizer(),
        transformer=transformer.eval(),
        guider=diffusers.AdaptiveProjectedGuidance(guidance_scale=3.0),
    )


def visual_cloze() -> Any:
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=12 * 4,
        out_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
    )
    vae = tiny.kl_autoencoder(4, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06)
    return of("VisualClozeGenerationPipeline", "flux", transformer=transformer.eval, vae=lambda: vae, resolution=lambda: 32)()


def glm_image() -> Any:
    config = transformers.GlmImageConfig(
        text_config={
            "vocab_size": WORDS + 8000,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "vision_vocab_size": 128,
            "rope_parameters": {"rope_type": "default", "mrope_section": [4, 2, 2]},
        },
        vision_config={
            "depth": 1,
            "hidden_size": 32,
            "num_heads": 2,
            "image_size": 32,
            "patch_size": 8,
            "intermediate_size": 32,
        },
        vq_config={"embed_dim": 32, "num_embeddings": 128, "latent_channels": 32},
    )
    transformer = diffusers.GlmImageTransformer2DModel(
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        text_embed_dim=32,
        time_embed_dim=16,
        condition_dim=8,
        prior_vq_quantizer_codebook_size=128,
    )
    return diffusers.GlmImagePipeline(
        tokenizer=StandInTokenizer("ByT5Tokenizer", {}),
        processor=processor_of("GlmImageProcessor"),
        text_encoder=tiny.t5_text(),
        vision_language_encoder=transformers.GlmImageForConditionalGeneration(config).eval(),
        vae=eightfold(latents_mean=[0.0] * 4, latents_std=[1.0] * 4),
        transformer=transformer.eval(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
    )


def eightfold(channels: int = 4, **values: Any) -> Any:
    """An autoencoder that makes eight pixels one."""
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=128,
        **values,
    ).eval()


def processor_of(class_name: str) -> Any:
    with TemporaryDirectory() as name, standing_in():
        part = ComponentConfig("transformers", class_name, {}, Path(name))
        return processor("a tiny processor", "processor", part, lambda _: None)


def kandinsky_5(*, visual_cond: bool = False) -> Any:
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "vocab_size": 512,
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 2, 4], "rope_theta": 1e6},
        },
        vision_config={
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [0],
        },
        image_token_id=7,
        video_token_id=8,
    )
    transformer = diffusers.Kandinsky5Transformer3DModel(
        in_visual_dim=16,
        in_text_dim=32,
        in_text_dim2=32,
        time_dim=16,
        out_visual_dim=16,
        patch_size=(1, 2, 2),
        model_dim=16,
        ff_dim=32,
        num_text_blocks=1,
        num_visual_blocks=2,
        axes_dims=(1, 1, 2),
        visual_cond=visual_cond,
        attention_type="regular",
    )
    pipeline = diffusers.Kandinsky5T2IPipeline(
        vae=tiny.kl_autoencoder(16, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.1),
        text_encoder=transformers.Qwen2_5_VLForConditionalGeneration(config).eval(),
        tokenizer=processor_of("Qwen2_5_VLProcessor"),
        text_encoder_2=tiny.clip_text(),
        tokenizer_2=tiny.clip_tokenizer(),
        transformer=transformer.eval(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
    )
    pipeline.resolutions = [(64, 64), (128, 64)]  # width x height
    return pipeline


def cosmos() -> Any:
    transformer = diffusers.CosmosTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        mlp_ratio=2,
        text_embed_dim=32,
        adaln_lora_dim=4,
        max_size=(4, 32, 32),
        patch_size=(1, 2, 2),
        rope_scale=(2.0, 1.0, 1.0),
        extra_pos_embed_type="learnable",
    )
    vae = diffusers.AutoencoderKLCosmos(
        latent_channels=4,
        encoder_block_out_channels=(8, 8, 8, 8),
        decode_block_out_channels=(8, 8, 8, 8),
        attention_resolutions=(8,),
        resolution=64,
        num_layers=1,
        patch_size=4,
        spatial_compression_ratio=4,
        temporal_compression_ratio=4,
    )
    scheduler = diffusers.EDMEulerScheduler(sigma_data=0.5, sigma_schedule="karras", final_sigmas_type="sigma_min")
    class_ = diffusers.CosmosTextToWorldPipeline
    with standing_in() as stand_ins:
        stand_ins.bind()
        return class_(
            text_encoder=tiny.t5_text(),
            tokenizer=tiny.t5_tokenizer(),
            transformer=transformer.eval(),
            vae=vae.eval(),
            scheduler=scheduler,
        )


def omnigen() -> Any:
    transformer = diffusers.OmniGenTransformer2DModel(
        in_channels=4,
        hidden_size=16,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=32,
        num_layers=2,
        pad_token_id=0,
        vocab_size=WORDS,
        time_step_dim=4,
        rope_scaling={"long_factor": [1.0] * 4, "short_factor": [1.0] * 4},
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True, num_train_timesteps=1)
    class_ = diffusers.OmniGenPipeline
    with standing_in() as stand_ins:
        stand_ins.bind()
        return class_(
            transformer=transformer.eval(),
            vae=eightfold(),
            scheduler=scheduler,
            tokenizer=StandInTokenizer("LlamaTokenizer", {}),
        )


CASES: dict[str, Case] = {
    "AllegroPipeline": Case(allegro_tiled, {"num_frames": 8, "height": 16, "width": 16, "max_sequence_length": 16}),
    "PRXPipeline": Case(prx, {**SIZED, "use_resolution_binning": False}),
    "MotifVideoPipeline": Case(motif, {**SIZED, "num_frames": 5}),
    "Kandinsky5T2IPipeline": Case(kandinsky_5, {**LARGE, "max_sequence_length": 16}),
    "CosmosTextToWorldPipeline": Case(cosmos, {**SIZED, "num_frames": 9, "max_sequence_length": 16}),
    "OmniGenPipeline": Case(omnigen, SIZED, guidance_costs=False),
    "VisualClozeGenerationPipeline": Case(
        visual_cloze,
        {"task_prompt": "a task", "content_prompt": "a cat", "image": PAIRS},
        prompt=False,
        guidance_costs=False,
        beside={"generator": torch.Generator()},
    ),
    "GlmImagePipeline": Case(glm_image, SIZED),
}
