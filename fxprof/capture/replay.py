"""Records of modules that ran for real, so that they need not run again when they are called the same way.

At full size, running for real takes seconds for each of dozens of blocks in each of dozens of steps, and nearly always on the
same contents: the zeros that answered the calls around it. A run is repeated from memory only if nothing that could change it
has changed: the contents of every argument, the attributes of the module and of all below it. It must also have drawn no random
number, written to no argument, and returned nothing but zeros. Otherwise the module runs again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from fxprof.capture.calls import Key, has_containers
from fxprof.capture.iterators import ITERATORS
from fxprof.capture.layouts import is_plain
from fxprof.capture.plain_values import is_plain_or_derived, is_same, key_of_value, values_in
from fxprof.capture.random_numbers import GENERATORS, Generators
from fxprof.capture.returned_values import Given, Zeros, made
from fxprof.capture.state import Snapshot, snapshot


@dataclass(frozen=True, slots=True)
class Run:
    """The effects of a call."""

    calls: Mapping[Key, int]
    """The recorded calls, with the number of times that each was made."""
    results: tuple[Any, ...]
    """A plain value, a `Given` or a `Zeros` for each leaf of the result."""
    spec: pytree.TreeSpec

    def answer(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The result of the call, made anew."""
        given = pytree.tree_leaves((args, kwargs))
        return pytree.tree_unflatten([made(item, given) for item in self.results], self.spec)


@dataclass(slots=True)
class Memory:
    """The runs of one module."""

    generators: Generators
    state: Snapshot = field(default_factory=list)
    """The module's attributes, and those of all below it, before and after each of the runs."""
    writes: tuple[int, ...] = ()
    """The number of writes to each tensor among them."""
    runs: dict[Key, Run] = field(default_factory=dict)

    def begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Attempt:
        """Save the arguments and the present state of a call; `known` is the run of an equal call, if there was one."""
        if not self.holds_for(module):
            self.state, self.runs = snapshot(module), {}
            self.writes = _writes(_tensors(self.state))
        key = _contents(args, kwargs)
        known = self.runs.get(key) if key is not None else None
        return Attempt(self, key, known, _writes(pytree.tree_leaves((args, kwargs))), self.drawn())

    def drawn(self) -> Any:
        """The states of all random generators, including those that the module holds."""
        return (self.generators.mark(), Generators(self._held(GENERATORS)).mark())

    def iterates(self) -> bool:
        """Whether the module holds an iterator, whose position may differ at each call."""
        return any(True for _ in self._held(ITERATORS))

    def _held(self, kinds: tuple[type, ...]) -> Iterator[Any]:
        return (value for _, attributes, _ in self.state for value in attributes.values() if isinstance(value, kinds))

    def holds_for(self, module: nn.Module) -> bool:
        """Whether the module is still in the state of the remembered runs."""
        state = snapshot(module)
        return _same(self.state, state) and self.writes == _writes(_tensors(state))


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call of a module that runs for real, before it is made."""

    memory: Memory
    key: Key | None
    known: Run | None
    writes: tuple[int, ...]
    drawn: Any
    """The states of random generators before the call."""

    def remember(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any, calls: Mapping[Key, int]
    ) -> None:
        """Save the effects of the run, if a repetition could not differ from it; `calls` are those that it made."""
        if self.key is None or self.memory.iterates() or self.writes != _writes(pytree.tree_leaves((args, kwargs))):
            return
        if self.drawn != self.memory.drawn() or not self.memory.holds_for(module):
            return
        leaves, spec = pytree.tree_flatten(result)
        results = _described(leaves, pytree.tree_leaves((args, kwargs)), _tensors(self.memory.state))
        if results is not None:
            self.memory.runs[self.key] = Run(calls, results, spec)


_PART = 1 << 24
"""The number of elements that are compared at a time."""


def _contents(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Key | None:
    """The arguments with the contents of their tensors; None when the module could change them, or when these are hidden."""
    leaves, spec = pytree.tree_flatten((args, dict(kwargs)))
    if any(has_containers(value) for value in (*args, *kwargs.values())):
        return None
    if not all(is_plain_or_derived(leaf) or (type(leaf) is torch.Tensor and _is_tensor(leaf)) for leaf in leaves):
        return None
    return (repr(spec), tuple(_digest(leaf) if isinstance(leaf, torch.Tensor) else key_of_value(leaf) for leaf in leaves))


def _digest(tensor: torch.Tensor) -> Key:
    contents = b""
    if not tensor.is_meta and not _is_zero(tensor):
        flat = torch.empty(tensor.numel(), dtype=tensor.dtype).copy_(tensor.detach().reshape(-1))
        contents = blake2b(flat.view(torch.uint8).numpy().tobytes()).digest()
    return (tuple(tensor.shape), tensor.dtype, contents)


def _tensors(state: Snapshot) -> Iterator[torch.Tensor]:
    for _, attributes, contents in state:
        for values in (attributes, *contents.values()):
            yield from (value for value in values_in(values) if _is_tensor(value))


def _is_tensor(value: Any) -> bool:
    # Writes to an inference tensor are not counted.
    return isinstance(value, torch.Tensor) and not value.is_inference() and is_plain(value)


def _writes(values: Iterable[Any]) -> tuple[int, ...]:
    return tuple(value._version for value in values if _is_tensor(value))  # noqa: SLF001 - there is no other way to ask


def _described(leaves: list[Any], given: list[Any], held: Iterable[torch.Tensor]) -> tuple[Any, ...] | None:
    """The leaves of a result, without their memory; None when one holds more than zeros, or shares its memory."""
    results: list[Any] = []
    shared = {_memory(value) for value in (*given, *held) if isinstance(value, torch.Tensor)}
    for leaf in leaves:
        position = next((at for at, value in enumerate(given) if value is leaf and isinstance(leaf, torch.Tensor)), None)
        if position is not None:
            results.append(Given(position))
        elif is_plain_or_derived(leaf):
            results.append(leaf)
        elif type(leaf) is torch.Tensor and _is_tensor(leaf) and _memory(leaf) not in shared and _is_zero(leaf):
            results.append(Zeros(tuple(leaf.shape), leaf.dtype))
            shared.add(_memory(leaf))
        else:
            return None
    return tuple(results)


def _is_zero(tensor: torch.Tensor) -> bool:
    # In parts, because `any` of numbers makes a truth value of each one first: a gigabyte for four.
    return not any(part.any() for part in tensor.detach().reshape(-1).split(_PART))


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _same(before: Snapshot, now: Snapshot) -> bool:
    """Whether no attribute was set to another value, and no container got other contents."""
    return len(before) == len(now) and all(
        one[0] is other[0] and is_same(one[1], other[1]) and is_same(one[2], other[2])
        for one, other in zip(before, now, strict=True)
    )
