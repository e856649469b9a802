"""Stable Diffusion 1, 2 and XL and what was made of them, and the unconditional pipelines."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import diffusers
import tiny

from families.case import Case, picture
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

SAG_UNET = {
    "block_out_channels": (32, 64, 64, 64),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
}


def unconditional(class_name: str, scheduler: str, size: int = 32) -> Callable[[], Any]:
    def make() -> Any:
        unet = diffusers.UNet2DModel(
            block_out_channels=(32, 64),
            layers_per_block=1,
            sample_size=size,
            in_channels=3,
            out_channels=3,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
        )
        return getattr(diffusers, class_name)(unet=unet.eval(), scheduler=getattr(diffusers, scheduler)())

    return make


def dit(size: int = 8) -> Any:
    transformer = diffusers.DiTTransformer2DModel(
        sample_size=size,
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


CASES: dict[str, Case] = {
    "StableDiffusionPipeline": Case(partial(tiny.make, SD), SIZED),
    "StableDiffusionXLPipeline": Case(partial(tiny.make, XL), SIZED),
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
        guidance_costs=False,
    ),
    "AnimateDiffPipeline": Case(
        of(
            "AnimateDiffPipeline",
            SD,
            motion_adapter=motion,
            scheduler=lambda: diffusers.DDIMScheduler(clip_sample=False),
        ),
        {**SIZED, "num_frames": 4},
    ),
    "StableDiffusionXLImg2ImgPipeline": Case(of("StableDiffusionXLImg2ImgPipeline", XL, **PLAIN), IMG, steps=4),
    "StableDiffusionXLInpaintPipeline": Case(of("StableDiffusionXLInpaintPipeline", XL, **PLAIN), {**FILL, **SIZED}),
    "StableDiffusionXLControlNetPipeline": Case(
        of("StableDiffusionXLControlNetPipeline", XL, controlnet=controlnet_xl, **PLAIN), {"image": picture()}
    ),
    "StableDiffusionXLPAGPipeline": Case(of("StableDiffusionXLPAGPipeline", XL, **PLAIN), SIZED),
    "DDPMPipeline": Case(
        unconditional("DDPMPipeline", "DDPMScheduler"),
        prompt=False,
        make_wide=unconditional("DDPMPipeline", "DDPMScheduler", 64),
    ),
    "DDIMPipeline": Case(
        unconditional("DDIMPipeline", "DDIMScheduler"),
        prompt=False,
        make_wide=unconditional("DDIMPipeline", "DDIMScheduler", 64),
    ),
    "ConsistencyModelPipeline": Case(
        unconditional("ConsistencyModelPipeline", "CMStochasticIterativeScheduler"),
        prompt=False,
        make_wide=unconditional("ConsistencyModelPipeline", "CMStochasticIterativeScheduler", 64),
    ),
    "DiTPipeline": Case(dit, {"class_labels": [1]}, prompt=False, make_wide=partial(dit, 16)),
    "PNDMPipeline": Case(
        unconditional("PNDMPipeline", "PNDMScheduler"),
        prompt=False,
        steps=4,
        make_wide=unconditional("PNDMPipeline", "PNDMScheduler", 64),
    ),
    "ScoreSdeVePipeline": Case(
        unconditional("ScoreSdeVePipeline", "ScoreSdeVeScheduler"),
        prompt=False,
        make_wide=unconditional("ScoreSdeVePipeline", "ScoreSdeVeScheduler", 64),
    ),
}
