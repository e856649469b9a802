"""What changes the calls beside the class: several ControlNets, adapters, tiles, schedulers that evaluate twice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import diffusers
import tiny
import torch
import transformers
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

from families.bundled import LAYERS, hunyuan_image
from families.case import Case, picture
from families.flow import controlnet_sd3, flux_controlnet
from families.parts import LARGE, SAFE, SD, SD3, SIZED, XL, controlnet_sd, controlnet_xl, of, processor, vision
from families.shrunk import shrunk
from families.video import wan


def changed(make: Callable[[], Any], change: Callable[[Any], object]) -> Callable[[], Any]:
    """A pipeline to which something was done."""

    def made() -> Any:
        pipeline = make()
        change(pipeline)
        return pipeline

    return made


def stable_diffusion(change: Callable[[Any], object]) -> Callable[[], Any]:
    return changed(partial(tiny.make, SD), change)


def safety_checker() -> Any:
    sizes = {"hidden_size": 32, "intermediate_size": 37, "num_attention_heads": 4, "num_hidden_layers": 2}
    config = transformers.CLIPConfig(vision_config={**sizes, "image_size": 32, "patch_size": 8}, projection_dim=32)
    return StableDiffusionSafetyChecker(config).eval()


def add_ip_adapter(pipeline: Any) -> None:
    """Weights as a file of an IP-Adapter has them: four tokens from an image, and keys and values for them in every layer."""
    width = pipeline.unet.config.cross_attention_dim
    layers = [name for name in pipeline.unet.attn_processors if name.endswith("attn2.processor")]
    attentions = [pipeline.unet.get_submodule(name.removesuffix(".processor")) for name in layers]
    keys = {
        f"{2 * at + 1}.{key}_ip.weight": torch.randn(attention.to_k.weight.shape)
        for at, attention in enumerate(attentions)
        for key in ("to_k", "to_v")
    }
    projection = {
        "proj.weight": torch.randn(4 * width, 32),
        "proj.bias": torch.randn(4 * width),
        "norm.weight": torch.randn(width),
        "norm.bias": torch.randn(width),
    }
    pipeline.unet._load_ip_adapter_weights([{"image_proj": projection, "ip_adapter": keys}], low_cpu_mem_usage=False)


def stop_guiding(pipeline: Any, step: int, _: Any, tensors: dict[str, Any]) -> dict[str, Any]:
    """A callback that takes the second half of the batch away after the first step."""
    if step == 0 and pipeline.do_classifier_free_guidance:
        pipeline._guidance_scale = 0.0
        tensors["prompt_embeds"] = tensors["prompt_embeds"].chunk(2)[-1]
    return tensors


def guide_in_part(pipeline: Any) -> None:
    pipeline.guider = pipeline.guider.new(start=0.3, stop=0.8)


def tile_wan(pipeline: Any) -> None:
    pipeline.vae.enable_tiling(
        tile_sample_min_height=16, tile_sample_min_width=16, tile_sample_stride_height=8, tile_sample_stride_width=8
    )


def two(controlnet: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: [controlnet(), controlnet()]


CASES: dict[str, Case] = {
    "StableDiffusionControlNetPipeline with two ControlNets": Case(
        of("StableDiffusionControlNetPipeline", SD, controlnet=two(controlnet_sd), **SAFE), {"image": [picture(), picture()]}
    ),
    "StableDiffusionControlNetPipeline with a ControlNet for some steps": Case(
        of("StableDiffusionControlNetPipeline", SD, controlnet=controlnet_sd, **SAFE),
        {"image": picture(), "control_guidance_end": 0.5, "guess_mode": True},
    ),
    "StableDiffusionXLControlNetPipeline with two ControlNets": Case(
        of("StableDiffusionXLControlNetPipeline", XL, controlnet=two(controlnet_xl), add_watermarker=False),
        {"image": [picture(), picture()]},
    ),
    "StableDiffusion3ControlNetPipeline with two ControlNets": Case(
        of(
            "StableDiffusion3ControlNetPipeline",
            SD3,
            controlnet=lambda: diffusers.SD3MultiControlNetModel([controlnet_sd3(), controlnet_sd3()]),
        ),
        {"control_image": [picture(), picture()], **SIZED, "controlnet_conditioning_scale": [1.0, 0.5]},
    ),
    "FluxControlNetPipeline with two ControlNets": Case(
        of("FluxControlNetPipeline", "flux", controlnet=two(flux_controlnet)),
        {"control_image": [picture(), picture()], **SIZED, "controlnet_conditioning_scale": [1.0, 0.5]},
    ),
    "StableDiffusionPipeline with an IP-Adapter": Case(
        changed(of("StableDiffusionPipeline", SD, image_encoder=vision, feature_extractor=processor, **SAFE), add_ip_adapter),
        {**SIZED, "ip_adapter_image": picture()},
    ),
    "StableDiffusionPipeline with a safety checker": Case(
        of("StableDiffusionPipeline", SD, safety_checker=safety_checker, feature_extractor=processor), SIZED
    ),
    "StableDiffusionPipeline with tiled decoding": Case(
        stable_diffusion(lambda pipeline: pipeline.vae.enable_tiling()), {"height": 80, "width": 64}
    ),
    "StableDiffusionPipeline with sliced decoding": Case(
        stable_diffusion(lambda pipeline: pipeline.vae.enable_slicing()), {**SIZED, "num_images_per_prompt": 2}
    ),
    "StableDiffusionImg2ImgPipeline with tiled encoding": Case(
        changed(of("StableDiffusionImg2ImgPipeline", SD, **SAFE), lambda pipeline: pipeline.vae.enable_tiling()),
        {"image": picture(64), "strength": 0.7},
        steps=4,
    ),
    "WanPipeline with tiled decoding": Case(
        changed(wan, tile_wan), {"height": 32, "width": 32, "num_frames": 5, "max_sequence_length": 16}
    ),
    "StableDiffusionPipeline with Heun's method": Case(
        of("StableDiffusionPipeline", SD, scheduler=diffusers.HeunDiscreteScheduler, **SAFE), SIZED
    ),
    "StableDiffusionXLPipeline with KDPM2": Case(
        of("StableDiffusionXLPipeline", XL, scheduler=diffusers.KDPM2DiscreteScheduler, add_watermarker=False), SIZED
    ),
    "StableDiffusion3Pipeline with Heun's method": Case(
        of("StableDiffusion3Pipeline", SD3, scheduler=diffusers.FlowMatchHeunDiscreteScheduler), SIZED
    ),
    "Lumina2Pipeline with guidance in some steps": Case(shrunk("lumina-image-2.0"), {**LARGE, "cfg_trunc_ratio": 0.5}, steps=4),
    "StableDiffusionPipeline with guidance in some steps": Case(
        partial(tiny.make, SD),
        {**SIZED, "callback_on_step_end": stop_guiding, "callback_on_step_end_tensor_inputs": ["prompt_embeds"]},
    ),
    "Flux2KleinPipeline with a distilled model": Case(shrunk("flux.2-klein-4b"), {**LARGE, **LAYERS}, guidance_costs=False),
    "HunyuanImagePipeline with guidance in some steps": Case(
        changed(hunyuan_image, guide_in_part), LARGE, make_unguided=partial(hunyuan_image, guided=False), steps=5
    ),
    "StableDiffusionPipeline with fused projections": Case(
        stable_diffusion(lambda pipeline: pipeline.fuse_qkv_projections()), SIZED
    ),
    "StableDiffusionPipeline with FreeU": Case(
        stable_diffusion(lambda pipeline: pipeline.enable_freeu(s1=0.9, s2=0.2, b1=1.5, b2=1.6)),
        SIZED,
    ),
    "StableDiffusionPipeline with token slices": Case(
        stable_diffusion(lambda pipeline: pipeline.enable_attention_slicing(1)), SIZED
    ),
}
