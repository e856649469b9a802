"""Weights that are not stored as one number each: the count of numbers that they represent, and their bytes."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import torch
from torch import nn

from fxprof.capture.layouts import stored_bytes

_PLAIN = (torch.Tensor, nn.Parameter, nn.Buffer)


class Weight(NamedTuple):
    """One parameter of a module."""

    identity: int
    """Equal for parameters that are shared."""
    elements: int
    """Numbers that the parameter represents, unpacked."""
    stored_bytes: int
    """Bytes of the parameter, with its scales and tables."""


def weights_of(part: nn.Module) -> Iterator[Weight]:
    """The parameters that a module holds itself, including packed ones of torch's quantised modules."""
    if isinstance(part, torch.jit.ScriptModule):
        for _, scripted in part.named_parameters(recurse=False):
            yield Weight(scripted.data_ptr() or id(scripted), scripted.numel(), _bytes(scripted))
        return
    for tensor in part._parameters.values():  # noqa: SLF001 - one module's own
        if tensor is not None:
            yield Weight(id(tensor), _elements(tensor), _stored(tensor))
    scales = getattr(vars(part).get("state"), "SCB", None)  # of bitsandbytes: its layer puts them there at its first call
    if isinstance(scales, torch.Tensor):
        yield Weight(id(scales), 0, _bytes(scales))
    for value in vars(part).values():
        for packed in _packed(value):
            yield Weight(id(value), packed.numel(), _bytes(packed))


def carries_more(tensor: torch.Tensor) -> bool:
    """Whether a tensor's class gives its bytes a meaning that a trace of plain tensors would miss."""
    return type(tensor) not in _PLAIN and not hasattr(tensor, "__tensor_flatten__") and not isinstance(tensor, _UNINITIALISED)


_UNINITIALISED = (nn.UninitializedParameter, nn.UninitializedBuffer)


def unpacked(value: Any) -> tuple[Any, ...] | None:
    """Weight and bias of a packed parameter of torch's quantised operators; None for anything else."""
    if not isinstance(value, torch.ScriptObject) or not hasattr(value, "unpack"):
        return None
    held = value.unpack()
    return held if isinstance(held, tuple) else (held,)


def _packed(value: Any) -> Iterator[torch.Tensor]:
    for held in unpacked(value) or ():
        if isinstance(held, torch.Tensor):
            yield held


def _elements(tensor: torch.Tensor) -> int:
    """The count of numbers that a parameter represents: quantised ones keep their old shape."""
    if isinstance(tensor, _UNINITIALISED):
        return 0
    state = getattr(tensor, "quant_state", None)  # of bitsandbytes
    shape = getattr(state, "shape", None) or getattr(tensor, "quant_shape", None)  # and of GGUF in diffusers
    return prod(shape) if shape is not None else tensor.numel()


def _stored(tensor: torch.Tensor) -> int:
    """Bytes of a parameter and of the tensors among its attributes."""
    if isinstance(tensor, _UNINITIALISED):
        return 0
    if hasattr(tensor, "__tensor_flatten__"):
        return sum(_stored(getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0])
    seen: set[int] = set()
    carried = (item for value in vars(tensor).values() for item in _tensors(value, seen))
    return _bytes(tensor) + sum(_bytes(item) for item in carried if not _is_memory_of(item, tensor))


def _is_memory_of(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether a tensor is only another view of the bytes of one."""
    return not one.is_meta and one.numel() > 0 and one.data_ptr() == other.data_ptr()


def _tensors(value: Any, seen: set[int]) -> Iterator[torch.Tensor]:
    if id(value) in seen or isinstance(value, nn.Module):
        return
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        yield value
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        for item in vars(value).values():
            yield from _tensors(item, seen)


def _bytes(tensor: torch.Tensor) -> int:
    return stored_bytes(tensor)
