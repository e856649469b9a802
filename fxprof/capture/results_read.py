"""The results of a call that somebody reads: a pipeline that takes one hidden state of many ignores the others.

The memory of each result in an answer carries a note about its origin. Every use of a tensor is recorded with it: an operator
that runs, a call that gets it as an argument, Python that asks for its values, and the receiver at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from fxprof.capture.unknown import storage_of

_NOTE = "_fxprof_result"
_DEEPEST = 4


def watch(tensor: torch.Tensor, read: set[int], position: int) -> None:
    """Have `position` added to `read` as soon as somebody takes the tensor, or a view of it."""
    storage = storage_of(tensor)
    if storage is not None:
        setattr(storage, _NOTE, (read, position))


def taken(tensors: Iterable[torch.Tensor]) -> None:
    """Record that somebody takes these tensors."""
    for tensor in tensors:
        note = getattr(storage_of(tensor), _NOTE, None)
        if note is not None:
            read, position = note
            read.add(position)


def tensors_of(value: Any, depth: int = _DEEPEST) -> Iterator[torch.Tensor]:
    """The tensors in a value, in containers and in attributes of objects."""
    for leaf in pytree.tree_leaves(value):
        if isinstance(leaf, torch.Tensor):
            yield leaf
        elif depth and hasattr(leaf, "__dict__") and not isinstance(leaf, (type, nn.Module)):
            yield from tensors_of(list(vars(leaf).values()), depth - 1)
