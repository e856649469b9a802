"""State that the Python of an object can reach: attributes, containers, closures, globals; to be saved and put back.

A pipeline that is rehearsed in place changes itself: a scheduler counts its steps, a hook caches results, a closure counts its
calls. `reach` finds every place that holds values, a `Holder`; a holder can copy its values, restore them from such a copy, and
exchange them for the time of a rehearsal.
"""

from __future__ import annotations

import dis
import functools
import random
import sys
import sysconfig
import threading
import types
from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO, StringIO
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from fxprof.capture.plain_values import is_plain_value

LIBRARIES = frozenset(
    {"torch", "diffusers", "transformers", "accelerate", "peft", "tokenizers", "huggingface_hub", "safetensors", "numpy", "PIL"}
    | {"fxprof", "bitsandbytes", "torchao", "gguf", "sentencepiece", "tqdm", "sympy", "regex", *sys.stdlib_module_names}
)
"""Packages whose functions keep nothing in globals or class attributes that decides what a module computes."""

_OPAQUE_PACKAGES = (LIBRARIES - {"diffusers", "transformers", "accelerate", "peft", "bitsandbytes", "torchao", "gguf"}) | {
    "pytest"
}
"""Packages whose objects are not examined, except those of `_LOOKED_INTO`."""
_LOOKED_INTO = ("torch.nn", "torch.ao.", "collections", "functools", "types", "weakref", "queue", "fxprof.capture.tokenizers")
_ALSO_WITHOUT_STATE = frozenset({slice, torch.finfo, torch.iinfo})
"""Classes of values that are not plain, but hold nothing that changes either."""


class Holder(Protocol):
    """A place that holds values."""

    def read(self) -> Any:
        """A copy of the values, which later changes do not touch."""

    def write(self, saved: Any) -> None:
        """Restore the values from a copy."""

    def values(self) -> Iterable[Any]:
        """The values that the holder holds."""

    def exchange(self, change: Callable[[Any], Any]) -> None:
        """Replace each value by the result of `change`."""


class _Mapping:
    """A dictionary of any class, without the class's own code for setting items."""

    def __init__(self, held: dict[Any, Any]) -> None:
        self._held = held
        self._type: Any = OrderedDict if isinstance(held, OrderedDict) else dict

    def read(self) -> list[tuple[Any, Any]]:
        return list(self._type.items(self._held))

    def write(self, saved: list[tuple[Any, Any]]) -> None:
        now = self.read()
        if len(now) == len(saved) and all(
            one is other and old is new for (one, old), (other, new) in zip(now, saved, strict=True)
        ):
            return
        self._type.clear(self._held)
        for key, value in saved:
            self._type.__setitem__(self._held, key, value)

    def values(self) -> Iterable[Any]:
        return [value for _, value in self.read()]

    def exchange(self, change: Callable[[Any], Any]) -> None:
        for key, value in self.read():
            changed = change(value)
            if changed is not value:
                self._type.__setitem__(self._held, key, changed)


class _Sequence:
    """A list or a deque."""

    def __init__(self, held: list[Any] | deque[Any]) -> None:
        self._held = held

    def read(self) -> list[Any]:
        return list(self._held)

    def write(self, saved: list[Any]) -> None:
        if len(self._held) != len(saved) or any(old is not new for old, new in zip(self._held, saved, strict=True)):
            self._held.clear()
            self._held.extend(saved)

    def values(self) -> Iterable[Any]:
        return list(self._held)

    def exchange(self, change: Callable[[Any], Any]) -> None:
        self.write([change(value) for value in self._held])


class _Set:
    """A set, whose values are never exchanged: a set finds them by identity."""

    def __init__(self, held: set[Any]) -> None:
        self._held = held

    def read(self) -> set[Any]:
        return set(self._held)

    def write(self, saved: set[Any]) -> None:
        if self._held != saved:
            self._held.clear()
            self._held.update(saved)

    def values(self) -> Iterable[Any]:
        return list(self._held)

    def exchange(self, change: Callable[[Any], Any]) -> None:
        """Leave the values of a set unchanged."""


class _Named:
    """Values that an owner holds by name: slots, class attributes, globals, defaults of a function."""

    def __init__(
        self, owner: Any, names: Iterable[str], get: Callable[[Any, str], Any], put: Callable[[Any, str, Any], None]
    ) -> None:
        self._owner, self._names, self._get, self._put = owner, tuple(names), get, put

    def read(self) -> dict[str, Any]:
        held = {}
        for name in self._names:
            try:
                held[name] = self._get(self._owner, name)
            except (AttributeError, KeyError, ValueError):  # a slot, or a cell, that holds nothing yet
                continue
        return held

    def write(self, saved: dict[str, Any]) -> None:
        now = self.read()
        for name, value in saved.items():
            if name not in now or now[name] is not value:
                self._put(self._owner, name, value)

    def values(self) -> Iterable[Any]:
        return list(self.read().values())

    def exchange(self, change: Callable[[Any], Any]) -> None:
        self.write({name: change(value) for name, value in self.read().items()})


class _Namespace(_Named):
    """The names of a user's module or of a class, except those that Python itself puts there."""

    def __init__(self, owner: Any, put: Callable[[Any, str, Any], None], delete: Callable[[Any, str], None]) -> None:
        super().__init__(owner, (), getattr, put)
        self._delete = delete

    def read(self) -> dict[str, Any]:
        return {name: value for name, value in list(vars(self._owner).items()) if _is_state(name, value)}

    def write(self, saved: dict[str, Any]) -> None:
        for name in self.read().keys() - saved.keys():
            self._delete(self._owner, name)
        super().write(saved)


def _is_state(name: str, value: Any) -> bool:
    return not (name.startswith("__") or isinstance(value, (property, staticmethod, classmethod)))


class _Imports:
    """The imported modules of the user: one that a rehearsal imports could keep values that it was given there."""

    def read(self) -> frozenset[str]:
        return frozenset(sys.modules)

    def write(self, saved: frozenset[str]) -> None:
        for name in sys.modules.keys() - saved:
            if is_users(sys.modules[name]):
                module = sys.modules.pop(name)
                parent, _, last = name.rpartition(".")
                if vars(sys.modules.get(parent, sys)).get(last) is module:
                    delattr(sys.modules[parent], last)

    def values(self) -> Iterable[Any]:
        return ()

    def exchange(self, change: Callable[[Any], Any]) -> None:
        """Leave imported modules unchanged."""


class _State:
    """An object that gives and takes its state as a whole, such as a random generator."""

    def __init__(self, get: Callable[[], Any], put: Callable[[Any], Any]) -> None:
        self.read, self.write = get, put

    def values(self) -> Iterable[Any]:
        return ()

    def exchange(self, change: Callable[[Any], Any]) -> None:
        """Exchange nothing, since such a state has no values."""


class Generating(_State):
    """A random generator."""


def reach(roots: Iterable[Any]) -> list[Holder]:
    """Every holder that some objects can reach, each once."""
    holders: list[Holder] = [_Imports()]
    waiting, seen = list(roots), dict[int, Any]()
    while waiting:
        value = waiting.pop()
        if _is_without_state(value) or id(value) in seen:
            continue
        seen[id(value)] = value  # held here, so that no other object gets its identity
        for holder in _holders(value):
            holders.append(holder)
            waiting.extend(holder.values())
        waiting.extend(_inner(value))
    return holders


def _is_without_state(value: Any) -> bool:
    return is_plain_value(value) or type(value) in _ALSO_WITHOUT_STATE


def _inner(value: Any) -> Iterable[Any]:
    """The values that can be reached through a value that itself cannot change."""
    if isinstance(value, (tuple, frozenset)):
        return value
    if isinstance(value, types.MethodType):
        return (value.__self__, value.__func__)
    if isinstance(value, types.BuiltinMethodType) and not isinstance(value.__self__, (types.ModuleType, type)):
        return (value.__self__,)  # `random.Random(1).random` and `[].append` are methods of an object, too
    return ()


def _holders(value: Any) -> Iterator[Holder]:
    if isinstance(value, dict):
        yield _Mapping(value)
    elif isinstance(value, (list, deque)):
        yield _Sequence(value)
    elif isinstance(value, set):
        yield _Set(value)
    elif isinstance(value, types.FunctionType):
        yield from _of_function(value)
    elif isinstance(value, functools.partial):
        yield _Named(value, ("state",), lambda item, _: item.__reduce__()[2], lambda item, _, state: item.__setstate__(state))
        return
    elif isinstance(value, (types.ModuleType, type)):
        yield from _of_name(value)
    else:
        yield from _states(value)
    if is_looked_into(value):
        attributes = _attributes(value)
        if attributes is not None:
            yield _Mapping(attributes)
        slots: tuple[str, ...] = _slots(type(value))  # type: ignore[arg-type]  # every class can be hashed
        if slots:
            yield _Named(value, slots, object.__getattribute__, object.__setattr__)
        yield from _of_class(type(value))


def _of_name(value: types.ModuleType | type) -> Iterator[Holder]:
    """The holders of a user's module or class."""
    if isinstance(value, types.ModuleType):
        if is_users(value):
            yield _Namespace(value, setattr, delattr)
    elif is_users(sys.modules.get(value.__module__)):
        yield from _of_class(value)


def is_looked_into(value: Any) -> bool:
    """Whether an object's attributes are state that its Python could change."""
    kind = type(value)
    if _is_without_state(value) or isinstance(
        value, (type, types.ModuleType, types.FunctionType, types.MethodType, torch.jit.ScriptModule)
    ):
        return False
    if isinstance(value, nn.Module):
        return True
    if isinstance(value, torch.Tensor):
        return bool(_attributes(value))
    home = str(getattr(kind, "__module__", ""))
    return _package(home) not in _OPAQUE_PACKAGES or home.startswith(_LOOKED_INTO)


def _attributes(value: Any) -> dict[str, Any] | None:
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return attributes if isinstance(attributes, dict) else None


@functools.cache
def _slots(kind: Any) -> tuple[str, ...]:
    named = (
        vars(base).get("__slots__", ())
        for base in kind.__mro__
        if is_own(base.__module__) or _package(base.__module__) == "diffusers"
    )
    names = chain.from_iterable((slots,) if isinstance(slots, str) else slots for slots in named)
    return tuple(name for name in names if name not in {"__dict__", "__weakref__"})


def _package(module: str) -> str:
    return module.partition(".")[0]


def is_own(module: str | None) -> bool:
    """Whether a module is the user's or of some small package, so that its globals and class attributes may be state."""
    return _package(module or "") not in LIBRARIES


def _of_class(kind: type) -> Iterator[Holder]:
    """The holders of a user's classes, and those that their methods can see."""
    for base in kind.__mro__:
        if not is_own(base.__module__):
            continue
        yield _Namespace(base, type.__setattr__, type.__delattr__)
        for name, value in vars(base).items():
            if not name.startswith("__") or name in _OWN_METHODS:
                for function in _functions(value):
                    yield from _of_function(function)


_OWN_METHODS = ("__new__", "__init__", "__call__", "__getattr__", "__getitem__", "__setitem__")
"""Special methods of Python in which a class may keep values."""


def _functions(value: Any) -> list[types.FunctionType]:
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    if isinstance(value, property):
        value = value.fget
    return [value] if isinstance(value, types.FunctionType) else []


def _of_function(function: types.FunctionType) -> Iterator[Holder]:
    for cell in function.__closure__ or ():
        yield _Named(cell, ("cell_contents",), getattr, setattr)
    yield _Named(function, ("__defaults__", "__kwdefaults__"), getattr, setattr)
    yield _Mapping(function.__dict__)
    if is_own(function.__module__):
        state = [name for name in names_of(function) if name in function.__globals__]
        if state:
            yield _Named(function.__globals__, state, lambda held, name: held[name], dict.__setitem__)
        for module in _imported_in(function):
            yield _Namespace(module, setattr, delattr)


def _imported_in(function: types.FunctionType) -> Iterator[types.ModuleType]:
    """The user's modules that a function, or one defined inside of it, imports where it runs."""
    for name in _imports_of(function):
        package = function.__globals__.get("__package__") or ""
        for full in (name, f"{package}.{name}"):
            module = sys.modules.get(full)
            if is_users(module):
                yield module  # type: ignore[misc]  # None is nobody's


@functools.lru_cache(maxsize=4096)
def _imports_of(function: types.FunctionType) -> tuple[str, ...]:
    """The modules that a function may import: `import a.b`, and `from a import b`, where `b` may be one."""
    modules: dict[str, None] = {}
    waiting = [function.__code__]
    while waiting:
        code = waiting.pop()
        waiting += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        module = ""
        for item in dis.get_instructions(code) if _MAY_IMPORT & set(code.co_code[::2]) else ():
            if item.opname == "IMPORT_NAME":
                module = str(item.argval)
                modules[module] = None
            elif item.opname == "IMPORT_FROM":
                modules[f"{module}.{item.argval}" if module else str(item.argval)] = None
    return tuple(modules)


_MAY_IMPORT = frozenset({dis.opmap["IMPORT_NAME"]})


def is_users(module: types.ModuleType | None) -> bool:
    """Whether a module is a file of the user's, and neither Python's own nor installed."""
    file = getattr(module, "__file__", None)
    if module is None or not is_own(module.__name__) or module.__name__ == "builtins":
        return False
    if not isinstance(file, str):
        return module.__name__ == "__main__"
    return not file.startswith(_PYTHONS) and "-packages" not in file


_PYTHONS = (sysconfig.get_path("stdlib"), str(Path(__file__).parents[1]))


@functools.lru_cache(maxsize=4096)
def names_of(function: types.FunctionType) -> tuple[str, ...]:
    """The global names that a function, or one defined inside of it, mentions."""
    names: dict[str, None] = {}
    waiting = [function.__code__]
    while waiting:
        code = waiting.pop()
        names.update(dict.fromkeys(code.co_names))
        waiting += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return tuple(names)


def _states(value: Any) -> Iterator[Holder]:
    if isinstance(value, threading.local):
        yield _Mapping(vars(value))  # as this thread sees it
    elif isinstance(value, torch.Generator):
        yield Generating(value.get_state, value.set_state)
    elif isinstance(value, random.Random):
        yield Generating(value.getstate, value.setstate)
    elif isinstance(value, np.random.RandomState):
        yield Generating(value.get_state, value.set_state)
    elif isinstance(value, np.random.Generator):
        bits: Any = value.bit_generator
        yield Generating(lambda: bits.state, lambda state: setattr(bits, "state", state))
    elif isinstance(value, (bytearray, array)):
        yield _State(lambda: value[:], lambda saved: value.__setitem__(slice(None), saved))
    elif isinstance(value, (BytesIO, StringIO)):
        yield _State(lambda: None if value.closed else (value.getvalue(), value.tell()), lambda saved: _set_text(value, saved))
    elif isinstance(value, Tokenizer):
        yield _State(lambda: (value.truncation, value.padding), lambda saved: _set_tokenizer(value, *saved))


def _set_text(text: Any, saved: tuple[Any, int] | None) -> None:
    if saved is not None and (text.getvalue(), text.tell()) != saved:
        text.seek(0)
        text.truncate()
        text.write(saved[0])
        text.seek(saved[1])


def _set_tokenizer(tokenizer: Tokenizer, truncation: dict[str, Any] | None, padding: dict[str, Any] | None) -> None:
    if tokenizer.truncation != truncation:
        tokenizer.no_truncation() if truncation is None else tokenizer.enable_truncation(**truncation)
    if tokenizer.padding != padding:
        tokenizer.no_padding() if padding is None else tokenizer.enable_padding(**padding)


def saved(holders: Iterable[Holder]) -> list[tuple[Holder, Any]]:
    """The present values of holders; holders that cannot be read are left out."""
    states = []
    for holder in holders:
        try:
            states.append((holder, holder.read()))
        except Exception:  # noqa: BLE001, S112 - an object that does not let itself be read is not changed by a rehearsal either
            continue
    return states


def put_back(states: Iterable[tuple[Holder, Any]]) -> None:
    """Restore the saved values of holders, even if some of them fail.

    Raises:
        ExceptionGroup: some values could not be put back; all others are.
    """
    errors = []
    for holder, state in states:
        try:
            holder.write(state)
        except Exception as error:  # noqa: BLE001 - the others come first
            errors.append(error)
    if errors:
        raise ExceptionGroup("not everything that changed during a profile could be put back", errors)
