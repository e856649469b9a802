"""Random numbers: the states of generators, and the draws of a captured call.

An attempt to export runs a module's Python, which advances the generators of Python and of numpy, and none of torch's: there
nothing is drawn, because tensors have no values. A run from the user's seed does neither. So after every attempt, generators
are put back, and a repeated answer draws as much from torch's generator as a run would.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fxprof.capture.reachable import Generating, Holder, reach, saved
from fxprof.trace import Op, Tensor, Trace, Value

GENERATORS = (random.Random, np.random.RandomState, np.random.Generator, torch.Generator)
"""Classes of random generators."""
_GLOBAL: tuple[Holder, ...] = (
    Generating(random.getstate, random.setstate),
    Generating(np.random.get_state, np.random.set_state),
    Generating(torch.get_rng_state, torch.set_rng_state),
)
"""The generators for code that has none of its own."""


class Generators:
    """The global random generators, and those that some objects can reach."""

    def __init__(self, roots: Iterable[Any] = ()) -> None:
        holders = reach(roots) if (roots := list(roots)) else ()
        self._holders = [*_GLOBAL, *(holder for holder in holders if isinstance(holder, Generating))]

    def states(self) -> list[tuple[Holder, Any]]:
        """The states of the generators, for `put_back`."""
        return saved(self._holders)

    def mark(self) -> Any:
        """The states of the generators, for comparisons."""
        return mark(self.states())


def mark(states: Iterable[tuple[Holder, Any]]) -> Any:
    """States of generators in a form that can be compared."""
    return [_comparable(state) for _, state in states]


def moved(states: list[tuple[Holder, Any]]) -> bool:
    """Whether the state of a generator has changed."""
    return bool(mark(states) != [_comparable(holder.read()) for holder, _ in states])


def _comparable(state: Any) -> Any:
    if isinstance(state, (torch.Tensor, np.ndarray)):
        return np.asarray(state).tobytes()
    if isinstance(state, dict):
        return [(key, _comparable(value)) for key, value in state.items()]
    if isinstance(state, tuple) and any(isinstance(item, np.ndarray) for item in state):
        return [_comparable(item) for item in state]
    return state


@dataclass(frozen=True, slots=True)
class Draw:
    """An operator that draws from torch's own generator, with its arguments."""

    function: Any
    given: tuple[tuple[str, Value], ...]

    def again(self) -> None:
        """Draw as much again, and drop the numbers: the call's use of them is unknown anyway."""
        types = {item.name: str(item.real_type) for item in self.function._schema.arguments}  # noqa: SLF001 - no other way
        # Contents that are valid for each of these operators: a half is a probability, a mean and a rate.
        with suppress(RuntimeError, TypeError, ValueError), torch.no_grad():
            self.function(**{name: _given(value, types[name]) for name, value in self.given})


def _given(value: Value, kind: str) -> Any:
    if isinstance(value, Tensor):
        return torch.full([int(size) for size in value.shape], 0.5).to(getattr(torch, value.dtype))  # type: ignore[arg-type]
    if isinstance(value, str):
        return torch.device("cpu") if "Device" in kind else getattr(torch, value) if kind in _NAMED else value
    return list(value) if isinstance(value, tuple) else value


_NAMED = {
    f"{form}{name}{end}" for name in ("ScalarType", "Layout", "MemoryFormat") for form, end in (("", ""), ("Optional[", "]"))
} | {
    "int",
    "Optional[int]",
}
"""Types of arguments that a trace writes as their names in torch."""


def draws_of(trace: Trace) -> tuple[Draw, ...]:
    """The draws of a trace's run from torch's own generator, in order."""
    if not any(_name(op) in _DRAWING for op in trace.distinct()):
        return ()
    return tuple(Draw(_function(op), op.args) for op in trace.expanded().walk() if _draws(op))


def draws_of_others(trace: Trace) -> bool:
    """Whether a trace draws from a generator that its module holds."""
    return any(_draws(op) and dict(op.args).get("generator") is not None for op in trace.distinct())


def is_drawing(function: Any) -> bool:
    """Whether an operator, given as torch's function, draws from a generator."""
    return function._schema.name in _DRAWING  # noqa: SLF001 - there is no other way to ask


def _draws(op: Op) -> bool:
    name = _name(op)
    if name not in _DRAWING:
        return False
    return "dropout" not in name or bool(dict(op.args).get("train", True))


def _name(op: Op) -> str:
    package, _, rest = op.target.partition(".")
    return f"{package}::{rest.partition('.')[0]}"


def _function(op: Op) -> Any:
    _, name, overload = op.target.split(".")
    return getattr(getattr(torch.ops.aten, name), overload)


_DRAWING = frozenset(
    f"aten::{name}{end}"
    for end in ("", "_")
    for name in (
        *("rand", "rand_like", "randn", "randn_like", "randint", "randint_like", "randperm", "normal", "uniform", "random"),
        *("bernoulli", "cauchy", "exponential", "geometric", "log_normal", "multinomial", "poisson", "_standard_gamma"),
        *("dropout", "native_dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout"),
    )
)
"""Operators that draw for all arguments; others draw for some, such as attention with a dropout of its own."""
