"""Results of a cached call, as JSON and back. Reading trusts nothing, as for a stranger's file: it imports nothing by name."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any

import torch
from diffusers.utils import BaseOutput
from torch.utils import _pytree as pytree
from transformers.utils import ModelOutput

from fxprof import limits
from fxprof.capture.returned_values import Given, Zeros
from fxprof.capture.translate import dtype_name
from fxprof.capture.zero_weights import fresh_zeros
from fxprof.trace.codec import DamagedError, NotWritableError

_DTYPES = {dtype_name(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
_CONTAINERS: dict[str, type] = {"tuple": tuple, "list": list, "dict": dict, "ordered": OrderedDict}
_NAMES = {container: name for name, container in _CONTAINERS.items()}
_OUTPUTS = (BaseOutput, ModelOutput)
"""The base classes of results in diffusers and transformers."""
_PACKAGES = frozenset({"diffusers", "transformers"})
_LEAF = pytree.tree_structure(0)


class NotLoadedError(Exception):
    """A class of results that this process has not loaded; then the call counts as not cached."""


@dataclass(frozen=True, slots=True)
class Form:
    """The form of a call's arguments, which its results have to fit."""

    leaves: int
    positional: int
    names: frozenset[str]

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Form:
        """The form of these arguments."""
        return cls(len(pytree.tree_leaves((args, dict(kwargs)))), len(args), frozenset(kwargs))


def write_leaf(leaf: Any) -> Any:
    """A result as a value that `json` can write.

    Raises:
        NotWritableError: it is neither a tensor nor a plain value.
    """
    if isinstance(leaf, Given):
        return {"given": leaf.position}
    if isinstance(leaf, Zeros):
        return {"shape": list(leaf.shape), "dtype": dtype_name(leaf.dtype)}
    if leaf is None or isinstance(leaf, (bool, int, float, str)):
        return leaf
    raise NotWritableError(type(leaf).__name__)


def read_leaves(values: Any, form: Form) -> tuple[Any, ...]:
    """The results in values that `write_leaf` made.

    Raises:
        DamagedError: they are no results, too many, too large, or arguments that the call does not have.
    """
    if not isinstance(values, list) or len(values) > limits.CACHED_RESULTS:
        raise DamagedError("results")
    return tuple(_read_leaf(value, form) for value in values)


def _read_leaf(value: Any, form: Form) -> Any:
    match value:
        case {"given": position, **rest} if not rest and type(position) is int and 0 <= position < form.leaves:
            return Given(position)
        case {"shape": list() as shape, "dtype": str() as name, **rest} if not rest and name in _DTYPES:
            return _zeros(shape, _DTYPES[name])
        case None | bool() | int() | float() | str():
            return value
    raise DamagedError("a result")


def _zeros(shape: list[Any], dtype: torch.dtype) -> Zeros:
    if not all(type(size) is int and size >= 0 for size in shape) or len(shape) > limits.CACHED_NESTING:
        raise DamagedError("a shape")
    if math.prod(size or 1 for size in shape) * dtype.itemsize > limits.CACHED_TENSOR_BYTES:
        raise DamagedError("a size")
    try:
        fresh_zeros(tuple(shape), dtype)  # takes no memory before somebody writes to it, and fails where it will later
    except (RuntimeError, OSError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise DamagedError("a tensor") from error
    return Zeros(tuple(shape), dtype)


def write_spec(spec: pytree.TreeSpec) -> Any:
    """The nesting of results, as a value that `json` can write.

    Raises:
        NotWritableError: a container is neither Python's own nor a class of results.
    """
    if spec.is_leaf():
        return None
    children = [write_spec(child) for child in spec.children()]
    if spec.type in (tuple, list):
        return {_NAMES[spec.type]: children}
    keys = list(spec.context) if isinstance(spec.context, (list, tuple)) else [None]
    if not all(type(key) in (str, int) for key in keys):
        raise NotWritableError("a key")
    if spec.type in _NAMES:
        return {_NAMES[spec.type]: children, "keys": keys}
    if not _is_output(spec.type):
        raise NotWritableError(str(spec.type))
    return {"output": children, "keys": keys, "class": _name(spec.type)}


def read_spec(value: Any, results: int, form: Form, *, returns_arguments: bool) -> pytree.TreeSpec:
    """The nesting in a value that `write_spec` made: of a result, and of the arguments after the call.

    Args:
        value: the value that was read.
        results: the number of leaves that it must have.
        form: the form of the call's arguments.
        returns_arguments: whether the results include the arguments.

    Raises:
        DamagedError: `write_spec` did not make the value, or it does not fit the call.
        NotLoadedError: a class of results is not loaded.
    """
    spec = _read_spec(value, 0)
    if spec.num_leaves != results or spec.type is not tuple or spec.num_children != len(_RESULT_AND_ARGUMENTS):
        raise DamagedError("a nesting")
    after = spec.child(1)
    if after.type is not tuple or [child.type for child in after.children()] != _RESULT_AND_ARGUMENTS:
        raise DamagedError("a nesting")
    args, kwargs = after.children()
    positional, names = (form.positional, form.names) if returns_arguments else (0, frozenset())
    if args.num_children != positional or frozenset(kwargs.context) != names:
        raise DamagedError("arguments")
    return spec


_RESULT_AND_ARGUMENTS = [tuple, dict]


def _read_spec(value: Any, depth: int) -> pytree.TreeSpec:
    if value is None:
        return _LEAF
    if not isinstance(value, dict) or depth > limits.CACHED_NESTING:
        raise DamagedError("a nesting")
    name = next((name for name in (*_CONTAINERS, "output") if name in value), None)
    children = value.get(name) if name is not None else None
    if name is None or not isinstance(children, list) or len(children) > limits.CACHED_RESULTS:
        raise DamagedError("a nesting")
    specs = [_read_spec(child, depth + 1) for child in children]
    if name in {"tuple", "list"}:
        return pytree.TreeSpec(_CONTAINERS[name], None, specs)
    keys = _read_keys(value.get("keys"), len(specs))
    return pytree.TreeSpec(_CONTAINERS[name] if name in _CONTAINERS else _output(value.get("class"), keys), keys, specs)


def _read_keys(keys: Any, count: int) -> list[Any]:
    if not isinstance(keys, list) or not all(type(key) in (str, int) for key in keys) or len(set(keys)) != len(keys):
        raise DamagedError("keys")
    if len(keys) != count:
        raise DamagedError("keys")
    return keys


def _output(name: Any, keys: Sequence[Any]) -> type:
    """A class of results by its name, among those that are registered: building a component imports its classes."""
    if not isinstance(name, str):
        raise DamagedError("a class")
    output = next((each for each in pytree.SUPPORTED_NODES if _is_output(each) and _name(each) == name), None)
    if output is None:
        raise NotLoadedError(name)
    arguments = {item.name: item for item in fields(output) if item.init}
    required = {item.name for item in arguments.values() if item.default is MISSING and item.default_factory is MISSING}
    if not required <= set(keys) <= set(arguments):
        raise DamagedError("a class's keys")
    return output


def _is_output(container: Any) -> bool:
    is_output = isinstance(container, type) and issubclass(container, _OUTPUTS) and is_dataclass(container)
    return is_output and container.__module__.partition(".")[0] in _PACKAGES


def _name(output: type) -> str:
    return f"{output.__module__}.{output.__qualname__}"
