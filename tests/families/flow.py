"""Transformers that denoise: Stable Diffusion 3, FLUX, PixArt, SANA."""

from __future__ import annotations

from functools import partial
from typing import Any

import diffusers
import tiny

from families.case import Case, picture
from families.parts import FILL, IMG, SD3, SIZED, UNBINNED, of


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
        pos_embed_max_size=32,
    ).eval()


def wide_autoencoder() -> Any:
    return tiny.kl_autoencoder(16, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06)


def controlnet_sd3(**changes: Any) -> Any:
    values: dict[str, Any] = {
        "sample_size": 8,
        "patch_size": 2,
        "in_channels": 8,
        "out_channels": 8,
        "num_layers": 1,
        "attention_head_dim": 8,
        "num_attention_heads": 4,
        "joint_attention_dim": 64,
        "caption_projection_dim": 32,
        "pooled_projection_dim": 64,
        "pos_embed_max_size": 32,
    }
    return diffusers.SD3ControlNetModel(**{**values, **changes}).eval()


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


CASES: dict[str, Case] = {
    "StableDiffusion3Pipeline": Case(partial(tiny.make, SD3), SIZED),
    "FluxPipeline": Case(partial(tiny.make, "flux"), SIZED),
    "PixArtAlphaPipeline": Case(partial(tiny.make, "pixart"), UNBINNED),
    "SanaPipeline": Case(partial(tiny.make, "sana"), UNBINNED),
    "StableDiffusion3Img2ImgPipeline": Case(of("StableDiffusion3Img2ImgPipeline", SD3), {**IMG, **SIZED}, steps=4),
    "StableDiffusion3InpaintPipeline": Case(
        of("StableDiffusion3InpaintPipeline", SD3, transformer=sd3_transformer, vae=wide_autoencoder), {**FILL, **SIZED}
    ),
    "StableDiffusion3ControlNetPipeline": Case(
        of("StableDiffusion3ControlNetPipeline", SD3, controlnet=controlnet_sd3), {"control_image": picture(), **SIZED}
    ),
    "StableDiffusion3PAGPipeline": Case(
        of("StableDiffusion3PAGPipeline", SD3, pag_applied_layers=["blocks.0"]),
        SIZED,
    ),
    "FluxImg2ImgPipeline": Case(of("FluxImg2ImgPipeline", "flux"), {**IMG, **SIZED}, steps=4),
    "FluxInpaintPipeline": Case(of("FluxInpaintPipeline", "flux"), {**FILL, **SIZED}),
    "FluxControlPipeline": Case(
        of(
            "FluxControlPipeline",
            "flux",
            transformer=lambda: flux_transformer(in_channels=32, out_channels=16),
        ),
        {"control_image": picture(), **SIZED},
        guidance_costs=False,
    ),
    "FluxFillPipeline": Case(
        of(
            "FluxFillPipeline",
            "flux",
            transformer=lambda: flux_transformer(in_channels=16 + 16 + 4 * 64 // 16, out_channels=16),
        ),
        {**FILL, **SIZED},
        guidance_costs=False,
    ),
    "FluxKontextPipeline": Case(
        of("FluxKontextPipeline", "flux"), {"image": picture(), **SIZED, "max_area": 64 * 64, "_auto_resize": False}
    ),
    "FluxControlNetPipeline": Case(
        of("FluxControlNetPipeline", "flux", controlnet=flux_controlnet), {"control_image": picture(), **SIZED}
    ),
    "PixArtSigmaPipeline": Case(of("PixArtSigmaPipeline", "pixart"), UNBINNED),
    "PixArtSigmaPAGPipeline": Case(of("PixArtSigmaPAGPipeline", "pixart", pag_applied_layers=["blocks.1"]), UNBINNED),
    "SanaPAGPipeline": Case(of("SanaPAGPipeline", "sana", pag_applied_layers=["blocks.0"]), UNBINNED),
}
