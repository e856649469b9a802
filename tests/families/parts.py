"""Tiny parts that several families are made of, and pipelines of other classes from the parts of a basic one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import diffusers
import tiny
import transformers

from families.case import mask, picture, pipeline_class

SAFE: dict[str, Any] = {"requires_safety_checker": False}
PLAIN: dict[str, Any] = {"add_watermarker": False}
SD = "stable_diffusion"
XL = "stable_diffusion_xl"
SD3 = "stable_diffusion_3"
IMG = {"image": picture(), "strength": 0.7}
FILL = {"image": picture(), "mask_image": mask()}
SIZED = {"height": 32, "width": 32}
LARGE_IMG = {"image": picture(64), "strength": 0.7}
LARGE_FILL = {"image": picture(64), "mask_image": mask(64)}
LARGE = {"height": 64, "width": 64}
"""For autoencoders of the size that the bundled models have, which compress eightfold."""
FREE = {"use_resolution_binning": False}
UNBINNED = {**SIZED, **FREE}


def of(class_name: str, base: str | Callable[[], Any], **more: Any) -> Callable[[], Any]:
    """A pipeline of another class from those parts of a basic one that it takes, and more."""

    def make() -> Any:
        pipeline = tiny.make(base) if isinstance(base, str) else base()
        class_ = pipeline_class(class_name)
        accepted = inspect.signature(class_.__init__).parameters
        parts = {name: part for name, part in pipeline.components.items() if name in accepted}
        made = {name: value() if callable(value) else value for name, value in more.items()}
        return class_(**{**parts, **made})

    return make


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


def vision(size: int = 32, *, projection: bool = True) -> Any:
    config = transformers.CLIPVisionConfig(
        hidden_size=32,
        projection_dim=32,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=2,
        image_size=size,
        patch_size=size // 4,
    )
    class_ = transformers.CLIPVisionModelWithProjection if projection else transformers.CLIPVisionModel
    return class_(config).eval()


def processor() -> Any:
    return transformers.CLIPImageProcessor(crop_size={"height": 32, "width": 32}, size={"shortest_edge": 32})


def controlnet_sd() -> Any:
    return tiny.controlnet(tiny.make(SD).unet)


def controlnet_xl() -> Any:
    return diffusers.ControlNetModel.from_unet(tiny.make(XL).unet, conditioning_embedding_out_channels=(16, 32)).eval()


def motion(**changes: Any) -> Any:
    values: dict[str, Any] = {
        "block_out_channels": (32, 64),
        "motion_layers_per_block": 1,
        "motion_norm_num_groups": 2,
        "motion_num_attention_heads": 4,
    }
    return diffusers.MotionAdapter(**{**values, **changes}).eval()
