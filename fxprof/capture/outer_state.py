"""State that a module's Python sees outside of the module: globals, closures, class attributes.

Only the user's own functions are examined; those of libraries keep nothing there. Plain state becomes part of the key that
tells calls apart. If the state is an object, nothing is known of it, and the module has to run for real.
"""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from fxprof.capture.iterators import ITERATORS
from fxprof.capture.plain_values import CONTAINERS, is_plain_or_derived, is_plain_value, token_of, values_in
from fxprof.capture.reachable import is_looked_into, is_own, names_of

_OF_TORCH = frozenset(vars(nn.Module()))
_DEEPEST = 4
_LONGEST = 1000
"""Items of a container above which it counts as an object."""

Getter = Callable[[], Any]


def outside_state(part: nn.Module) -> tuple[Hashable, ...] | None:
    """The present state that one module's Python sees elsewhere; None when that holds an object."""
    tokens = []
    for getter in _getters(part):
        try:
            token = token_of(getter(), _DEEPEST, _of_other, most=_LONGEST)
        except _ObjectError:
            return None
        if token[0] != _OPAQUE:
            tokens.append(token)
    return tuple(tokens)


def own_functions(part: nn.Module) -> list[types.FunctionType]:
    """The user's functions that run with a module: its methods, those of objects it works with, and those in attributes."""
    values: list[Any] = [*_methods(type(part))]  # type: ignore[arg-type]  # every class can be hashed
    for name, value in vars(part).items():
        if name in _OF_TORCH or name == "forward" or is_plain_value(value):
            continue
        values.append(value)
        if is_looked_into(value) and not isinstance(value, (nn.Module, torch.Tensor, *CONTAINERS)):
            own = _methods(type(value))  # type: ignore[arg-type]  # as above
            values += [*own, *getattr(value, "__dict__", {}).values()]
    return [function for value in values for function in _functions(value)]


def _getters(part: nn.Module) -> list[Getter]:
    getters = [getter for function in own_functions(part) for getter in _of_function(function, _DEEPEST)]
    attributes = [value for name, value in vars(part).items() if name not in _OF_TORCH]
    held = [value for value in attributes if _is_own_object(value)]
    # The position of an iterator is unknown, so it is no part of the key that tells calls apart.
    getters += [
        functools.partial(_same, item) for value in (*attributes, *held) for item in _inside(value) if _is_iterator(item)
    ]
    for value in held:
        # The contents of a user's object are settings of the module; the contents of those in turn may be shared with others.
        getters += [functools.partial(_same, item) for item in getattr(value, "__dict__", {}).values() if _is_own_object(item)]
    return getters


def _same(value: Any) -> Any:
    return value


def _inside(value: Any) -> Iterable[Any]:
    """A value and the values that it holds itself."""
    if isinstance(value, CONTAINERS):
        return values_in(value)
    return (value, *getattr(value, "__dict__", {}).values()) if _is_own_object(value) else (value,)


def _is_iterator(value: Any) -> bool:
    return isinstance(value, ITERATORS)


@functools.cache
def _methods(kind: Any) -> tuple[Any, ...]:
    return tuple(
        getattr(value, "__func__", value) for base in kind.__mro__ if is_own(base.__module__) for value in vars(base).values()
    )


def _functions(value: Any) -> Iterator[types.FunctionType]:
    if isinstance(value, property):
        value = value.fget
    if isinstance(value, types.FunctionType):
        yield value
    elif isinstance(value, types.MethodType):
        yield from _functions(value.__func__)
    elif isinstance(value, functools.partial):
        for item in (value.func, *value.args, *value.keywords.values()):
            yield from _functions(item)


def _of_function(function: types.FunctionType, depth: int) -> Iterator[Getter]:
    """Getters of the values that a function sees and that are neither its own nor its arguments."""
    own = is_own(function.__module__)
    for cell in function.__closure__ or ():
        content = _content(cell)
        if own and not isinstance(content, types.FunctionType):
            yield functools.partial(_content, cell)
        yield from _deeper(content, depth)
    for name in names_of(function) if own else ():
        if name in function.__globals__:
            yield from _of_global(function, name, depth)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing yet
        return None


def _deeper(value: Any, depth: int) -> Iterator[Getter]:
    if isinstance(value, types.MethodType) and _is_own_object(value.__self__):
        yield functools.partial(_same, value.__self__)
    for function in _functions(value) if depth else ():
        yield from _of_function(function, depth - 1)


def _of_global(function: types.FunctionType, name: str, depth: int) -> Iterator[Getter]:
    held = function.__globals__
    value = held[name]
    if isinstance(value, types.ModuleType):
        if is_own(value.__name__):
            inner = vars(value)
            yield from (
                functools.partial(inner.get, key) for key in names_of(function) if key in inner and not callable(inner[key])
            )
    elif isinstance(value, type):
        if is_own(value.__module__) and not issubclass(value, nn.Module):
            yield functools.partial(_class_attributes, value)
    elif callable(value) and not isinstance(value, nn.Module):
        yield from _deeper(value, depth)
    elif not is_plain_or_derived(value) or name in _set_globals(tuple(_codes(held))):
        yield functools.partial(held.get, name)


def _class_attributes(kind: type) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(kind).items()
        if not name.startswith("__") and (is_plain_or_derived(value) or isinstance(value, CONTAINERS))
    }


def _is_own_object(value: Any) -> bool:
    return is_looked_into(value) and not isinstance(value, (nn.Module, torch.Tensor)) and is_own(type(value).__module__)


_OPAQUE = "opaque"
"""The first item of the token for a library's object, which keeps no state that decides what a module computes."""


class _ObjectError(Exception):
    """State is an object of the user's, of which nothing is known."""


def _of_other(value: Any, depth: int) -> tuple[Hashable, ...]:  # noqa: ARG001  # nothing is looked into
    """The token of a value that is not plain state.

    Raises:
        _ObjectError: the value is an object of the user's.
    """
    is_object = isinstance(value, (torch.Tensor, *CONTAINERS)) or _is_own_object(value) or _is_iterator(value)
    if is_object or (hasattr(type(value), "components") and is_looked_into(value)):  # as a pipeline has
        raise _ObjectError
    return (_OPAQUE, id(value))


def _codes(held: dict[str, Any]) -> Iterator[types.CodeType]:
    for value in list(held.values()):
        if isinstance(value, types.FunctionType) and value.__globals__ is held:
            yield value.__code__
        elif isinstance(value, type) and value.__module__ == held.get("__name__"):
            yield from (method.__code__ for method in vars(value).values() if isinstance(method, types.FunctionType))


@functools.lru_cache(maxsize=256)
def _set_globals(codes: tuple[types.CodeType, ...]) -> frozenset[str]:
    """Globals that a function of a file assigns to."""
    names: set[str] = set()
    waiting = list(codes)
    while waiting:
        code = waiting.pop()
        names.update(item.argval for item in dis.get_instructions(code) if item.opname == "STORE_GLOBAL")
        waiting += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return frozenset(names)
