"""A key that tells distinct calls of a module apart, and readable inputs of calls."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from fxprof.capture.layouts import is_plain, look_of, shape_of
from fxprof.capture.plain_values import is_plain_or_derived, key_of_value
from fxprof.capture.translate import dtype_name, plain
from fxprof.trace import Tensor, Value

Key = tuple[Any, ...]

_LONGEST_VALUE = 60


def key_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Key:
    """The parts of a call that decide its graph: the structure of its arguments, tensors by shape, plain values by value.

    The contents of containers belong to the key, so that a call with a filled cache differs from one with an empty cache.
    """
    leaves, spec = pytree.tree_flatten((args, dict(kwargs)))
    return (repr(spec), tuple(_leaf_key(leaf) for leaf in leaves))


def _leaf_key(leaf: Any) -> Key:
    if isinstance(leaf, torch.Tensor):
        return ("tensor", tuple(leaf.shape), leaf.dtype) if is_plain(leaf) else ("tensor", *look_of(leaf))
    return key_of_value(leaf) if is_plain_or_derived(leaf) else (type(leaf).__qualname__, id(leaf))


def inputs_of(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[str, Value], ...]:
    """The given arguments by their names in `module.forward`; None and empty containers are left out."""
    return tuple(item for name, value in _named(module, args, kwargs) for item in _flatten(name, value))


def _named(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    try:
        bound = inspect.signature(module.forward).bind(*args, **kwargs)
    except (TypeError, ValueError):
        yield from ((f"arg{position}", value) for position, value in enumerate(args))
        yield from kwargs.items()
        return
    variadic = {parameter.name for parameter in bound.signature.parameters.values() if parameter.kind is parameter.VAR_KEYWORD}
    for name, value in bound.arguments.items():
        yield from value.items() if name in variadic else ((name, value),)


def _flatten(name: str, value: Any) -> Iterator[tuple[str, Value]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flatten(f"{name}.{key}", item)
    elif isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            yield from _flatten(f"{name}.{position}", item)
    elif is_dataclass(value) and not isinstance(value, type):
        for item_field in fields(value):
            yield from _flatten(f"{name}.{item_field.name}", getattr(value, item_field.name))
    elif value is not None:
        yield name, _readable(value)


def _readable(value: Any) -> Value:
    if isinstance(value, torch.Tensor):
        return Tensor(shape_of(value), dtype_name(value.dtype))
    if isinstance(value, (bool, int, float, complex)):
        return value
    text = plain(value) if isinstance(value, (str, torch.dtype, torch.device)) else type(value).__name__
    return str(text)[:_LONGEST_VALUE]


def has_containers(value: Any) -> bool:
    """Whether the arguments hold a list or dictionary anywhere, which a callee could change."""
    if isinstance(value, (list, dict)):
        return True
    return isinstance(value, tuple) and any(has_containers(item) for item in value)


def write_back(given: Any, after: Any) -> None:
    """Copy the callee's changes into the caller's containers, which keep their identity."""
    if isinstance(given, list) and isinstance(after, (list, tuple)):
        merged = [_merged(given[at] if at < len(given) else None, item) for at, item in enumerate(after)]
        given[:] = merged
    elif isinstance(given, dict) and isinstance(after, Mapping):
        merged_items = {key: _merged(given.get(key), item) for key, item in after.items()}
        given.clear()
        given.update(merged_items)
    elif isinstance(given, tuple) and isinstance(after, tuple):
        for old, new in zip(given, after, strict=False):
            write_back(old, new)


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, (list, dict)) and type(old) is type(new):
        write_back(old, new)
        return old
    return new
