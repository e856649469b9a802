"""Iterators in the user's objects: a rehearsal advances duplicates, so that the user's own stay at their position."""

from __future__ import annotations

import copy
import itertools
import warnings
from collections import deque
from collections.abc import Callable
from types import GeneratorType
from typing import Any, NoReturn, Self

from torch.utils import _pytree as pytree

from fxprof.errors import CaptureError

_ITERATED: tuple[Any, ...] = ([], (), range(0), {}, set(), deque(), "", b"", bytearray(), {}.values(), {}.items())
_OF_CONTAINERS: tuple[type, ...] = (*(type(iter(held)) for held in _ITERATED), type(reversed([])))
_TEE: type[Any] = type(itertools.tee(())[0])
_OF_OTHERS: tuple[type, ...] = (
    map,
    filter,
    zip,
    enumerate,
    _TEE,
    *(kind for kind in vars(itertools).values() if isinstance(kind, type)),
)
"""Classes of iterators that mostly go over other iterators."""
_OF_TUPLES: type = type(iter(()))
ITERATORS: tuple[type, ...] = (*_OF_CONTAINERS, *_OF_OTHERS)
"""All classes of iterators that are exchanged for duplicates; generators are not among them."""


class Standing:
    """A stand-in for an iterator that cannot be copied or reset, such as a generator of Python's."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> NoReturn:
        self.send()

    def send(self, *_: Any) -> NoReturn:
        """Refuse to advance.

        Raises:
            CaptureError: always; names the iterator.
        """
        what = f"it advances the {self._name}, which cannot be reset afterwards"
        raise CaptureError(what, "let it keep a list or an iterator over one, or count in a number")

    throw = close = send


def duplicate(iterator: Any) -> Any:
    """A new iterator that gives the same items from the present position of another one, which stays there."""
    if not isinstance(iterator, (*_OF_OTHERS, _OF_TUPLES)):
        return copy.copy(iterator)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from Python 3.14 on, most of them no longer report their position
            held: Any = copy.copy(iterator) if isinstance(iterator, _TEE) else iterator
            make, given, *state = held.__reduce__()
    except TypeError:
        return Standing(f"iterator {type(iterator).__name__}")
    return _remade(make, given, state)


def _remade(make: Callable[..., Any], given: tuple[Any, ...], state: list[Any]) -> Any:
    parts = [_with_duplicates(item) for item in given]
    leaves = pytree.tree_leaves(parts)
    if any(isinstance(item, (Standing, GeneratorType)) for item in leaves):
        return Standing(f"iterator {getattr(make, '__name__', 'of itertools')}")
    made = make(*parts)
    if state and state[0] is not None:
        made.__setstate__(_with_duplicates(state[0]))
    return made


def _with_duplicates(value: Any) -> Any:
    """A value with duplicates of its iterators, also of those in a tuple."""
    if type(value) is tuple:
        return tuple(map(_with_duplicates, value))
    return duplicate(value) if isinstance(value, ITERATORS) else value
