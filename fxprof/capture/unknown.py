"""Values that a rehearsal cannot know: which tensors hold them, and where a program reads one.

Weights are zeros and captured calls are answered with zeros, so all that is computed from these is *unknown*: only its shape
is true. A tensor made of known ones (a mask, a timestep, a token) is known. Where Python reads an unknown value and then
decides by it, what follows is a guess, which a result has to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import _pytree as pytree

from fxprof.capture.layouts import SPARSE, values_of

_aten = torch.ops.aten

_MARK = "_fxprof_unknown"

_SHAPES_ONLY = frozenset(
    {f"aten::{name}_like" for name in ("empty", "zeros", "ones", "full", "rand", "randn", "randint")}
    | {f"aten::new_{name}" for name in ("empty", "zeros", "ones", "full", "empty_strided")}
    | {f"aten::sym_{name}" for name in ("size", "numel", "stride", "storage_offset")}
)
"""Operators whose results do not depend on the values of what they are given."""

_READING = frozenset({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape})
_ALSO_READING = frozenset({"aten::equal", "aten::is_nonzero", "aten::allclose", "aten::_is_all_true", "aten::_is_any_true"})
_DECIDED_BY = {"aten::masked_select": "mask", "aten::repeat_interleave": "repeats", "aten::index": "indices"}
"""Of operators that read, the one argument that decides the size of the result."""


def mark(tensor: torch.Tensor) -> torch.Tensor:
    """Note that the values of a tensor, and of all views of it, are unknown."""
    storage = _storage(tensor)
    if storage is not None:
        setattr(storage, _MARK, True)
    return tensor


def is_unknown(tensor: torch.Tensor) -> bool:
    """Whether the values of a tensor are unknown."""
    return getattr(_storage(tensor), _MARK, False)


def _storage(tensor: torch.Tensor) -> Any:
    try:
        return (values_of(tensor) if tensor.layout in SPARSE else tensor).untyped_storage()
    except (NotImplementedError, RuntimeError):  # a subclass without memory of its own
        return None


def tensors_in(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    """The tensors among arguments or results, and in lists of them."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from tensors_in(value)


def follow(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
    """Mark what an operator computed from unknown values, after it was given some."""
    schema = function._schema  # noqa: SLF001 - there is no other way to ask
    if schema.name in _SHAPES_ONLY:
        return
    for tensor in tensors_in((result,)):
        mark(tensor)
    if schema.is_mutable:
        named = dict(zip((item.name for item in schema.arguments), args, strict=False)) | kwargs
        written = [item.name for item in schema.arguments if item.alias_info is not None and item.alias_info.is_write]
        for tensor in tensors_in(named.get(name) for name in written):
            mark(tensor)


def reads(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an operator hands an unknown value to Python, or makes a size of one."""
    schema = function._schema  # noqa: SLF001 - as above
    if not (_READING & set(function.tags) or schema.name in _ALSO_READING):
        return False
    decisive = _DECIDED_BY.get(schema.name)
    named = dict(zip((item.name for item in schema.arguments), args, strict=False)) | kwargs
    values = [named[decisive]] if decisive in named else list(named.values())
    tensors = list(tensors_in(values))
    if schema.name == "aten::index":
        tensors = [tensor for tensor in tensors if tensor.dtype in (torch.bool, torch.uint8)]
    return any(map(is_unknown, tensors))


OTHERS = (LARGER, SMALLER) = (1, 2)
"""Which other values Python is to read: beyond every threshold above, or below, those that there are."""


def other(value: Any, others: int) -> Any:
    """Another value that Python could have read in the place of one: what a test by it would decide the other way.

    Numbers of things are few first, for a program may do something as often, and then more.
    """
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1 if others == LARGER else value + _MANY
    return _far(others) if isinstance(value, float) else value


_FAR = 1e9
_MANY = 1000


def _far(others: int) -> float:
    return _FAR if others == LARGER else -_FAR


def other_contents(tensor: torch.Tensor, others: int) -> torch.Tensor:
    """The same for a whole tensor; numbers of things change places, so that their sum stays."""
    if tensor.dtype is torch.bool:
        return ~tensor
    if tensor.is_floating_point():
        return tensor + _far(others)
    return tensor.flatten().flip(0).reshape(tensor.shape)


@contextmanager
def watched_readers(read: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Have `read` told, and change, what Python reads as a whole: by `tolist` and `numpy`, which no dispatcher sees."""
    originals = {name: getattr(torch.Tensor, name) for name in ("tolist", "numpy", "__array__")}
    own = {name: name in vars(torch.Tensor) for name in originals}

    def watched(original: Callable[..., Any]) -> Callable[..., Any]:
        def reader(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            return original(read(tensor), *args, **kwargs)

        return reader

    for name, original in originals.items():
        setattr(torch.Tensor, name, watched(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            if own[name]:
                setattr(torch.Tensor, name, original)
            else:
                delattr(torch.Tensor, name)


def marked_result(result: Any) -> Any:
    """What a call answered, all tensors in it marked."""
    for leaf in pytree.tree_leaves(result):
        if isinstance(leaf, torch.Tensor):
            mark(leaf)
    return result
