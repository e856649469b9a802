"""Other pipelines of transformers that denoise: from images, masks and hints, with ControlNets, perturbed attention."""

from __future__ import annotations

from functools import partial
from typing import Any

import diffusers
import tiny

from families.bundled import KOLORS_UNET, LAYERS
from families.case import Case, picture
from families.flow import controlnet_sd3, flux_controlnet, flux_transformer, sd3_transformer, wide_autoencoder
from families.parts import FILL, FREE, IMG, LARGE, LARGE_FILL, LARGE_IMG, SD3, SIZED, UNBINNED, of
from families.shrunk import shrunk

CHROMA = shrunk("chroma1-hd")
QWEN = shrunk("qwen-image")
HUNYUAN = shrunk("hunyuandit")
KOLORS = shrunk("kolors", unet=KOLORS_UNET)
Z_IMAGE = shrunk("z-image-turbo")
CONTROL = {"control_image": picture()}


def controlnet_of(class_name: str, make: Any, **values: Any) -> Any:
    """A ControlNet made from the transformer that it is to steer."""
    return getattr(diffusers, class_name).from_transformer(make().transformer, **values).eval()


def sana_controlnet() -> Any:
    values = dict(tiny.make("sana").transformer.config)
    return diffusers.SanaControlNetModel.from_config(values).eval()


def hunyuan_controlnet() -> Any:
    values = dict(HUNYUAN().transformer.config)
    return diffusers.HunyuanDiT2DControlNetModel.from_config({**values, "transformer_num_layers": 4}).eval()


CASES: dict[str, Case] = {
    "StableDiffusion3PAGImg2ImgPipeline": Case(
        of("StableDiffusion3PAGImg2ImgPipeline", SD3, pag_applied_layers=["blocks.0"]),
        {**IMG, **SIZED},
        steps=4,
    ),
    "StableDiffusion3ControlNetInpaintingPipeline": Case(
        of(
            "StableDiffusion3ControlNetInpaintingPipeline",
            SD3,
            transformer=sd3_transformer,
            vae=wide_autoencoder,
            controlnet=partial(controlnet_sd3, in_channels=16, out_channels=16, extra_conditioning_channels=1),
        ),
        {"control_image": picture(), "control_mask": FILL["mask_image"], **SIZED},
    ),
    "FluxControlImg2ImgPipeline": Case(
        of(
            "FluxControlImg2ImgPipeline",
            "flux",
            transformer=partial(flux_transformer, in_channels=32, out_channels=16),
        ),
        {**IMG, **CONTROL, **SIZED},
        steps=4,
        guidance_costs=False,
    ),
    "FluxControlInpaintPipeline": Case(
        of(
            "FluxControlInpaintPipeline",
            "flux",
            transformer=partial(flux_transformer, in_channels=32, out_channels=16),
        ),
        {**FILL, **CONTROL, **SIZED},
        steps=4,
        guidance_costs=False,
    ),
    "FluxControlNetImg2ImgPipeline": Case(
        of("FluxControlNetImg2ImgPipeline", "flux", controlnet=flux_controlnet),
        {**IMG, **CONTROL, **SIZED},
        steps=4,
        guidance_costs=False,
    ),
    "FluxControlNetInpaintPipeline": Case(
        of("FluxControlNetInpaintPipeline", "flux", controlnet=flux_controlnet),
        {**FILL, **CONTROL, **SIZED},
        steps=4,
        guidance_costs=False,
    ),
    "FluxKontextInpaintPipeline": Case(
        of("FluxKontextInpaintPipeline", "flux"), {**FILL, **SIZED, "max_area": 64 * 64, "_auto_resize": False}
    ),
    "ChromaImg2ImgPipeline": Case(of("ChromaImg2ImgPipeline", CHROMA), {**LARGE_IMG, **LARGE}, steps=4),
    "QwenImageImg2ImgPipeline": Case(of("QwenImageImg2ImgPipeline", QWEN), {**LARGE_IMG, **LARGE}, steps=4),
    "QwenImageInpaintPipeline": Case(of("QwenImageInpaintPipeline", QWEN), {**LARGE_FILL, **LARGE}, steps=4),
    "QwenImageControlNetPipeline": Case(
        of(
            "QwenImageControlNetPipeline",
            QWEN,
            controlnet=partial(
                controlnet_of, "QwenImageControlNetModel", QWEN, num_layers=1, attention_head_dim=16, num_attention_heads=2
            ),
        ),
        {"control_image": picture(64), **LARGE},
    ),
    "QwenImageControlNetInpaintPipeline": Case(
        of(
            "QwenImageControlNetInpaintPipeline",
            QWEN,
            controlnet=partial(
                controlnet_of,
                "QwenImageControlNetModel",
                QWEN,
                num_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                extra_condition_channels=4,
            ),
        ),
        {"control_image": picture(64), "control_mask": LARGE_FILL["mask_image"], **LARGE},
    ),
    "HunyuanDiTPAGPipeline": Case(
        of("HunyuanDiTPAGPipeline", HUNYUAN, pag_applied_layers=["blocks.0"]),
        {**LARGE, **FREE},
        unguided={"guidance_scale": 1.0, "pag_scale": 0.0},  # it fails out of one kind of guidance and in the other
    ),
    "HunyuanDiTControlNetPipeline": Case(
        of(
            "HunyuanDiTControlNetPipeline",
            HUNYUAN,
            controlnet=hunyuan_controlnet,
        ),
        {"control_image": picture(64), **LARGE, **FREE},
    ),
    "KolorsImg2ImgPipeline": Case(of("KolorsImg2ImgPipeline", KOLORS), {**LARGE_IMG, **LARGE}, steps=4),
    "KolorsPAGPipeline": Case(of("KolorsPAGPipeline", KOLORS), LARGE),
    "SanaSprintImg2ImgPipeline": Case(
        of("SanaSprintImg2ImgPipeline", shrunk("sana-sprint-0.6b")),
        {**UNBINNED, **IMG},
        steps=2,
        guidance_costs=False,
    ),
    "SanaControlNetPipeline": Case(of("SanaControlNetPipeline", "sana", controlnet=sana_controlnet), {**CONTROL, **UNBINNED}),
    "ZImageImg2ImgPipeline": Case(
        of("ZImageImg2ImgPipeline", Z_IMAGE), {**LARGE_IMG, **LARGE}, steps=4, unguided={"guidance_scale": 0.0}
    ),
    "ZImageInpaintPipeline": Case(
        of("ZImageInpaintPipeline", Z_IMAGE), {**LARGE_FILL, **LARGE}, steps=4, unguided={"guidance_scale": 0.0}
    ),
    "CogView4ControlPipeline": Case(
        of("CogView4ControlPipeline", shrunk("cogview4-6b", transformer={"in_channels": 32, "out_channels": 16})),
        {"control_image": picture(64), **LARGE},
    ),
    "Flux2KleinInpaintPipeline": Case(
        of("Flux2KleinInpaintPipeline", shrunk("flux.2-klein-base-4b")), {**LARGE_FILL, **LARGE, **LAYERS}, steps=4
    ),
    "Flux2Pipeline with images to go by": Case(
        shrunk("flux.2-dev"), {**LARGE, **LAYERS, "image": picture(64)}, guidance_costs=False
    ),
}
