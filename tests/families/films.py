"""Pipelines that make videos piece by piece, or with sound: SkyReels, Helios, LTX-2."""

from __future__ import annotations

from functools import partial
from typing import Any

import diffusers
import transformers
from diffusers.pipelines.ltx2 import LTX2TextConnectors
from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition
from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder

from families.case import Case, film, picture
from families.parts import LARGE, SIZED, of, processor, vision
from families.video import TEMPLATE, hunyuan_video, wan
from fxprof.capture.tokenizers import StandInTokenizer

_WAN = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 32,
    "freq_dim": 256,
    "ffn_dim": 32,
    "num_layers": 2,
}
SKYREELS = {"height": 16, "width": 16, "num_frames": 9, "max_sequence_length": 16}
FORCED = {**SKYREELS, "base_num_frames": 9}
"""All frames at once, as fewer are made than there is room for."""
LONG = {**FORCED, "num_frames": 17, "overlap_history": 5}
"""Two pieces, of which the second goes on from the first."""


def skyreels(class_name: str, **changes: Any) -> Any:
    """A pipeline of SkyReels V2."""

    def make() -> Any:
        transformer = diffusers.SkyReelsV2Transformer3DModel(**{**_WAN, "rope_max_seq_len": 32, **changes})
        parts = {"transformer": transformer.eval, "scheduler": diffusers.UniPCMultistepScheduler}
        pictures = {"image_encoder": partial(vision, projection=False), "image_processor": processor}
        return of(class_name, wan, **parts, **(pictures if "image_dim" in changes else {}))()

    return make


def helios(class_name: str, **options: Any) -> Any:
    """A pipeline of Helios."""

    def make() -> Any:
        transformer = diffusers.HeliosTransformer3DModel(**_WAN, rope_dim=(4, 4, 4))
        return of(class_name, wan, transformer=transformer.eval, **options)()

    return make


def _one_stage() -> Any:
    return diffusers.HeliosScheduler(stage_range=[0, 1], stages=1, use_dynamic_shifting=True)


HELIOS = {"height": 16, "width": 16, "num_frames": 9, "max_sequence_length": 16, "num_latent_frames_per_chunk": 2}
"""Two pieces of two frames of latents."""
PYRAMID = {**HELIOS, **LARGE, "pyramid_num_inference_steps_list": [1, 1, 2]}
"""One piece of it is made small first, then larger."""


def ltx2() -> Any:
    text = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
    sight = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28}
    config = transformers.Gemma3Config(
        text_config={**text, "num_hidden_layers": 2, "vocab_size": 128, "pad_token_id": 0},
        vision_config={**sight, "patch_size": 14},
        mm_tokens_per_image=4,
        image_token_index=120,
        boi_token_index=121,
        eoi_token_index=122,
    )
    transformer = diffusers.LTX2VideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        cross_attention_dim=16,
        audio_in_channels=4,
        audio_out_channels=4,
        audio_num_attention_heads=2,
        audio_attention_head_dim=4,
        audio_cross_attention_dim=8,
        num_layers=2,
        caption_channels=32,
        rope_double_precision=False,
    )
    connectors = LTX2TextConnectors(
        caption_channels=32,
        text_proj_in_factor=3,
        video_connector_num_attention_heads=4,
        video_connector_attention_head_dim=8,
        video_connector_num_layers=1,
        video_connector_num_learnable_registers=None,
        audio_connector_num_attention_heads=4,
        audio_connector_attention_head_dim=8,
        audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=None,
        connector_rope_base_seq_len=32,
        rope_double_precision=False,
        causal_temporal_positioning=False,
    )
    vae = diffusers.AutoencoderKLLTX2Video(
        latent_channels=4,
        block_out_channels=(8,),
        decoder_block_out_channels=(8,),
        layers_per_block=(1,),
        decoder_layers_per_block=(1, 1),
        spatio_temporal_scaling=(True,),
        decoder_spatio_temporal_scaling=(True,),
        decoder_inject_noise=(False, False),
        downsample_type=("spatial",),
        upsample_residual=(False,),
        upsample_factor=(1,),
        patch_size=1,
    )
    audio_vae = diffusers.AutoencoderKLLTX2Audio(
        base_channels=4, ch_mult=(1,), num_res_blocks=1, resolution=32, latent_channels=2, mel_bins=8
    )
    vocoder = LTX2Vocoder(
        in_channels=2 * 8,
        hidden_channels=32,
        upsample_kernel_sizes=[4, 4],
        upsample_factors=[2, 2],
        resnet_kernel_sizes=[3],
        resnet_dilations=[[1, 3, 5]],
        output_sampling_rate=16000,
    )
    return diffusers.LTX2Pipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=vae.eval(),
        audio_vae=audio_vae.eval(),
        text_encoder=transformers.Gemma3ForConditionalGeneration(config).eval(),
        tokenizer=StandInTokenizer("GemmaTokenizerFast", {"model_max_length": 64}),
        connectors=connectors.eval(),
        transformer=transformer.eval(),
        vocoder=vocoder.eval(),
    )


LTX2 = {**SIZED, "num_frames": 5, "max_sequence_length": 16, "spatio_temporal_guidance_blocks": [1], "stg_scale": 1.0}
_OFF = {"guidance_scale": 1.0, "audio_guidance_scale": 1.0}
_CONDITIONS = [LTX2VideoCondition(frames=picture(), index=0, strength=1.0)]


CASES: dict[str, Case] = {
    "SkyReelsV2Pipeline": Case(skyreels("SkyReelsV2Pipeline"), SKYREELS),
    "SkyReelsV2ImageToVideoPipeline": Case(
        skyreels("SkyReelsV2ImageToVideoPipeline", in_channels=36, image_dim=32, added_kv_proj_dim=24),
        {**SKYREELS, "image": picture(16)},
    ),
    "SkyReelsV2DiffusionForcingPipeline": Case(skyreels("SkyReelsV2DiffusionForcingPipeline", inject_sample_info=True), FORCED),
    "SkyReelsV2DiffusionForcingPipeline in two pieces": Case(skyreels("SkyReelsV2DiffusionForcingPipeline"), LONG),
    "SkyReelsV2DiffusionForcingPipeline in blocks": Case(
        skyreels("SkyReelsV2DiffusionForcingPipeline", num_frame_per_block=1),
        {**FORCED, "num_frames": 13, "base_num_frames": 13, "ar_step": 1, "causal_block_size": 2},
    ),
    "SkyReelsV2DiffusionForcingImageToVideoPipeline": Case(
        skyreels("SkyReelsV2DiffusionForcingImageToVideoPipeline"), {**FORCED, "image": picture(16)}
    ),
    "SkyReelsV2DiffusionForcingVideoToVideoPipeline": Case(
        skyreels("SkyReelsV2DiffusionForcingVideoToVideoPipeline"), {**LONG, "video": film(9, 16)}
    ),
    "HunyuanSkyreelsImageToVideoPipeline": Case(
        of("HunyuanSkyreelsImageToVideoPipeline", partial(hunyuan_video, 8)),
        {
            "height": 16,
            "width": 16,
            "num_frames": 9,
            "max_sequence_length": 16,
            "prompt_template": TEMPLATE,
            "image": picture(16),
        },
    ),
    "HeliosPipeline": Case(helios("HeliosPipeline", scheduler=_one_stage), HELIOS),
    "HeliosPyramidPipeline": Case(helios("HeliosPyramidPipeline", scheduler=diffusers.HeliosScheduler), PYRAMID, steps=0),
    "LTX2Pipeline": Case(ltx2, LTX2, unguided=_OFF),
    "LTX2ImageToVideoPipeline": Case(of("LTX2ImageToVideoPipeline", ltx2), {**LTX2, "image": picture()}, unguided=_OFF),
    "LTX2ConditionPipeline": Case(of("LTX2ConditionPipeline", ltx2), {**LTX2, "conditions": _CONDITIONS}, unguided=_OFF),
}
