"""Modules without data: every parameter is a real CPU tensor of the right shape that reads as zeros and takes no memory.

All of them are views of one anonymous memory map that nobody writes to, so the operating system backs it with its zero
page. Unlike meta or fake tensors they can be read, converted and computed with by any Python code of a pipeline.
"""

from __future__ import annotations

import math
import mmap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from fxprof import limits
from fxprof.capture.unknown import mark

_SMALL_BUFFER = 1 << 16
"""Elements up to which a buffer is converted with its values."""


class ZeroPages:
    """A source of zero tensors that share one memory map, which grows by being replaced."""

    def __init__(self) -> None:
        """Begin without a map."""
        self._map: mmap.mmap | None = None

    def tensor(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """A contiguous zero tensor on the CPU with a storage object of its own."""
        count = 1
        for size in shape:
            count *= size
        if count == 0:
            return torch.empty(shape, dtype=dtype)
        length = count * dtype.itemsize
        if self._map is None or len(self._map) < length:
            self._map = mmap.mmap(-1, max(length, mmap.PAGESIZE))
        return mark(torch.frombuffer(self._map, dtype=torch.uint8, count=length).view(dtype).view(shape))

    def like(self, tensor: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
        """A zero tensor, or parameter, of the same shape, and of the same type unless another is given."""
        made = self.tensor(tuple(tensor.shape), dtype or tensor.dtype)
        return nn.Parameter(made, requires_grad=False) if isinstance(tensor, nn.Parameter) else made


PAGES = ZeroPages()

_LARGE = 1 << 16
"""Bytes above which a separate map pays off."""


def fresh_zeros(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Zeros that may be written to and whose values are unknown.

    A large tensor takes memory, and the time to clear it, only where somebody touches it. A tensor that is larger than the
    machine's address space is on the meta device.
    """
    length = math.prod(shape) * dtype.itemsize
    if length < _LARGE or not hasattr(mmap, "MAP_PRIVATE"):
        return mark(torch.zeros(shape, dtype=dtype))
    try:
        pages = mmap.mmap(-1, length, _PRIVATE)
    except (OSError, OverflowError, ValueError):
        return mark(torch.empty(shape, dtype=dtype, device="meta"))
    return mark(torch.frombuffer(pages, dtype=torch.uint8).view(dtype).view(shape))


_PRIVATE = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0) | getattr(mmap, "MAP_NORESERVE", 0)
"""Flags that set no memory aside for pages that nobody touches."""


def empty_out(module: nn.Module) -> nn.Module:
    """Replace the tensors of a module built on the meta device by zero tensors on the CPU, in place.

    Tied parameters stay tied. Plain attributes that hold tensors (tables made in a constructor) are replaced too.
    """
    made: dict[int, torch.Tensor] = {}

    def zero(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return made.setdefault(id(value), PAGES.like(value)) if value.is_meta else value
        if not _holds_meta(value):
            return value
        if isinstance(value, dict):
            return {key: zero(item) for key, item in value.items()}
        return type(value)(zero(item) for item in value)

    for part in module.modules():
        for table in (part._parameters, part._buffers):  # noqa: SLF001 - register_* refuses to replace without a check per entry
            for name, tensor in table.items():
                table[name] = zero(tensor)
        for name, value in vars(part).items():
            if name not in {"_parameters", "_buffers", "_modules"}:
                vars(part)[name] = zero(value)
    return module.eval()


def _holds_meta(value: object) -> bool:
    if type(value) is dict:
        value = list(value.values())
    if type(value) in (list, tuple):
        return any(_holds_meta(item) for item in value)  # type: ignore[attr-defined]
    return isinstance(value, torch.Tensor) and value.is_meta


@contextmanager
def building(dtype: torch.dtype) -> Iterator[None]:
    """Construct modules on the meta device, uninitialised, with `dtype` as the default; all is as before afterwards."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    initialisers = {name: function for name, function in vars(nn.init).items() if name.endswith("_") and callable(function)}
    try:
        vars(nn.init).update(dict.fromkeys(initialisers, _leave))  # they would take as long as the rest of the construction
        with torch.device("meta"), counted():
            yield
    finally:
        vars(nn.init).update(initialisers)
        torch.set_default_dtype(before)


class TooLargeError(ValueError):
    """A model would take more time or memory to build than any real one; the message is a sentence about it."""


@contextmanager
def counted() -> Iterator[None]:
    """Refuse more modules than any model has, and more time than any takes, until the end of the block."""
    before, end = nn.Module.__init__, time.monotonic() + limits.BUILT_SECONDS
    left = limits.BUILT_MODULES

    def initialise(module: nn.Module, *args: Any, **kwargs: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise TooLargeError(f"it is made of more than {limits.BUILT_MODULES:,} modules, more than any model has")
        if time.monotonic() > end:
            raise TooLargeError(f"building it takes more than {limits.BUILT_SECONDS} seconds, more than any model takes")
        before(module, *args, **kwargs)

    nn.Module.__init__ = initialise  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.__init__ = before  # type: ignore[method-assign]


class _Sizes(TorchDispatchMode):
    """Checks the sizes of tensors before operators make them."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor) and not leaf.is_meta]
        name = func._schema.name  # noqa: SLF001 - there is no other way to ask
        if not given or math.prod(tensor.numel() for tensor in given) > limits.BUILT_ELEMENTS:
            elements = max((tensor.numel() for tensor in _shapes_of(func, args, kwargs)), default=0)
            if elements > (limits.BUILT_SIZE if name in _LAZY else limits.BUILT_ELEMENTS):
                raise TooLargeError(f"it makes a tensor of {elements:,} elements, more than any model makes")
        return func(*args, **kwargs)


_LAZY = frozenset({"aten::empty", "aten::empty_strided", "aten::detach", "aten::view", "aten::expand", "aten::as_strided"})
"""Operators that take no memory, or none until somebody writes to it."""


def _shapes_of(func: Any, args: Any, kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
    """The results of an operator, without data; an empty list where torch cannot tell them."""
    on_meta = {name: value for name, value in kwargs.items() if name != "generator"}
    if any(item.name == "device" for item in func._schema.arguments):  # noqa: SLF001 - as above
        on_meta["device"] = torch.device("meta")
    moved, named = pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to("meta"), (args, on_meta))
    try:
        return [leaf for leaf in pytree.tree_leaves(func(*moved, **named)) if isinstance(leaf, torch.Tensor)]
    except (RuntimeError, NotImplementedError, TypeError):
        return []


def sizes_bounded() -> _Sizes:
    """Refuse tensors that would take all memory, where they are really made, until the end of the block."""
    return _Sizes()


def _leave(tensor: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return tensor


def convert(module: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
    """Do the work of `nn.Module._apply` for modules without data: learn the new type from one element, keep the zeros.

    Without this, `vae.to(torch.float32)` in a pipeline would allocate every weight.
    """
    made: dict[int, torch.Tensor] = {}
    for part in module.modules():
        for table in (part._parameters, part._buffers):  # noqa: SLF001 - as above
            for name, tensor in table.items():
                if tensor is not None:
                    table[name] = made.setdefault(id(tensor), _converted(tensor, change))  # type: ignore[assignment]
    return module


def _converted(tensor: torch.Tensor, change: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    if not isinstance(tensor, nn.Parameter) and tensor.numel() <= _SMALL_BUFFER:
        return change(tensor)
    dtype = change(torch.zeros(1, dtype=tensor.dtype)).dtype
    return tensor if dtype == tensor.dtype else PAGES.like(tensor, dtype)
