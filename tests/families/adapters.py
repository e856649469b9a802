"""More of Stable Diffusion 1, 2 and XL: ControlNets, adapters, perturbed attention, upscalers, motion."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import diffusers
import tiny
import transformers
from diffusers.pipelines.deprecated.paint_by_example.image_encoder import PaintByExampleImageEncoder
from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer

from families.case import Case, film, picture
from families.parts import (
    FILL,
    IMG,
    PLAIN,
    SAFE,
    SD,
    SIZED,
    XL,
    controlnet_sd,
    controlnet_xl,
    motion,
    of,
    processor,
    unet,
    vision,
)

BOTH = {**IMG, "control_image": picture()}
ALL = {**FILL, "control_image": picture()}
DDIM = partial(diffusers.DDIMScheduler, clip_sample=False)


def union_xl() -> Any:
    values = dict(controlnet_xl().config)
    return diffusers.ControlNetUnionModel.from_config(
        {**values, "num_control_type": 6, "num_trans_channel": 32, "num_proj_channel": 32}
    ).eval()


def cross(made: Callable[[], Any]) -> Any:
    """A ControlNet-XS beside a UNet."""
    return diffusers.ControlNetXSAdapter.from_unet(made(), size_ratio=0.5, conditioning_embedding_out_channels=(16, 32)).eval()


def t2i(kind: str = "full_adapter", scale: int = 2) -> Any:
    return diffusers.T2IAdapter(channels=[32, 64], num_res_blocks=1, downscale_factor=scale, adapter_type=kind).eval()


def xl_unet(**changes: Any) -> Any:
    values = {name: value for name, value in tiny.make(XL).unet.config.items() if not name.startswith("_")}
    return diffusers.UNet2DConditionModel.from_config({**values, **changes}).eval()


def depth_estimator() -> Any:
    config = transformers.DPTConfig(
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=32,
        patch_size=16,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[16, 16, 32, 32],
        fusion_hidden_size=16,
        is_hybrid=False,
    )
    return transformers.DPTForDepthEstimation(config).eval()


def sparse() -> Any:
    return diffusers.SparseControlNetModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
        conditioning_embedding_out_channels=(16, 32),
        conditioning_channels=3,
        motion_num_attention_heads=4,
        concat_conditioning_mask=True,
        use_simplified_condition_embedding=False,
    ).eval()


def example_encoder() -> Any:
    return PaintByExampleImageEncoder(vision().config, proj_size=32).eval()


def video_unet() -> Any:
    return diffusers.UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=8,
        in_channels=8,
        out_channels=4,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        cross_attention_dim=32,
        num_attention_heads=4,
        projection_class_embeddings_input_dim=3 * 32,
        addition_time_embed_dim=32,
    ).eval()


def stable_video() -> Any:
    vae = diffusers.AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 64), down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4
    )
    return diffusers.StableVideoDiffusionPipeline(
        vae=vae.eval(),
        image_encoder=vision(224),
        unet=video_unet(),
        scheduler=diffusers.EulerDiscreteScheduler(prediction_type="v_prediction", timestep_type="continuous"),
        feature_extractor=processor(),
    )


def amused() -> Any:
    """A transformer that fills in the tokens of an autoencoder that quantises."""
    transformer = diffusers.UVit2DModel(
        hidden_size=32,
        cond_embed_dim=32,
        micro_cond_encode_dim=4,
        micro_cond_embed_dim=5 * 4,
        encoder_hidden_size=32,
        vocab_size=65,
        codebook_size=64,
        in_channels=32,
        block_out_channels=32,
        num_res_blocks=1,
        block_num_heads=2,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=37,
        sample_size=8,
    )
    vqvae = diffusers.VQModel(
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=8,
        num_vq_embeddings=64,
        vq_embed_dim=8,
        layers_per_block=1,
        sample_size=16,
        mid_block_add_attention=False,
        lookup_from_codebook=True,
    )
    return diffusers.AmusedPipeline(
        vqvae=vqvae.eval(),
        tokenizer=tiny.clip_tokenizer(),
        text_encoder=tiny.clip_text(projection=True),
        transformer=transformer.eval(),
        scheduler=diffusers.AmusedScheduler(mask_token_id=64),
    )


DEEP = partial(unet, layers_per_block=2, norm_num_groups=8)
DEEP_XL = partial(xl_unet, layers_per_block=2)
"""As many layers as a ControlNet-XS insists on."""
T2I_XL = partial(t2i, "full_adapter_xl", 4)

CASES: dict[str, Case] = {
    "StableDiffusionPAGImg2ImgPipeline": Case(of("StableDiffusionPAGImg2ImgPipeline", SD, **SAFE), IMG, steps=4),
    "StableDiffusionPAGInpaintPipeline": Case(of("StableDiffusionPAGInpaintPipeline", SD, **SAFE), {**FILL, **SIZED}),
    "StableDiffusionControlNetPAGPipeline": Case(
        of("StableDiffusionControlNetPAGPipeline", SD, controlnet=controlnet_sd, **SAFE), {"image": picture()}
    ),
    "StableDiffusionControlNetPAGInpaintPipeline": Case(
        of("StableDiffusionControlNetPAGInpaintPipeline", SD, controlnet=controlnet_sd, **SAFE), ALL
    ),
    "StableDiffusionControlNetXSPipeline": Case(
        of("StableDiffusionControlNetXSPipeline", SD, unet=DEEP, controlnet=partial(cross, DEEP), **SAFE), {"image": picture()}
    ),
    "StableDiffusionUpscalePipeline": Case(
        of(
            "StableDiffusionUpscalePipeline",
            SD,
            unet=partial(unet, in_channels=7, num_class_embeds=1000),
            low_res_scheduler=diffusers.DDPMScheduler,
            scheduler=diffusers.DDIMScheduler,
        ),
        {"image": picture(32)},
    ),
    "StableDiffusionDepth2ImgPipeline": Case(
        of(
            "StableDiffusionDepth2ImgPipeline",
            SD,
            unet=partial(unet, in_channels=5),
            depth_estimator=depth_estimator,
            feature_extractor=partial(transformers.DPTImageProcessor, size={"height": 32, "width": 32}),
        ),
        IMG,
        steps=4,
    ),
    "StableDiffusionAdapterPipeline": Case(of("StableDiffusionAdapterPipeline", SD, adapter=t2i, **SAFE), {"image": picture()}),
    "StableDiffusionXLAdapterPipeline": Case(of("StableDiffusionXLAdapterPipeline", XL, adapter=T2I_XL), {"image": picture()}),
    "LatentConsistencyModelImg2ImgPipeline": Case(
        of(
            "LatentConsistencyModelImg2ImgPipeline",
            SD,
            unet=partial(unet, time_cond_proj_dim=32),
            scheduler=diffusers.LCMScheduler,
            **SAFE,
        ),
        IMG,
        steps=4,
        guidance_costs=False,
    ),
    "StableDiffusionXLControlNetImg2ImgPipeline": Case(
        of("StableDiffusionXLControlNetImg2ImgPipeline", XL, controlnet=controlnet_xl, **PLAIN), BOTH, steps=4
    ),
    "StableDiffusionXLControlNetInpaintPipeline": Case(
        of("StableDiffusionXLControlNetInpaintPipeline", XL, controlnet=controlnet_xl, **PLAIN), {**ALL, **SIZED}
    ),
    "StableDiffusionXLControlNetPAGPipeline": Case(
        of("StableDiffusionXLControlNetPAGPipeline", XL, controlnet=controlnet_xl, **PLAIN), {"image": picture()}
    ),
    "StableDiffusionXLControlNetPAGImg2ImgPipeline": Case(
        of("StableDiffusionXLControlNetPAGImg2ImgPipeline", XL, controlnet=controlnet_xl, **PLAIN), BOTH, steps=4
    ),
    "StableDiffusionXLControlNetUnionPipeline": Case(
        of("StableDiffusionXLControlNetUnionPipeline", XL, controlnet=union_xl, **PLAIN),
        {"control_image": [picture()], "control_mode": [1]},
    ),
    "StableDiffusionXLControlNetUnionImg2ImgPipeline": Case(
        of("StableDiffusionXLControlNetUnionImg2ImgPipeline", XL, controlnet=union_xl, **PLAIN),
        {**IMG, "control_image": [picture()], "control_mode": [1]},
        steps=4,
    ),
    "StableDiffusionXLControlNetUnionInpaintPipeline": Case(
        of("StableDiffusionXLControlNetUnionInpaintPipeline", XL, controlnet=union_xl, **PLAIN),
        {**FILL, **SIZED, "control_image": [picture()], "control_mode": [1]},
    ),
    "StableDiffusionXLControlNetXSPipeline": Case(
        of(
            "StableDiffusionXLControlNetXSPipeline",
            XL,
            unet=DEEP_XL,
            controlnet=partial(cross, DEEP_XL),
            **PLAIN,
        ),
        {"image": picture()},
    ),
    "StableDiffusionXLPAGImg2ImgPipeline": Case(of("StableDiffusionXLPAGImg2ImgPipeline", XL, **PLAIN), IMG, steps=4),
    "StableDiffusionXLPAGInpaintPipeline": Case(of("StableDiffusionXLPAGInpaintPipeline", XL, **PLAIN), {**FILL, **SIZED}),
    "StableDiffusionXLInstructPix2PixPipeline": Case(
        of(
            "StableDiffusionXLInstructPix2PixPipeline",
            XL,
            unet=partial(xl_unet, in_channels=8),
            **PLAIN,
        ),
        {"image": picture(), **SIZED},
    ),
    "AnimateDiffPAGPipeline": Case(
        of("AnimateDiffPAGPipeline", SD, motion_adapter=motion, scheduler=DDIM),
        {**SIZED, "num_frames": 4},
    ),
    "AnimateDiffVideoToVideoPipeline": Case(
        of("AnimateDiffVideoToVideoPipeline", SD, motion_adapter=motion, scheduler=DDIM),
        {**SIZED, "video": film(4, 32), "strength": 0.7},
        steps=4,
    ),
    "AnimateDiffControlNetPipeline": Case(
        of(
            "AnimateDiffControlNetPipeline",
            SD,
            motion_adapter=motion,
            controlnet=controlnet_sd,
            scheduler=DDIM,
        ),
        {**SIZED, "num_frames": 4, "conditioning_frames": film(4, 32)},
    ),
    "AnimateDiffVideoToVideoControlNetPipeline": Case(
        of(
            "AnimateDiffVideoToVideoControlNetPipeline",
            SD,
            motion_adapter=motion,
            controlnet=controlnet_sd,
            scheduler=DDIM,
        ),
        {**SIZED, "video": film(4, 32), "strength": 0.7, "conditioning_frames": film(4, 32)},
        steps=4,
    ),
    "AnimateDiffSparseControlNetPipeline": Case(
        of(
            "AnimateDiffSparseControlNetPipeline",
            SD,
            motion_adapter=motion,
            controlnet=sparse,
            scheduler=DDIM,
        ),
        {**SIZED, "num_frames": 4, "conditioning_frames": picture(), "controlnet_frame_indices": [0]},
    ),
    "AnimateDiffSDXLPipeline": Case(
        of("AnimateDiffSDXLPipeline", XL, motion_adapter=partial(motion, use_motion_mid_block=False), scheduler=DDIM),
        {**SIZED, "num_frames": 4},
    ),
    "StableVideoDiffusionPipeline": Case(
        stable_video, {"image": picture(32), "height": 32, "width": 32, "num_frames": 2, "decode_chunk_size": 2}, prompt=False
    ),
    "MarigoldDepthPipeline": Case(
        of(
            "MarigoldDepthPipeline",
            SD,
            unet=partial(unet, in_channels=8),
            scheduler=diffusers.DDIMScheduler,
            prediction_type="depth",
        ),
        {"image": picture(), "processing_resolution": 0},
        prompt=False,
    ),
    "MarigoldNormalsPipeline": Case(
        of(
            "MarigoldNormalsPipeline",
            SD,
            unet=partial(unet, in_channels=8),
            scheduler=diffusers.DDIMScheduler,
            prediction_type="normals",
        ),
        {"image": picture(), "processing_resolution": 0},
        prompt=False,
    ),
    "TextToVideoZeroPipeline": Case(
        of("TextToVideoZeroPipeline", SD, scheduler=diffusers.DDIMScheduler, **SAFE),
        {**SIZED, "video_length": 2, "t0": 1, "t1": 2},
        always_guided=True,
        steps=4,
    ),
    "TextToVideoZeroSDXLPipeline": Case(
        of("TextToVideoZeroSDXLPipeline", XL, scheduler=diffusers.DDIMScheduler, **PLAIN),
        {**SIZED, "video_length": 2, "t0": 1, "t1": 2},
        steps=4,
    ),
    "PIAPipeline": Case(
        of(
            "PIAPipeline",
            SD,
            motion_adapter=partial(motion, conv_in_channels=9),
            scheduler=DDIM,
        ),
        {**SIZED, "num_frames": 4, "image": picture()},
    ),
    "PaintByExamplePipeline": Case(
        of(
            "PaintByExamplePipeline",
            SD,
            unet=partial(unet, in_channels=9),
            image_encoder=example_encoder,
            feature_extractor=processor,
        ),
        {**FILL, **SIZED, "example_image": picture()},
        prompt=False,
    ),
    "StableUnCLIPImg2ImgPipeline": Case(
        of(
            "StableUnCLIPImg2ImgPipeline",
            SD,
            unet=partial(unet, class_embed_type="projection", projection_class_embeddings_input_dim=2 * 32),
            image_encoder=vision,
            feature_extractor=processor,
            image_normalizer=partial(StableUnCLIPImageNormalizer, 32),
            image_noising_scheduler=diffusers.DDPMScheduler,
        ),
        {"image": picture(), **SIZED},
    ),
    "StableDiffusionLatentUpscalePipeline": Case(
        of(
            "StableDiffusionLatentUpscalePipeline",
            SD,
            unet=partial(unet, in_channels=8, out_channels=5, time_cond_proj_dim=160, class_embed_type=None),
            scheduler=diffusers.EulerDiscreteScheduler,
        ),
        {"image": picture(32)},
    ),
    "StableDiffusionLDM3DPipeline": Case(
        of("StableDiffusionLDM3DPipeline", SD, vae=partial(tiny.kl_autoencoder, in_channels=6, out_channels=6), **SAFE),
        {**SIZED, "output_type": "np"},
    ),
    "StableDiffusionGLIGENPipeline": Case(
        of("StableDiffusionGLIGENPipeline", SD, unet=partial(unet, attention_type="gated"), **SAFE),
        {**SIZED, "gligen_phrases": ["a hat"], "gligen_boxes": [[0.1, 0.1, 0.5, 0.5]]},
    ),
    "AmusedPipeline": Case(amused, SIZED),
    "AmusedImg2ImgPipeline": Case(of("AmusedImg2ImgPipeline", amused), IMG, steps=4),
    "AmusedInpaintPipeline": Case(of("AmusedInpaintPipeline", amused), FILL),
}
