"""Arguments as objects that a pipeline or a module takes: placeholders made real, tensors brought to the CPU."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image

from fxprof.capture.translate import dtype_name
from fxprof.source.stand_ins import StandIn


def real(value: Any) -> Any:
    """The object that a pipeline gets for an argument."""
    if isinstance(value, StandIn):
        return _made(value)
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if type(value) in (list, tuple):
        return type(value)(real(item) for item in value)
    if type(value) is dict:
        return {key: real(item) for key, item in value.items()}
    return value


def described(value: Any) -> str:
    """The placeholder for an object in words where there is one, otherwise the name of its type."""
    if isinstance(value, torch.Tensor):
        return str(StandIn("tensor", tuple(value.shape), dtype_name(value.dtype)))
    if isinstance(value, Image.Image):
        return str(StandIn("mask" if value.mode in {"1", "L"} else "image", value.size))
    return type(value).__name__


def plain(value: Any) -> int | float | str | bool | None:
    """An argument in the form that a profile holds; images and tensors as placeholders of their size."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(str(plain(item)) for item in value)}]"
    if type(value) is dict:
        return f"{{{', '.join(f'{key}: {plain(item)}' for key, item in value.items())}}}"
    return described(value)


def _made(stand_in: StandIn) -> Any:
    if stand_in.kind == "tensor":
        return torch.zeros(stand_in.sizes, dtype=getattr(torch, stand_in.dtype))
    if stand_in.kind == "video":
        frames, width, height = stand_in.sizes
        return [Image.new("RGB", (width, height)) for _ in range(frames)]
    width, height = stand_in.sizes
    return Image.new("L", (width, height), 255) if stand_in.kind == "mask" else Image.new("RGB", (width, height))
