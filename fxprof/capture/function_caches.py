"""Functions of models that cache their results (`functools.lru_cache`): during a capture, they compute each time.

The contents of such a cache outlive a capture. Filled by an export, it holds tensors without values, which make the module's
next run fail; filled by a rehearsal of a user's model, it holds zeros, and the user's next image would be made of them.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

from torch import nn

_Remembering = functools._lru_cache_wrapper  # noqa: SLF001 - the class of its results has no other name

Forget = Callable[[Iterable[nn.Module]], None]
"""Makes the functions of models cache nothing from now on."""


@contextmanager
def remembering_nothing() -> Iterator[Forget]:
    """Let functions of some models compute each time, until the end of the block; results cached before stay cached."""
    changed: list[tuple[Any, str, Any]] = []

    def forget(models: Iterable[nn.Module]) -> None:
        for owner in _owners(models):
            for name, value in list(vars(owner).items()):
                if _remembers(value):
                    changed.append((owner, name, value))
                    setattr(owner, name, _computing(value.__wrapped__))

    try:
        yield forget
    finally:
        for owner, name, value in reversed(changed):
            setattr(owner, name, value)


def _owners(models: Iterable[nn.Module]) -> list[Any]:
    """The classes of all modules, and the Python modules that define them, without those of torch."""
    types = {type(module) for model in models for module in model.modules()}
    classes = {base: None for kind in types for base in kind.__mro__ if not base.__module__.startswith(("torch.", "builtins"))}
    homes = {base.__module__: sys.modules.get(base.__module__) for base in classes}
    return [*classes, *(home for home in homes.values() if home is not None)]


def _remembers(value: Any) -> bool:
    """Whether a value is a function with a cache, or one that sometimes asks a cache, as diffusers has it."""
    if isinstance(value, _Remembering):
        return True
    cells = getattr(value, "__closure__", None) or ()
    return hasattr(value, "__wrapped__") and any(isinstance(_content(cell), _Remembering) for cell in cells)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _computing(function: Any) -> Any:
    """A function that does the same without a cache; clearing its cache does nothing."""
    if not isinstance(function, FunctionType):
        return function
    made = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    functools.update_wrapper(made, function)
    made.__kwdefaults__ = function.__kwdefaults__
    vars(made).update(cache_clear=lambda: None, cache_info=lambda: _NOTHING)
    return made


_NOTHING = functools.lru_cache(lambda: None).cache_info()
