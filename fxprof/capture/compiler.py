"""Tables of torch's functions in torch's compiler, which must not be filled with torch's state during a rehearsal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_MODULES = ("torch._dynamo.trace_rules", "torch._dynamo.variables.torch")
"""The modules with the compiler's tables of torch's functions and methods, which are made at their first use."""


@contextmanager
def forgotten_tables() -> Iterator[None]:
    """Have the compiler make again, afterwards, the tables that it makes until the end of the block.

    Some functions of torch are replaced meanwhile. Such a table would lack the original ones, and the user's own
    `torch.compile` would no longer know them.
    """
    filled = {name for name, cached in _tables() if cached.cache_info().currsize}
    try:
        yield
    finally:
        for name, cached in _tables():
            if name not in filled:
                cached.cache_clear()


def _tables() -> Iterator[tuple[str, Any]]:
    """The functions that cache their results, by name."""
    for name in _MODULES:
        module = sys.modules.get(name)
        holders = [module, *(value for value in vars(module).values() if isinstance(value, type))] if module else []
        for holder in holders:
            for key, value in vars(holder).items():
                function = value.__func__ if isinstance(value, staticmethod) else value
                if hasattr(function, "cache_info") and hasattr(function, "cache_clear"):
                    yield f"{name}.{getattr(holder, '__name__', '')}.{key}", function


_ASKED = (("transformers.masking_utils", "is_torchdynamo_exporting"),)
"""Functions by which a library asks whether torch exports, and builds a mask then that it leaves out in a run."""


@contextmanager
def as_in_a_run() -> Iterator[None]:
    """Answer libraries that torch does not export, where their Python depends on nothing but that, until the end of the block.

    A library that would have to read values still sees that they are not there.
    """
    modules = {name: sys.modules[name] for name, _ in _ASKED if name in sys.modules}
    before = {(name, key): vars(modules[name])[key] for name, key in _ASKED if name in modules and key in vars(modules[name])}
    for name, key in before:
        setattr(modules[name], key, lambda: False)
    try:
        yield
    finally:
        for (name, key), function in before.items():
            setattr(modules[name], key, function)
