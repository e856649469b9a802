"""Weights as they are stored, also those that are not stored as one number each: shapes, element types, bytes."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import torch
from torch import nn

from fxprof.capture.layouts import memory_of, shape_of, stored_bytes
from fxprof.trace.weights import BUFFER, PARAMETER

_PLAIN = (torch.Tensor, nn.Parameter, nn.Buffer)


class Weight(NamedTuple):
    """One parameter or buffer of a module."""

    kind: str
    """`parameter` or `buffer`."""
    name: str
    """Its name in the module; "" for one that the module holds elsewhere."""
    identity: int
    """Equal for weights that are shared."""
    shape: tuple[int, ...]
    """The sizes that it represents, unpacked."""
    stored: tuple[torch.Tensor, ...]
    """The tensors that it is stored in: its values first, then scales and tables."""

    @property
    def elements(self) -> int:
        """Numbers that it represents."""
        return prod(self.shape) if self.stored else 0

    @property
    def stored_bytes(self) -> int:
        """Bytes of all its elements, with its scales and tables."""
        return sum(map(stored_bytes, self.stored))


def weights_of(part: nn.Module) -> Iterator[Weight]:
    """The parameters that a module holds itself, including packed ones of torch's quantised modules."""
    if isinstance(part, torch.jit.ScriptModule):
        for name, scripted in part.named_parameters(recurse=False):
            yield Weight(PARAMETER, name, scripted.data_ptr() or id(scripted), tuple(scripted.shape), (scripted,))
        return
    for name, tensor in part._parameters.items():  # noqa: SLF001 - one module's own
        if tensor is not None:
            yield _weight(PARAMETER, name, tensor)
    scales = getattr(vars(part).get("state"), "SCB", None)  # of bitsandbytes: its layer puts them there at its first call
    if isinstance(scales, torch.Tensor):
        yield Weight(PARAMETER, "SCB", id(scales), (0,), (scales,))
    for name, value in vars(part).items():
        for packed in _packed(value):
            yield Weight(PARAMETER, name, id(value), tuple(packed.shape), (packed,))


def buffers_of(part: nn.Module) -> Iterator[Weight]:
    """The buffers that a module holds itself, also those that are not saved with it."""
    named = part.named_buffers(recurse=False) if isinstance(part, torch.jit.ScriptModule) else part._buffers.items()  # noqa: SLF001 - as above
    for name, tensor in named:
        if tensor is not None:
            yield _weight(BUFFER, name, tensor)


def _weight(kind: str, name: str, tensor: torch.Tensor) -> Weight:
    return Weight(kind, name, id(tensor), _shape(tensor), tuple(_stored(tensor)))


class Storages:
    """The memory of weights, each storage once."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def parts(self, weight: Weight) -> tuple[tuple[str, int], ...]:
        """(element type, bytes) of the storages of a weight that no weight before it has; equal types are one part."""
        found: dict[str, int] = {}
        for tensor in weight.stored:
            for plain in (tensor,) if tensor.is_nested else memory_of(tensor):
                size = self._bytes(plain)
                if size:
                    dtype = str(plain.dtype).removeprefix("torch.")
                    found[dtype] = found.get(dtype, 0) + size
        return tuple(found.items())

    def _bytes(self, tensor: torch.Tensor) -> int:
        try:
            storage = tensor.untyped_storage()
            identity, size = storage._cdata, storage.nbytes()  # noqa: SLF001 - its address is 0 for every one without data
        except (NotImplementedError, RuntimeError):  # a subclass without memory of its own
            identity, size = id(tensor), stored_bytes(tensor)
        if identity in self._seen:
            return 0
        self._seen.add(identity)
        return size


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


def _shape(tensor: torch.Tensor) -> tuple[int, ...]:
    """The sizes that a parameter represents: quantised ones keep their old shape."""
    if isinstance(tensor, _UNINITIALISED):
        return (0,)
    state = getattr(tensor, "quant_state", None)  # of bitsandbytes
    shape = getattr(state, "shape", None) or getattr(tensor, "quant_shape", None)  # and of GGUF in diffusers
    return shape_of(tensor) if shape is None else tuple(shape)


def _stored(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """A parameter, or what it is made of, and the tensors among its attributes."""
    if isinstance(tensor, _UNINITIALISED):
        return
    if hasattr(tensor, "__tensor_flatten__"):
        for name in tensor.__tensor_flatten__()[0]:
            yield from _stored(getattr(tensor, name))
        return
    seen: set[int] = set()
    yield tensor
    for value in vars(tensor).values():
        yield from (item for item in _tensors(value, seen) if not _is_memory_of(item, tensor))


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
