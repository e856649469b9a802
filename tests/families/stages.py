"""The stages of pipelines that work in several, by themselves, and what they make of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import torch

from families.bundled import (
    CASCADE_DECODER,
    CASCADE_PRIOR,
    CROSS_UNET,
    IF_UNET,
    MCLIP,
    WUERSTCHEN_DECODER,
    WUERSTCHEN_PRIOR,
)
from families.case import Case, mask, picture, pipeline_class
from families.parts import LARGE, LARGE_FILL, LARGE_IMG, of
from families.shrunk import shrunk

K21 = shrunk("kandinsky-2.1", unet=CROSS_UNET, text_encoder=MCLIP)
K22 = shrunk("kandinsky-2.2", unet=CROSS_UNET)
"""Kandinsky 2.1 and 2.2."""
K21_FILL = shrunk("kandinsky-2.1", unet={**CROSS_UNET, "in_channels": 9}, text_encoder=MCLIP)
K22_FILL = shrunk("kandinsky-2.2", unet={**CROSS_UNET, "in_channels": 9})
"""The same for inpainting, which also sees the masked image and the mask."""
K22_SEEING = shrunk("kandinsky-2.2", unet=CROSS_UNET, prior_image_encoder={"image_size": 224, "patch_size": 56})
"""One whose images come in the size that their processor makes."""
CASCADE = shrunk("stable-cascade", prior_prior=CASCADE_PRIOR, decoder=CASCADE_DECODER)
WUERSTCHEN = shrunk("wuerstchen", prior_prior=WUERSTCHEN_PRIOR, decoder=WUERSTCHEN_DECODER)
EMBEDDED = {"image_embeds": torch.zeros(1, 32), "negative_image_embeds": torch.zeros(1, 32)}
HINT = {"hint": torch.zeros(1, 3, 64, 64)}


def if_stage(class_name: str) -> Callable[[], Any]:
    return of(class_name, shrunk("deepfloyd-if-i-xl", unet=IF_UNET), requires_safety_checker=False)


def if_upscaler(class_name: str) -> Callable[[], Any]:
    """The second stage, whose UNet also sees the small image and is told how noisy it is."""
    unet = {**IF_UNET, "in_channels": 6, "class_embed_type": "timestep"}
    base = shrunk("deepfloyd-if-i-xl", unet=unet)
    return of(class_name, base, image_noising_scheduler=diffusers.DDPMScheduler, requires_safety_checker=False)


def stage(class_name: str, whole: Callable[[], Any], **more: Any) -> Callable[[], Any]:
    """A prior by itself, from the parts of a combined pipeline."""

    def make() -> Any:
        parts = whole().components
        own = {name.removeprefix("prior_"): part for name, part in parts.items() if name.startswith("prior_")}
        return pipeline_class(class_name)(**own, **more)

    return make


def decoder(class_name: str, whole: Callable[[], Any], **more: Any) -> Callable[[], Any]:
    """A decoder by itself, from the parts of a combined pipeline."""

    def make() -> Any:
        parts = whole().components
        own = {name: part for name, part in parts.items() if not name.startswith("prior_")}
        return pipeline_class(class_name)(**own, **more)

    return make


WIDE_HINT = {"width": 128, "hint": torch.zeros(1, 3, 64, 128)}

TWICE = {"height": 128, "width": 128, "image": picture(128)}
"""For classes that fail at sizes that are not square."""

CASES: dict[str, Case] = {
    "KandinskyPriorPipeline": Case(stage("KandinskyPriorPipeline", K21), wide={"num_images_per_prompt": 2}),
    "KandinskyPipeline": Case(decoder("KandinskyPipeline", K21), {**LARGE, **EMBEDDED}),
    "KandinskyImg2ImgPipeline": Case(
        decoder("KandinskyImg2ImgPipeline", K21), {**LARGE, **EMBEDDED, **LARGE_IMG}, steps=4, wide=TWICE
    ),
    "KandinskyInpaintPipeline": Case(decoder("KandinskyInpaintPipeline", K21_FILL), {**LARGE, **EMBEDDED, **LARGE_FILL}),
    "KandinskyImg2ImgCombinedPipeline": Case(
        of("KandinskyImg2ImgCombinedPipeline", K21), {**LARGE, **LARGE_IMG, "prior_num_inference_steps": 2}, steps=4, wide=TWICE
    ),
    "KandinskyInpaintCombinedPipeline": Case(
        of("KandinskyInpaintCombinedPipeline", K21_FILL), {**LARGE, **LARGE_FILL, "prior_num_inference_steps": 2}
    ),
    "KandinskyV22PriorPipeline": Case(stage("KandinskyV22PriorPipeline", K22), wide={"num_images_per_prompt": 2}),
    "KandinskyV22PriorEmb2EmbPipeline": Case(
        stage("KandinskyV22PriorEmb2EmbPipeline", K22_SEEING), LARGE_IMG, steps=4, wide={"num_images_per_prompt": 2}
    ),
    "KandinskyV22Pipeline": Case(decoder("KandinskyV22Pipeline", K22), {**LARGE, **EMBEDDED}, prompt=False),
    "KandinskyV22Img2ImgPipeline": Case(
        decoder("KandinskyV22Img2ImgPipeline", K22), {**LARGE, **EMBEDDED, **LARGE_IMG}, prompt=False, steps=4
    ),
    "KandinskyV22InpaintPipeline": Case(
        decoder("KandinskyV22InpaintPipeline", K22_FILL), {**LARGE, **EMBEDDED, **LARGE_FILL}, prompt=False
    ),
    "KandinskyV22Img2ImgCombinedPipeline": Case(
        of("KandinskyV22Img2ImgCombinedPipeline", K22), {**LARGE, **LARGE_IMG, "prior_num_inference_steps": 2}, steps=4
    ),
    "KandinskyV22InpaintCombinedPipeline": Case(
        of("KandinskyV22InpaintCombinedPipeline", K22_FILL), {**LARGE, **LARGE_FILL, "prior_num_inference_steps": 2}
    ),
    "KandinskyV22ControlnetPipeline": Case(
        decoder(
            "KandinskyV22ControlnetPipeline",
            shrunk("kandinsky-2.2", unet={**CROSS_UNET, "addition_embed_type": "image_hint", "in_channels": 8}),
        ),
        {**LARGE, **EMBEDDED, **HINT},
        prompt=False,
        wide=WIDE_HINT,
    ),
    "Kandinsky3Img2ImgPipeline": Case(of("Kandinsky3Img2ImgPipeline", shrunk("kandinsky-3")), LARGE_IMG, steps=4),
    "StableCascadePriorPipeline": Case(stage("StableCascadePriorPipeline", CASCADE), {"height": 128, "width": 128}),
    "StableCascadeDecoderPipeline": Case(
        decoder("StableCascadeDecoderPipeline", CASCADE),
        {"image_embeddings": torch.zeros(1, 16, 3, 3)},
        wide={"image_embeddings": torch.zeros(1, 16, 3, 6)},
    ),
    "WuerstchenPriorPipeline": Case(stage("WuerstchenPriorPipeline", WUERSTCHEN), {"height": 128, "width": 128}),
    "WuerstchenDecoderPipeline": Case(
        decoder("WuerstchenDecoderPipeline", WUERSTCHEN),
        {"image_embeddings": torch.zeros(1, 16, 3, 3)},
        wide={"image_embeddings": torch.zeros(1, 16, 3, 6)},
    ),
    "IFImg2ImgPipeline": Case(
        if_stage("IFImg2ImgPipeline"),
        {"image": picture(32)},
    ),
    "IFInpaintingPipeline": Case(
        if_stage("IFInpaintingPipeline"),
        {"image": picture(32), "mask_image": mask(32)},
    ),
    "IFSuperResolutionPipeline": Case(
        if_upscaler("IFSuperResolutionPipeline"), {"image": picture(16), "height": 32, "width": 32}
    ),
    "IFImg2ImgSuperResolutionPipeline": Case(
        if_upscaler("IFImg2ImgSuperResolutionPipeline"), {"image": picture(16), "original_image": picture(32)}
    ),
    "IFInpaintingSuperResolutionPipeline": Case(
        if_upscaler("IFInpaintingSuperResolutionPipeline"),
        {"image": picture(16), "original_image": picture(32), "mask_image": mask(32)},
    ),
}
