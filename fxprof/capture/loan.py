"""A live pipeline or module, lent for a rehearsal: its tensors are exchanged for weightless ones, and put back afterwards.

The rehearsal works on the user's own objects, so that hooks, closures and callbacks see the same as in a real run. Everything
that it could change is saved first: attributes, containers, closures, globals and random generators, as far as Python can
reach them from the pipeline. No tensor of the user's is ever computed with or written to.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType, GeneratorType
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import UninitializedBuffer, UninitializedParameter
from torch.utils import _pytree as pytree

from fxprof.capture.built_modules import HeldModule, modules_of, modules_since
from fxprof.capture.hooks import stand_aside
from fxprof.capture.iterators import ITERATORS, Standing, duplicate
from fxprof.capture.layouts import is_plain
from fxprof.capture.reachable import Holder, put_back, reach, saved
from fxprof.capture.waiting_threads import Gate
from fxprof.capture.zero_weights import PAGES

_SMALL_BUFFER = 1 << 16
"""Elements up to which a tensor that is no parameter is copied with its values."""
_SMALL_PARAMETER = 1 << 10
"""Elements up to which a parameter is copied with its values, so that Python reads the true value of a gate or a scale."""
_LARGE_ARRAY = 1 << 26
"""Bytes above which an array of numpy is not copied."""


@dataclass(slots=True)
class Loan:
    """The exchanged objects, and the state of all objects when the rehearsal began."""

    _holders: list[Holder]
    _start: list[tuple[Holder, Any]] = field(default_factory=list)
    _copies: list[tuple[torch.Tensor, torch.Tensor, int]] = field(default_factory=list)
    """A copy with values, its original, and the number of writes to the copy when it was made."""
    _exchanged: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    """A value of the user's and its stand-in, by identity of the value."""

    _modules: dict[int, tuple[HeldModule, ...]] = field(default_factory=dict)
    """A component's modules as they are stored, by identity of the component."""

    def modules_of(self, component: nn.Module) -> tuple[HeldModule, ...]:
        """The modules of a component with the weights that they held before the rehearsal."""
        return modules_since(self._modules.get(id(component), ()), component)

    def begin(self) -> None:
        """Save the present state as the one to go back to."""
        self._start = saved(self._holders)
        self._renew_iterators()

    def again(self) -> None:
        """Put everything back to its state at the beginning, for another rehearsal."""
        put_back(self._start)
        self._renew_iterators()
        for lent, original, writes in self._copies:
            if lent._version != writes:  # noqa: SLF001 - there is no other way to ask
                lent.data.copy_(original.detach())

    def _renew_iterators(self) -> None:
        """Put duplicates in the place of iterators, so that those of the beginning stay at their position."""
        made: dict[int, Any] = {}

        def change(value: Any) -> Any:
            if isinstance(value, tuple):
                return _rebuilt(value, change)
            return made.setdefault(id(value), duplicate(value)) if isinstance(value, ITERATORS) else value

        for holder in self._holders:
            holder.exchange(change)

    def exchange(self, value: Any) -> Any:
        """The stand-in for a value for the time of the rehearsal; most values need none and are returned themselves."""
        if isinstance(value, tuple):
            return _rebuilt(value, self.exchange)
        if isinstance(value, nn.Module):
            return uncompiled(value)
        if not isinstance(value, _EXCHANGED):
            return value
        if id(value) not in self._exchanged:
            self._exchanged[id(value)] = value, self._stand_in(value)
        return self._exchanged[id(value)][1]

    def arguments(self, given: Any) -> Any:
        """A call's arguments with stand-ins; their tensors keep their values, whatever their size, without gradients."""
        given = pytree.tree_map_only(torch.Tensor, self._argument, given)
        return pytree.tree_map_only(GeneratorType, self.exchange, given)

    def _argument(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_meta or isinstance(tensor, FakeTensor):
            return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
        if id(tensor) not in self._exchanged:
            given = tensor.detach()
            made = given.to("cpu", copy=True) if is_plain(given) else given.cpu()
            self._copies.append((made, tensor, made._version))  # noqa: SLF001 - as above
            self._exchanged[id(tensor)] = tensor, made
        return self._exchanged[id(tensor)][1]  # type: ignore[no-any-return]

    def _stand_in(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self._weightless(value)
        if isinstance(value, ITERATORS):
            return duplicate(value)
        if isinstance(value, GeneratorType):
            return Standing(f"generator {value.__qualname__}")
        if isinstance(value, np.ndarray):
            return value if value.dtype == object or value.nbytes > _LARGE_ARRAY else value.copy()
        if isinstance(value, torch.Generator):
            return value if value.device.type == "cpu" else torch.Generator()
        return value if value.type in {"cpu", "meta"} else torch.device("cpu")

    def _weightless(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor on the CPU with the shape, type and attributes of another, and with its values where they are few."""
        if isinstance(tensor, (UninitializedParameter, UninitializedBuffer)):
            fresh: Any = type(tensor)
            return fresh(requires_grad=tensor.requires_grad, device="cpu", dtype=tensor.dtype)  # type: ignore[no-any-return]
        if not is_plain(tensor):
            return _with_values(tensor)
        if isinstance(tensor, FakeTensor):
            return PAGES.like(tensor)
        made = self._wrapped(tensor) if hasattr(tensor, "__tensor_flatten__") else self._plain(tensor)
        if vars(tensor):
            vars(made).update({name: self.exchange(value) for name, value in vars(tensor).items()})
        return made

    def _wrapped(self, tensor: Any) -> torch.Tensor:
        """A weightless tensor for one that is made of others, such as a quantised weight."""
        names, context = tensor.__tensor_flatten__()
        inner = {name: self.exchange(getattr(tensor, name)) for name in names}
        with torch.no_grad():
            made = type(tensor).__tensor_unflatten__(inner, context, tensor.size(), tensor.stride())
        if isinstance(tensor, nn.Parameter) and not isinstance(made, nn.Parameter):
            return nn.Parameter(made, requires_grad=tensor.requires_grad)
        return made  # type: ignore[no-any-return]

    def _plain(self, tensor: torch.Tensor) -> torch.Tensor:
        is_parameter = isinstance(tensor, nn.Parameter)
        small = tensor.numel() <= (_SMALL_PARAMETER if is_parameter else _SMALL_BUFFER)
        with torch.no_grad():
            if small and not tensor.is_meta:
                made = tensor.detach().as_subclass(torch.Tensor).to("cpu", copy=True)
                self._copies.append((made, tensor, made._version))  # noqa: SLF001 - as above
            else:
                made = PAGES.tensor(tuple(tensor.shape), tensor.dtype)
            kind = type(tensor)
            if kind is torch.Tensor:
                return made
            needs = tensor.requires_grad and (made.is_floating_point() or made.is_complex())
            if kind is nn.Parameter:
                return nn.Parameter(made, requires_grad=needs)
            return torch.Tensor._make_subclass(kind, made, needs)  # noqa: SLF001 - as nn.Parameter itself does


def uncompiled(module: nn.Module) -> nn.Module:
    """The module that `torch.compile` wrapped, which computes the same; any other module is returned itself."""
    return vars(module)["_modules"]["_orig_mod"] if type(module).__name__ == "OptimizedModule" else module


_EXCHANGED = (torch.Tensor, torch.Generator, torch.device, np.ndarray, GeneratorType, *ITERATORS)


def _with_values(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of a tensor whose elements decide how much work there is; a parameter if the tensor is one."""
    made = tensor.detach().to("cpu", copy=True)
    return nn.Parameter(made, requires_grad=False) if isinstance(tensor, nn.Parameter) else made


def _rebuilt(values: tuple[Any, ...], change: Callable[[Any], Any]) -> tuple[Any, ...]:
    changed = [change(value) for value in values]
    if all(new is old for new, old in zip(changed, values, strict=True)):
        return values
    return type(values)(*changed) if hasattr(values, "_fields") else tuple(changed)


@contextmanager
def borrowed(roots: Iterable[Any], components: Callable[[], Iterable[nn.Module]]) -> Iterator[Loan]:
    """Lend objects to a rehearsal; afterwards they have their old state, whatever happens.

    Args:
        roots: a pipeline or module, and the arguments that it will be called with.
        components: returns, once tensors are exchanged, the modules from which hooks that move weights are taken out.
    """
    roots, lent = list(roots), list(components())
    modules = [part for component in lent for part in component.modules()]
    with Gate([*_callable(roots), *modules]).closed([*_callable(roots), *lent]):
        yield from _lent(roots, components)


def _callable(roots: Iterable[Any]) -> list[Any]:
    """A pipeline or a module among the roots."""
    return [item for item in roots if isinstance(item, nn.Module) or hasattr(type(item), "components")]


def _lent(roots: Iterable[Any], components: Callable[[], Iterable[nn.Module]]) -> Iterator[Loan]:
    holders = reach(roots)
    before = saved(holders)
    loan = Loan(holders, _modules={id(item): modules_of(item) for item in map(uncompiled, components())})
    classes: list[tuple[nn.Module, type]] = []
    scripted: list[tuple[torch.jit.ScriptModule, bool]] = []
    try:
        for holder in holders:
            holder.exchange(loan.exchange)
        for component in components():
            classes += [(part, type(part)) for part in component.modules()]
            scripted += [(part, part.training) for part in component.modules() if _knows_training(part)]
            _set_evaluating(component)
            stand_aside(component)
        loan.begin()
        yield loan
    finally:
        with _uninterrupted():
            for part, class_ in classes:
                if type(part) is not class_:
                    part.__class__ = class_
            put_back(before)
            for part, training in scripted:
                part.training = training


def _knows_training(part: nn.Module) -> TypeGuard[torch.jit.ScriptModule]:
    """Whether a module holds its training mode where Python cannot see it; a frozen one does not hold it."""
    return isinstance(part, torch.jit.ScriptModule) and hasattr(part, "training")


def _set_evaluating(component: nn.Module) -> None:
    for part in component.modules():
        if _knows_training(part):
            part.training = False
        elif not isinstance(part, torch.jit.ScriptModule):
            vars(part)["training"] = False


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait until the end of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came and callable(before):
            before(*came[0])
