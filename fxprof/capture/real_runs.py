"""Modules whose Python runs for real, and the operators that it runs: they are recorded under the innermost such module.

Such a module is not exported; calls of its children are intercepted as usual.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from fxprof.capture.calls import inputs_of
from fxprof.capture.failure import Passed
from fxprof.capture.holding import Holding
from fxprof.capture.hooks import intercepted
from fxprof.capture.listening import CALL
from fxprof.capture.places import Place
from fxprof.capture.random_numbers import Generators
from fxprof.capture.recorded_calls import Recorded, RecordedCalls
from fxprof.capture.replay import Memory
from fxprof.capture.results_read import taken, tensors_of
from fxprof.capture.translate import bind, record, target_name
from fxprof.capture.unknown import marked_result
from fxprof.capture.values import SeenValues
from fxprof.capture.zero_weights import fresh_zeros
from fxprof.errors import CaptureError
from fxprof.trace import Frame, Op, Origin, Trace
from fxprof.trace.stacks import is_scaffolding, source_line


@dataclass(slots=True)
class Running:
    """A module, or the pipeline itself, whose Python runs for real: the operators that it runs directly."""

    component: str
    stack: tuple[Frame, ...]
    ops: list[Op] = field(default_factory=list)
    module: nn.Module | None = None
    """None for the pipeline itself."""
    values: SeenValues = field(default_factory=SeenValues)

    def trace(self) -> Trace:
        """The module's operators. Nothing shows who reads their results, so all of these count as returned."""
        made = {number: None for op in self.ops for number in op.makes}
        weights = dict(self.values.origins(self._weights()))
        read = dict.fromkeys(number for op in self.ops for number in op.reads if number not in made)
        # Results of operators that are not recorded come from outside, like the arguments of the call.
        origins = tuple((number, weights.get(number, Origin("input", ""))) for number in sorted(read))
        return Trace(tuple(self.ops), origins=origins, gives=tuple(made))

    def _weights(self) -> Iterator[tuple[Origin, torch.Tensor]]:
        if self.module is not None:
            path = self.stack[-1].path
            for kind, named in (("parameter", self.module.named_parameters(path)), ("buffer", self.module.named_buffers(path))):
                yield from ((Origin(kind, name), tensor) for name, tensor in named)


class RealRuns:
    """The modules that run for real in a rehearsal.

    Args:
        calls: records operators that run outside every exported call.
        notable: whether such an operator is to be recorded.
        outside: the name for operators that run in no component, and the class to show for it.
        generators: the generators from which modules can draw random numbers.
        unseen: a context in which nothing is recorded.
        holding: follows the tensors that Python holds.
    """

    def __init__(
        self,
        calls: RecordedCalls,
        *,
        notable: Callable[[str], bool],
        outside: tuple[str, str],
        generators: Generators,
        unseen: Callable[[], AbstractContextManager[None]],
        holding: Holding,
    ) -> None:
        self.passed: list[Passed] = []
        """The modules that errors came through, the innermost first."""
        self._calls, self._notable, self._outside = calls, notable, outside
        self._generators, self._unseen, self.holding = generators, unseen, holding
        self._running: list[Running] = []
        self._memories: dict[Place, Memory] = {}
        self._threads = torch.get_num_threads()

    @property
    def innermost(self) -> Running | None:
        """The module that runs; None outside of a rehearsal."""
        return self._running[-1] if self._running else None

    def is_inside(self, component: str) -> bool:
        """Whether the running module is part of a component."""
        return self._running[-1].component == component

    @contextmanager
    def of_pipeline(self) -> Iterator[None]:
        """Record operators as the pipeline's own Python for the duration of a rehearsal."""
        name, class_name = self._outside
        self._running = [Running(name, (Frame("", class_name),))]
        self._threads = torch.get_num_threads()
        try:
            # The work is small: sharing it among threads would take longer than the work itself.
            torch.set_num_threads(1)
            yield
        finally:
            torch.set_num_threads(self._threads)
            self._finish(self._running[0], "")
            self._running = []

    @contextmanager
    def forgotten(self) -> Iterator[None]:
        """Repeat no run from older records until the end of the block."""
        before, self._memories = self._memories, {}
        try:
            yield
        finally:
            self._memories = before

    def observe(self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        """Record an operator that ran outside every exported call."""
        if self._running:
            self.holding.note(self._running[-1].component, (args, kwargs), result)
            if len(self._running) == 1:
                self.holding.note_between(self._calls.order[-1] if self._calls.order else "")
        if self._running and self._notable(target_name(function)):
            op = record(function, args, kwargs, result)
            running = self._running[-1]
            given = bind(function, args, kwargs, lambda value: value)
            reads, makes = running.values.read(*(value for _, value in given)), running.values.made(result)
            running.ops.append(Op(op.target, op.args, op.outputs, running.stack, calling_line(), (), reads, makes))
            self._calls.events += 1

    def run_or_repeat(
        self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any], forward: Callable[..., Any]
    ) -> Any:
        """Run a module, unless it was called like this before and would do the same again.

        Args:
            module: the module that is called.
            place: its component and path.
            args: positional arguments.
            kwargs: keyword arguments.
            forward: replaces the `forward` of its class where hooks around it run for real.
        """
        counts = self._calls.counts()
        with self._unseen():
            taken(tensors_of((args, kwargs)))
            attempt = self._memories.setdefault(place, Memory(self._generators)).begin(module, args, kwargs)
        if attempt.known is None:
            result = self.run(module, place, args, kwargs, forward)
            taken(tensors_of(result))  # a repeated answer does not show who reads it
            made = self._calls.made_since(counts)
            with self._unseen():
                attempt.remember(module, args, kwargs, result, made)
            return result
        for key, times in attempt.known.calls.items():
            self._calls.count(key, self._calls.by_key[key], times)
        with self._unseen():
            answer = marked_result(attempt.known.answer(args, kwargs))
            self.holding.add(answer)
            return answer

    def run(
        self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any], forward: Callable[..., Any]
    ) -> Any:
        """Run a module; arguments as for `run_or_repeat`."""
        running = Running(place.component, (*self._frames(place), Frame(place.path, type(module).__name__)), module=module)
        self._running.append(running)
        threads = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        args, kwargs = pytree.tree_map_only(torch.Tensor, _mapped, (args, kwargs))
        try:
            with intercepted(module, forward):
                return CALL(module, *args, **kwargs)
        except Exception as error:
            with self._unseen():
                inputs = inputs_of(module, args, kwargs)
            before = (item for item in self.passed if item.error is error)
            self.passed = [*before, Passed(error, place, running.stack, inputs)]
            raise
        finally:
            torch.set_num_threads(threads)
            self._running.pop()
            self._finish(running, place.path)

    def _frames(self, place: Place) -> tuple[Frame, ...]:
        outer = self._running[-1]
        return outer.stack if outer.component == place.component else ()

    def _finish(self, running: Running, path: str) -> None:
        """Record the operators that a module ran directly."""
        if running.ops:
            work = tuple((op.target, op.args, op.outputs, op.stack, op.source) for op in running.ops)
            key = (running.component, path, "direct", work)
            note = "operators that its Python ran outside its children" if path or running.component != self._outside[0] else ""
            self._calls.count_operators(key, Recorded(running.component, path, running.trace(), None, note))


def _mapped(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor for computing: zeros without memory for one on the meta device."""
    if not tensor.is_meta:
        return tensor
    made = fresh_zeros(tuple(tensor.shape), tensor.dtype)
    if made.is_meta:
        size = "x".join(map(str, tensor.shape))
        raise CaptureError(f"its Python reads values, and an input of {size} is more than this machine can address", _SMALLER)
    return made


_SMALLER = "give it a smaller input"


def calling_line() -> str | None:
    """The innermost line of a model's or a pipeline's Python."""
    frame = sys._getframe(1)  # noqa: SLF001 - walking frames is far cheaper than formatting a traceback
    while frame is not None:
        file = frame.f_code.co_filename
        if not is_scaffolding(file):
            return source_line(file, frame.f_lineno)
        frame = frame.f_back  # type: ignore[assignment]
    return None
