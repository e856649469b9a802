"""State of modules besides parameters: flags, numbers, caches, and the objects that modules work with."""

from __future__ import annotations

from collections import deque
from enum import Enum
from types import ModuleType
from typing import Any

import torch
from torch import nn

from fxprof.capture.hooks import made_attributes
from fxprof.capture.iterators import ITERATORS
from fxprof.capture.plain_values import CHANGEABLE, CONTAINERS, NUMBERS, is_plain_value, key_of_value, values_in
from fxprof.capture.random_numbers import GENERATORS

Snapshot = list[tuple[Any, dict[str, Any], dict[str, Any]]]
"""Each holder of attributes, with the attributes and the contents of containers among them."""


def settings_of(module: nn.Module) -> tuple[tuple[Any, ...], ...]:
    """The plain attributes of a module, of its parts and of the objects that they work with.

    A pipeline can change them from one call to the next: a layer that is only switched on in the first steps, the scale of an
    adapter. Then the same arguments make another graph.
    """
    return tuple(
        (type(holder), *((name, key_of_value(value)) for name, value in vars(holder).items() if is_plain_value(value)))
        for holder in _holders(module)
    )


def snapshot(module: nn.Module) -> Snapshot:
    """State that a module could change about itself: attributes, and the contents of containers among them."""
    return [
        (part, dict(vars(part)), {name: value.copy() for name, value in vars(part).items() if type(value) in CHANGEABLE})
        for part in _holders(module)
    ]


def _holders(module: nn.Module) -> list[Any]:
    """The modules, and the plain objects that they work with, such as attention processors."""
    holders: dict[int, Any] = {}
    for part in module.modules():
        holders[id(part)] = part
        for value in vars(part).values():
            if type(value) not in _USUAL and (
                hasattr(value, "__dict__")
                and not isinstance(value, _NOT_HOLDERS)
                and not callable(getattr(value, "__get__", None))
            ):
                holders.setdefault(id(value), value)
    return list(holders.values())


_USUAL = {bool, int, float, str, type(None), tuple, *CHANGEABLE}
"""Types of most attributes: not examining these further makes this several times faster, and it runs at every call."""
_NOT_HOLDERS = (nn.Module, torch.Tensor, type, ModuleType, Enum, *CHANGEABLE)


def kept_since(before: Snapshot) -> str:
    """The first attribute in which a module kept a tensor or a number from the call, or "".

    Flags and hooks that a first call sets up do not count: every call is captured from the state before it.
    """
    for part, attributes, contents in before:
        now = vars(part)
        made = made_attributes(part) if isinstance(part, nn.Module) else ()
        for name in now.keys() | attributes.keys():
            if name in made:
                continue
            old = contents.get(name, attributes.get(name))
            if (name not in attributes or now.get(name) is not old) and _differ(now.get(name), old):
                return f"{type(part).__name__}.{name}"
    return ""


def _differ(now: Any, old: Any) -> bool:
    """Whether two values of an attribute differ in a tensor or a number."""
    if now is old:
        return False
    if type(now) is type(old) and isinstance(now, (list, tuple, deque)) and len(now) == len(old):
        return any(_differ(one, other) for one, other in zip(now, old, strict=True))
    if isinstance(now, (set, frozenset)) and isinstance(old, (set, frozenset)) and now == old:
        return False
    if isinstance(now, dict) and isinstance(old, dict):
        return any(_differ(now.get(key), old.get(key)) for key in now.keys() | old.keys())
    return any(_carries_state(value) for value in (now, old)) and not _are_equal_numbers(now, old)


def _are_equal_numbers(now: Any, old: Any) -> bool:
    return isinstance(now, NUMBERS) and isinstance(old, NUMBERS) and bool(now == old)


def _carries_state(value: Any) -> bool:
    if isinstance(value, CONTAINERS):
        return any(map(_carries_state, values_in(value)))
    return isinstance(value, (torch.Tensor, *NUMBERS, *GENERATORS, *ITERATORS)) and not isinstance(value, bool)


def restore(before: Snapshot) -> None:
    """Put everything back to the state of the snapshot."""
    for part, attributes, contents in before:
        part.__dict__.clear()
        part.__dict__.update(attributes)
        for name, value in contents.items():
            held = attributes[name]
            held.clear()
            held.extend(value) if isinstance(held, (list, deque)) else held.update(value)
