"""Search of the user's functions for decisions by a tensor's class, address or identity instead of its values.

While torch.export traces, each tensor is a fake one: `type(x) is torch.Tensor` is false then, and true in a run. So a module
with such a line runs for real. A function's use of the answer is not examined: a real run is right either way.
"""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from fxprof.capture.outer_state import own_functions
from fxprof.capture.reachable import is_own, names_of

_DEEPEST = 4
_COMPARED = frozenset({"IS_OP", "COMPARE_OP", "CONTAINS_OP"})
_CLASSES = frozenset({"Tensor", "Parameter", "Buffer", "FakeTensor", "FunctionalTensor"})
_ADDRESS = frozenset({"data_ptr"})


def reason_of_identity(part: nn.Module) -> str:
    """The reason for which one module's Python has to run for real; or ""."""
    codes = {code: function for function in _all_functions(part) for code in _codes(function.__code__)}
    if any(_ADDRESS & set(code.co_names) for code in codes):
        return "it asks where a tensor is in memory (data_ptr), which differs from run to run"
    if any(_compares_classes(code, function) for code, function in codes.items()):
        return "it compares the class of an object with that of a tensor, which torch.export exchanges"
    if any("id" in _globals_of(code) and "id" not in function.__globals__ for code, function in codes.items()):
        return "it asks for the identity of an object (id), which torch.export exchanges"
    return ""


def _all_functions(part: nn.Module) -> Iterator[types.FunctionType]:
    """The user's functions that run when a module runs, with those that they call by a name."""
    seen: set[types.FunctionType] = set()
    waiting = [(function, _DEEPEST) for function in own_functions(part)]
    while waiting:
        function, depth = waiting.pop()
        if function in seen or not is_own(function.__module__):
            continue
        seen.add(function)
        yield function
        held = [function.__globals__.get(name) for name in names_of(function)]
        held += [cell.cell_contents for cell in function.__closure__ or () if _holds(cell)]
        waiting += [(value, depth - 1) for value in held if depth and isinstance(value, types.FunctionType)]


def _holds(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # nothing yet
        return False


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _compares_classes(code: types.CodeType, function: types.FunctionType) -> bool:
    """Whether code compares, and asks for a class and names a class of tensors, or asks for two classes."""
    asked = [name for name in _asked(code) if name == "__class__" or "type" not in function.__globals__]
    if not asked:
        return False
    named = len(asked) > 1 or any(name in _CLASSES or _is_class(function.__globals__.get(name)) for name in code.co_names)
    quoted = any(word in _CLASSES for constant in code.co_consts for word in _words(constant))
    return (named or quoted) and not _COMPARED.isdisjoint(item.opname for item in dis.get_instructions(code))


def _words(constant: Any) -> Iterator[str]:
    if isinstance(constant, str):
        yield constant
    elif isinstance(constant, (tuple, frozenset)):
        for item in constant:
            yield from _words(item)


def _is_class(value: Any) -> bool:
    if isinstance(value, (tuple, list, set, frozenset)):
        return any(map(_is_class, value))
    return isinstance(value, type) and issubclass(value, torch.Tensor)


@functools.lru_cache(maxsize=4096)
def _asked(code: types.CodeType) -> tuple[str, ...]:
    """The names by which code asks for a class: `type`, if nothing else has this name, and `__class__`."""
    asking = {("LOAD_GLOBAL", "type"), ("LOAD_ATTR", "__class__")}
    return tuple(item.argval for item in dis.get_instructions(code) if (item.opname, item.argval) in asking)


@functools.lru_cache(maxsize=4096)
def _globals_of(code: types.CodeType) -> frozenset[str]:
    return frozenset(item.argval for item in dis.get_instructions(code) if item.opname == "LOAD_GLOBAL")
