"""What a call returned, without its memory, so that it can be returned again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from fxprof.capture.hollow import fresh_zeros


@dataclass(frozen=True, slots=True)
class Given:
    """One of the arguments."""

    position: int
    """Its place among the leaves of the arguments."""


@dataclass(frozen=True, slots=True)
class Zeros:
    """A tensor that the call made."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def made(item: Any, given: Sequence[Any]) -> Any:
    """The leaf that a description stands for; plain values stand for themselves."""
    if isinstance(item, Given):
        return given[item.position]
    return fresh_zeros(item.shape, item.dtype) if isinstance(item, Zeros) else item
