"""Results of a call without their memory, so that they can be returned again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from fxprof.capture.zero_weights import fresh_zeros


@dataclass(frozen=True, slots=True)
class Given:
    """One of the arguments."""

    position: int
    """Its position among the leaves of the arguments."""


@dataclass(frozen=True, slots=True)
class Zeros:
    """A tensor that the call made."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class NotCachedError(BaseException):
    """Somebody looked at a result that is not cached. It is no `Exception`, so that no model's Python catches it as its own."""


class NotCached:
    """The stand-in for an object that a call returned and that is not cached, such as a key-value cache.

    Most pipelines never look at it. It can be passed on, copied deeply and compared with None by `is`; every other use raises
    `NotCachedError`, also a question for its class.
    """

    __slots__ = ()

    def __deepcopy__(self, memo: object) -> NotCached:
        """Return the object itself, which is as good as a copy."""
        return self

    def __getattribute__(self, name: str) -> Any:
        """Allow nothing but copying."""
        if name != "__deepcopy__":
            raise NotCachedError(name)
        return object.__getattribute__(self, name)


def _look(self: NotCached, *_: object) -> Any:  # noqa: ARG001  # called as a method
    raise NotCachedError


_LOOKS = "bool len iter next getitem setitem contains call eq ne hash repr str setattr delattr"
for _name in _LOOKS.split():
    setattr(NotCached, f"__{_name}__", _look)  # Python looks for these at the class, not by __getattribute__


def made(item: Any, given: Sequence[Any]) -> Any:
    """The leaf for an item of a description; a plain value is returned itself."""
    if isinstance(item, Given):
        return given[item.position]
    return fresh_zeros(item.shape, item.dtype) if isinstance(item, Zeros) else item
