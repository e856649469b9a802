"""The sizes of a run, from the calls of the pipeline: for the header of a report, never for a count."""

from __future__ import annotations

from typing import TypeGuard

from fxprof.result.records import Geometry
from fxprof.trace import Tensor, Trace
from fxprof.trace.captured import Capture, CapturedCall, CapturedComponent

_DECODERS = ("decoder", "post_quant_conv")
"""Names of decoding modules in the autoencoders of diffusers, in the order of their calls."""
_AUTOENCODERS = ("vae", "movq", "vqgan", "vqvae")
_SPATIAL = 4
"""Dimensions of a batch of images; a video has one more."""


def geometry_of(capture: Capture) -> Geometry:
    """The geometry of a captured run; sizes that the calls do not show stay None or empty."""
    denoiser = _denoiser(capture)
    calls = _calls(denoiser) if denoiser else 0
    batch = _batch(denoiser)
    # Of an autoencoder that works in tiles, its calls show the tiles alone.
    whole = [] if any(item.tiling for item in capture.components) else capture.components
    decoded = [call for item in whole for call in item.calls if _decodes(item, call)]
    return Geometry(
        pixels_asked=_asked(capture),
        pixels_computed=_pixels(decoded[-1].trace) if decoded else None,
        latents=_first_shape(decoded[0].trace) if decoded else None,
        text_tokens=tuple((item.name, lengths) for item in capture.components if (lengths := _text_lengths(item))),
        attention=tuple((item.name, longest) for item in capture.components if (longest := _longest_attention(item))),
        denoiser=denoiser.name if denoiser else "",
        denoiser_calls=calls,
        denoiser_batch=batch,
        guidance=_guidance(capture, calls, batch),
        tiling=any(item.tiling for item in capture.components),
        slicing=any(item.slicing for item in capture.components),
    )


def _denoiser(capture: Capture) -> CapturedComponent | None:
    """The most often called component, and the largest one of several. A single module has no denoiser."""
    if "images" not in capture.workload:
        return None
    candidates = [item for item in capture.components if item.calls and item.modules and not _text_lengths(item)]
    candidates = [item for item in candidates if not any(_decodes(item, call) for call in item.calls)]
    return max(candidates, key=lambda item: (_calls(item), _params(item)), default=None)


def _calls(component: CapturedComponent) -> int:
    return component.entered or sum(call.count for call in component.calls)


def _params(component: CapturedComponent) -> int:
    return sum(module.params for module in component.modules)


def _decodes(component: CapturedComponent, call: CapturedCall) -> bool:
    return component.name in _AUTOENCODERS and call.entry.split(".")[0] in _DECODERS


def _asked(capture: Capture) -> tuple[int, int] | None:
    height, width = capture.workload.get("height"), capture.workload.get("width")
    if _is_number(height) and _is_number(width):
        return height, width
    return capture.image_size


def _is_number(value: object) -> TypeGuard[int]:
    """Whether a value of the workload, which may come from a file, is a size or a count."""
    return type(value) is int and value >= 0


def _tensors(trace: Trace) -> list[tuple[int, ...]]:
    tensors = [value for _, value in trace.inputs if isinstance(value, Tensor)]
    return [tuple(int(size) for size in tensor.shape if isinstance(size, int)) for tensor in tensors]


def _first_shape(trace: Trace) -> tuple[int, ...] | None:
    return next(iter(_tensors(trace)), None)


def _batch(component: CapturedComponent | None) -> int:
    shapes = [shape for call in component.calls for shape in _tensors(call.trace)[:1]] if component else []
    return next((shape[0] for shape in shapes if shape), 0)


def _pixels(trace: Trace) -> tuple[int, int] | None:
    images = [value for op in trace.ops[-1:] for value in op.outputs if isinstance(value, Tensor)]
    shape = images[0].shape if images else ()
    if len(shape) < _SPATIAL or not isinstance(shape[-1], int) or not isinstance(shape[-2], int):
        return None
    return shape[-2], shape[-1]


def _text_lengths(component: CapturedComponent) -> tuple[int, ...]:
    lengths = [
        value.shape[-1]
        for call in component.calls
        for name, value in call.trace.inputs
        if name == "input_ids" and isinstance(value, Tensor) and value.shape
    ]
    return tuple(dict.fromkeys(length for length in lengths if isinstance(length, int)))


def _longest_attention(component: CapturedComponent) -> tuple[int, int] | None:
    """Query and key length of the largest attention that is one operator; attention written as products is not recognised."""
    lengths = [
        pair
        for call in component.calls
        for op in call.trace.distinct()
        if "attention" in op.target and (pair := _attention(dict(op.args)))
    ]
    return max(lengths, key=lambda pair: pair[0] * pair[1], default=None)


def _attention(arguments: dict[str, object]) -> tuple[int, int] | None:
    query, key = arguments.get("query"), arguments.get("key")
    if not isinstance(query, Tensor) or not isinstance(key, Tensor):
        return None
    pair = query.shape[-2:-1] + key.shape[-2:-1]
    return (pair[0], pair[1]) if len(pair) == 2 and isinstance(pair[0], int) and isinstance(pair[1], int) else None  # noqa: PLR2004 - query and key


def _guidance(capture: Capture, calls: int, batch: int) -> str:
    if capture.guided is False:
        return "off"
    images, steps = capture.workload.get("images"), capture.workload.get("steps")
    if _is_number(images) and batch == 2 * images:
        return "in the batch"
    if _is_number(steps) and calls >= 2 * steps - 1 and steps > 1:
        return "as separate passes"
    return ""
