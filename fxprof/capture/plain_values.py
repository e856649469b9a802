"""Plain values: Python can see all of such a value, and nothing can change it.

Calls, modules and states are told apart by these rules: a plain value by itself, a container by its contents. The rule for
any other value differs from one use to the next, so each user passes its own to `token_of`.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Container, Iterable
from enum import Enum
from typing import Any

import numpy as np
import torch

_BY_VALUE = frozenset({bool, int, str, bytes, type(None)})
"""Classes whose values are equal where they print the same. A float need not be: nan differs from itself."""
_OF_NUMPY = frozenset(kind for kind in np.sctypeDict.values() if issubclass(kind, (np.number, np.bool_)))
_PLAIN = (
    _BY_VALUE
    | {float, complex, range, type(Ellipsis)}
    | {torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format}
    | _OF_NUMPY
)
_CLASSES: tuple[type, ...] = tuple(_PLAIN)  # type: ignore[arg-type]
NUMBERS = (int, float, complex, np.number)
"""Classes of numbers; truth values belong to them in Python."""

CONTAINERS = (list, tuple, dict, set, frozenset, deque)
"""Classes of values that are told apart by their contents."""
CHANGEABLE = frozenset({list, dict, set, OrderedDict, defaultdict, Counter, deque})
"""Containers that can be copied and filled again, unless their class is derived from one of these."""


def is_plain_value(value: Any) -> bool:
    """Whether a value is plain. A value of a derived class is not: it may hold more than it shows."""
    return type(value) in _PLAIN or issubclass(type(value), Enum)  # `isinstance` would ask the value itself, too


def is_plain_or_derived(value: Any) -> bool:
    """Whether a value is plain or of a class derived from a plain one, where such values act like their bases."""
    return is_plain_value(value) or isinstance(value, _CLASSES)


def key_of_value(value: Any) -> tuple[Any, ...]:
    """A key that tells a plain value apart from all others."""
    kind = type(value)
    if kind in _BY_VALUE:
        return (kind, value)
    if issubclass(kind, Enum):
        return (kind, value.name or repr(value.value))  # a flag of several, or of none, may have no name
    return (kind, repr(value))


def values_in(container: Any) -> Iterable[Any]:
    """The values in a container; of a dictionary, not its keys."""
    return container.values() if isinstance(container, dict) else container


def token_of(
    value: Any,
    depth: int,
    other: Callable[[Any, int], tuple[Any, ...]],
    *,
    derived: bool = True,
    most: int | None = None,
    ignored: Container[Any] = (),
) -> tuple[Any, ...]:
    """A key that tells a value apart, including the contents of containers.

    Args:
        value: any value.
        depth: the number of nested containers to look into.
        other: makes the key of any other value; it gets the remaining depth, to look into values itself.
        derived: whether a value of a derived class has the key of its base class's values.
        most: the number of items above which a container gets its key from `other`.
        ignored: keys of dictionaries without meaning.
    """
    if is_plain_or_derived(value) if derived else is_plain_value(value):
        return key_of_value(value)
    is_container = isinstance(value, CONTAINERS) if derived else type(value) in CONTAINERS
    if depth <= 0 or not is_container or (most is not None and len(value) > most):
        return other(value, depth)
    parts = value
    if isinstance(value, dict):
        parts = [part for pair in value.items() if pair[0] not in ignored for part in pair]
    tokens = [token_of(part, depth - 1, other, derived=derived, most=most, ignored=ignored) for part in parts]
    if isinstance(value, (set, frozenset)):
        tokens.sort(key=repr)  # their order differs from one process to the next
    return (type(value), *tokens)


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are one object or equal, in containers too."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple, deque)):
        return len(one) == len(other) and all(is_same(*pair) for pair in zip(one, other, strict=True))
    if isinstance(one, (set, frozenset)):
        return bool(one == other)
    return is_plain_or_derived(one) and key_of_value(one) == key_of_value(other)
