"""Tiny pipelines of many classes of diffusers, each with the arguments that it needs, to be profiled and really run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import diffusers
import tiny
import transformers
from PIL import Image


@dataclass(frozen=True)
class Case:
    """How to make a pipeline and what to call it with beside prompt and steps."""

    make: Callable[[], Any]
    arguments: dict[str, Any] = field(default_factory=dict)
    prompt: bool = True
    steps: int = 3


def picture(size: int = 64) -> Any:
    return Image.new("RGB", (size, size), "red")


def mask(size: int = 64) -> Any:
    return Image.new("L", (size, size), 255)


def unet(**changes: Any) -> Any:
    values: dict[str, Any] = {
        "sample_size": 8,
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 32,
        "attention_head_dim": 4,
        "norm_num_groups": 8,
    }
    return diffusers.UNet2DConditionModel(**{**values, **changes}).eval()


def vision(*, projection: bool = True) -> Any:
    config = transformers.CLIPVisionConfig(
        hidden_size=32,
        projection_dim=32,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=2,
        image_size=32,
        patch_size=8,
    )
    class_ = transformers.CLIPVisionModelWithProjection if projection else transformers.CLIPVisionModel
    return class_(config).eval()


def processor() -> Any:
    return transformers.CLIPImageProcessor(crop_size={"height": 32, "width": 32}, size={"shortest_edge": 32})


def of(class_name: str, base: str, *, without: tuple[str, ...] = (), **more: Any) -> Callable[[], Any]:
    """A pipeline of another class from the parts of a basic one."""

    def make() -> Any:
        parts = {name: part for name, part in tiny.make(base).components.items() if name not in without}
        made = {name: value() if callable(value) else value for name, value in more.items()}
        return getattr(diffusers, class_name)(**{**parts, **made})

    return make


SAFE: dict[str, Any] = {"requires_safety_checker": False}
SD = "stable_diffusion"
XL = "stable_diffusion_xl"
SD3 = "stable_diffusion_3"
IMG = {"image": picture(), "strength": 0.7}
FILL = {"image": picture(), "mask_image": mask()}
SIZED = {"height": 64, "width": 64}


SAG_UNET = {
    "block_out_channels": (32, 64, 64, 64),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
}


def controlnet_xl() -> Any:
    return diffusers.ControlNetModel.from_unet(tiny.make(XL).unet, conditioning_embedding_out_channels=(16, 32)).eval()


def controlnet_sd() -> Any:
    return tiny.controlnet(tiny.make(SD).unet)


def sd3_transformer() -> Any:
    """Sixteen channels, as the inpainting pipeline insists on."""
    return diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=64,
        caption_projection_dim=32,
        pooled_projection_dim=64,
        pos_embed_max_size=16,
    ).eval()


def wide_autoencoder() -> Any:
    return tiny.kl_autoencoder(16, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06)


def controlnet_sd3() -> Any:
    return diffusers.SD3ControlNetModel(
        sample_size=8,
        patch_size=2,
        in_channels=8,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=64,
        caption_projection_dim=32,
        pooled_projection_dim=64,
        out_channels=8,
        pos_embed_max_size=16,
    ).eval()


def flux_transformer(**changes: Any) -> Any:
    values: dict[str, Any] = {
        "patch_size": 1,
        "in_channels": 16,
        "num_layers": 1,
        "num_single_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 32,
        "pooled_projection_dim": 32,
        "guidance_embeds": True,
        "axes_dims_rope": (4, 4, 8),
    }
    return diffusers.FluxTransformer2DModel(**{**values, **changes}).eval()


def flux_controlnet() -> Any:
    return diffusers.FluxControlNetModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
    ).eval()


def unconditional(class_name: str, scheduler: str, **more: Any) -> Callable[[], Any]:
    def make() -> Any:
        unet = diffusers.UNet2DModel(
            block_out_channels=(32, 64),
            layers_per_block=1,
            sample_size=32,
            in_channels=3,
            out_channels=3,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
        )
        return getattr(diffusers, class_name)(unet=unet.eval(), scheduler=getattr(diffusers, scheduler)(), **more)

    return make


def dit() -> Any:
    transformer = diffusers.DiTTransformer2DModel(
        sample_size=8,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        in_channels=4,
        out_channels=8,
        attention_bias=True,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
    )
    return diffusers.DiTPipeline(transformer=transformer.eval(), vae=tiny.kl_autoencoder(), scheduler=diffusers.DDIMScheduler())


def motion() -> Any:
    return diffusers.MotionAdapter(
        block_out_channels=(32, 64), motion_layers_per_block=1, motion_norm_num_groups=2, motion_num_attention_heads=4
    ).eval()


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


def wan() -> Any:
    vae = diffusers.AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    transformer = diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=16,
        out_channels=16,
        text_dim=32,
        freq_dim=256,
        ffn_dim=32,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    )
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


def cogvideox() -> Any:
    transformer = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=8,
        in_channels=4,
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


CASES: dict[str, Case] = {
    "StableDiffusionImg2ImgPipeline": Case(of("StableDiffusionImg2ImgPipeline", SD, **SAFE), IMG, steps=4),
    "StableDiffusionInpaintPipeline": Case(of("StableDiffusionInpaintPipeline", SD, **SAFE), {**FILL, **SIZED}),
    "StableDiffusionControlNetPipeline": Case(
        of("StableDiffusionControlNetPipeline", SD, controlnet=controlnet_sd, **SAFE), {"image": picture()}
    ),
    "StableDiffusionControlNetImg2ImgPipeline": Case(
        of("StableDiffusionControlNetImg2ImgPipeline", SD, controlnet=controlnet_sd, **SAFE),
        {"image": picture(), "control_image": picture()},
    ),
    "StableDiffusionControlNetInpaintPipeline": Case(
        of("StableDiffusionControlNetInpaintPipeline", SD, controlnet=controlnet_sd, **SAFE),
        {**FILL, "control_image": picture()},
    ),
    "StableDiffusionInstructPix2PixPipeline": Case(
        of("StableDiffusionInstructPix2PixPipeline", SD, unet=lambda: unet(in_channels=8), **SAFE), {"image": picture()}
    ),
    "StableDiffusionPanoramaPipeline": Case(
        of("StableDiffusionPanoramaPipeline", SD, scheduler=diffusers.DDIMScheduler, **SAFE), {"height": 64, "width": 128}
    ),
    "StableDiffusionPAGPipeline": Case(of("StableDiffusionPAGPipeline", SD, **SAFE), SIZED),
    "StableDiffusionSAGPipeline": Case(
        of("StableDiffusionSAGPipeline", SD, unet=lambda: unet(**SAG_UNET), scheduler=diffusers.DDIMScheduler, **SAFE), SIZED
    ),
    "StableDiffusionImageVariationPipeline": Case(
        of(
            "StableDiffusionImageVariationPipeline",
            SD,
            without=("text_encoder", "tokenizer"),
            image_encoder=vision,
            feature_extractor=processor,
            **SAFE,
        ),
        {"image": picture(), **SIZED},
        prompt=False,
    ),
    "LatentConsistencyModelPipeline": Case(
        of(
            "LatentConsistencyModelPipeline",
            SD,
            unet=lambda: unet(time_cond_proj_dim=32),
            scheduler=diffusers.LCMScheduler,
            **SAFE,
        ),
        SIZED,
    ),
    "AnimateDiffPipeline": Case(
        of(
            "AnimateDiffPipeline",
            SD,
            without=("safety_checker",),
            motion_adapter=motion,
            scheduler=lambda: diffusers.DDIMScheduler(clip_sample=False),
        ),
        {**SIZED, "num_frames": 4},
    ),
    "TextToVideoSDPipeline": Case(text_to_video, {**SIZED, "num_frames": 2}),
    "StableDiffusionXLImg2ImgPipeline": Case(of("StableDiffusionXLImg2ImgPipeline", XL, add_watermarker=False), IMG, steps=4),
    "StableDiffusionXLInpaintPipeline": Case(
        of("StableDiffusionXLInpaintPipeline", XL, add_watermarker=False), {**FILL, **SIZED}
    ),
    "StableDiffusionXLControlNetPipeline": Case(
        of("StableDiffusionXLControlNetPipeline", XL, controlnet=controlnet_xl, add_watermarker=False), {"image": picture()}
    ),
    "StableDiffusionXLPAGPipeline": Case(of("StableDiffusionXLPAGPipeline", XL, add_watermarker=False), SIZED),
    "StableDiffusion3Img2ImgPipeline": Case(of("StableDiffusion3Img2ImgPipeline", SD3), {**IMG, **SIZED}, steps=4),
    "StableDiffusion3InpaintPipeline": Case(
        of("StableDiffusion3InpaintPipeline", SD3, transformer=sd3_transformer, vae=wide_autoencoder), {**FILL, **SIZED}
    ),
    "StableDiffusion3ControlNetPipeline": Case(
        of("StableDiffusion3ControlNetPipeline", SD3, controlnet=controlnet_sd3), {"control_image": picture(), **SIZED}
    ),
    "StableDiffusion3PAGPipeline": Case(
        of("StableDiffusion3PAGPipeline", SD3, without=("image_encoder", "feature_extractor"), pag_applied_layers=["blocks.0"]),
        SIZED,
    ),
    "FluxImg2ImgPipeline": Case(of("FluxImg2ImgPipeline", "flux"), {**IMG, **SIZED}, steps=4),
    "FluxInpaintPipeline": Case(of("FluxInpaintPipeline", "flux"), {**FILL, **SIZED}),
    "FluxControlPipeline": Case(
        of(
            "FluxControlPipeline",
            "flux",
            without=("image_encoder", "feature_extractor"),
            transformer=lambda: flux_transformer(in_channels=32, out_channels=16),
        ),
        {"control_image": picture(), **SIZED},
    ),
    "FluxFillPipeline": Case(
        of(
            "FluxFillPipeline",
            "flux",
            without=("image_encoder", "feature_extractor"),
            transformer=lambda: flux_transformer(in_channels=16 + 16 + 4 * 64 // 16, out_channels=16),
        ),
        {**FILL, **SIZED},
    ),
    "FluxKontextPipeline": Case(
        of("FluxKontextPipeline", "flux"), {"image": picture(), **SIZED, "max_area": 64 * 64, "_auto_resize": False}
    ),
    "FluxControlNetPipeline": Case(
        of("FluxControlNetPipeline", "flux", controlnet=flux_controlnet), {"control_image": picture(), **SIZED}
    ),
    "PixArtSigmaPipeline": Case(of("PixArtSigmaPipeline", "pixart"), {**SIZED, "use_resolution_binning": False}),
    "PixArtSigmaPAGPipeline": Case(
        of("PixArtSigmaPAGPipeline", "pixart", pag_applied_layers=["blocks.1"]), {**SIZED, "use_resolution_binning": False}
    ),
    "SanaPAGPipeline": Case(
        of("SanaPAGPipeline", "sana", pag_applied_layers=["blocks.0"]), {**SIZED, "use_resolution_binning": False}
    ),
    "DDPMPipeline": Case(unconditional("DDPMPipeline", "DDPMScheduler"), prompt=False),
    "DDIMPipeline": Case(unconditional("DDIMPipeline", "DDIMScheduler"), prompt=False),
    "ConsistencyModelPipeline": Case(unconditional("ConsistencyModelPipeline", "CMStochasticIterativeScheduler"), prompt=False),
    "DiTPipeline": Case(dit, {"class_labels": [1]}, prompt=False),
    "WanPipeline": Case(wan, {"height": 16, "width": 16, "num_frames": 9, "max_sequence_length": 16}),
    "LTXPipeline": Case(ltx, {"height": 32, "width": 32, "num_frames": 9, "max_sequence_length": 16}),
    "CogVideoXPipeline": Case(cogvideox, {"height": 16, "width": 16, "num_frames": 8, "max_sequence_length": 16}),
}
"""Class to how it is made and called."""
