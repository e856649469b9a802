"""Answers to calls of a component's modules: an export gives the results, or the module's Python runs for real."""

from __future__ import annotations

import contextvars
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from fxprof.capture.calls import inputs_of, key_of
from fxprof.capture.export import NotExportableError
from fxprof.capture.hooks import Surroundings, bare, has_own_hooks
from fxprof.capture.known_calls import KnownCalls
from fxprof.capture.listening import CALL, Listening
from fxprof.capture.places import Place
from fxprof.capture.reachable import put_back, reach, saved
from fxprof.capture.real_runs import RealRuns
from fxprof.capture.recorded_calls import DifferentCallError, Recorded, RecordedCalls
from fxprof.capture.results_read import taken, tensors_of
from fxprof.capture.state import settings_of


class Interception:
    """Stands between a pipeline and the modules of its components.

    Args:
        places: the modules by identity; calls of other modules run as usual.
        listening: the functions of torch that are replaced meanwhile.
        known: the exports of calls.
        calls: records calls.
        runs: runs modules for real.
        own_code: whether modules may be of the user's own classes, as in a live pipeline.
        progress: gets the component and entry before each capture.
    """

    def __init__(
        self,
        places: Mapping[int, Place],
        listening: Listening,
        known: KnownCalls,
        calls: RecordedCalls,
        runs: RealRuns,
        *,
        own_code: bool,
        progress: Callable[[str], None],
    ) -> None:
        self.ran_for_real: dict[tuple[str, str], str] = {}
        """The reasons for which the Python of modules ran for real, by (component, path)."""
        self.export_seconds = 0.0
        self._places, self._listening, self._known = places, listening, known
        self._calls, self._runs, self._progress = calls, runs, progress
        self._around, self._own_code = Surroundings(own_code=own_code), own_code
        self._refused: set[tuple[str, str]] = set()
        """(component, path) of modules whose class's `forward` cannot be exported between the hooks around it."""

    def answer(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The answer to `module(*args, **kwargs)`."""
        place = self._places.get(id(module))
        if place is None or self._listening.silent:
            return CALL(module, *args, **kwargs)
        if self._runs.is_inside(place.component):
            return self._answered(module, place, args, kwargs)
        self._calls.enter(place.component)
        with self._calls.visit(place.component):
            return self._answered(module, place, args, kwargs)

    def _answered(self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if _is_differentiated(module, args, kwargs):
            return self._run(module, place, args, kwargs)
        reason = self._around.reason_to_run(module)
        if reason:
            self.ran_for_real[place.component, place.path] = reason
        if reason or has_own_hooks(module):
            return self._run(module, place, args, kwargs)
        return self._exported_or_run(module, place, args, kwargs)

    def _exported_or_run(self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        key = (place.component, place.path)
        if key in self.ran_for_real:
            return self._run_or_repeat(module, place, args, kwargs)
        if key in self._refused:
            return CALL(module, *args, **kwargs)
        try:
            return self._exported(module, place, args, kwargs)
        except NotExportableError as error:
            self.ran_for_real[key] = str(error)
            return self._run_or_repeat(module, place, args, kwargs)

    def _run_or_repeat(self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._around.functions(module):  # no record of runs holds the state of these
            return self._run(module, place, args, kwargs)
        return self._runs.run_or_repeat(module, place, args, kwargs, self._own_forward(module, place))

    def _run(self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._runs.run(module, place, args, kwargs, self._own_forward(module, place))

    def _own_forward(self, module: nn.Module, place: Place) -> Callable[..., Any]:
        """A replacement for the `forward` of a module's class when hooks around it run for real."""

        def forward(*args: Any, **kwargs: Any) -> Any:
            if _is_differentiated(module, args, kwargs) or self._around.reason_inside(module):
                return type(module).forward(module, *args, **kwargs)
            with bare(module):
                return self._exported_forward(module, place, args, kwargs)

        return forward

    def _exported_forward(self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        key = (place.component, place.path)
        if key not in self._refused:
            try:
                return self._exported(module, place, args, kwargs)
            except NotExportableError:
                self._refused.add(key)
        return type(module).forward(module, *args, **kwargs)

    def _exported(self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        key = (place.component, place.path, settings_of(module), self._around.outside(module), *key_of(args, kwargs))
        recorded = self._calls.find(key)
        if recorded is None:
            recorded = self._capture(module, place, args, kwargs)
        assert recorded.call is not None
        with self._listening.unseen():
            taken(tensors_of((args, kwargs)))
            recorded.held = max(recorded.held, self._runs.holding.now)
            answer = recorded.call.answer(args, kwargs, recorded.read)
            self._runs.holding.add(answer)
        self._calls.count(key, recorded)
        return answer

    def _capture(self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recorded:
        if self._calls.is_closed:
            raise DifferentCallError
        if self._calls.is_anew:
            with self._listening.off():
                known = self._known.again(module, place, args, kwargs)
            if known is None:
                raise DifferentCallError
            return Recorded(place.component, place.path, known.trace, known)
        self._progress(f"capturing {'.'.join(part for part in (place.component, place.path) if part)}")
        started = time.perf_counter()
        with self._listening.off(), self._nothing_outside_changed(module):
            inputs = inputs_of(module, args, kwargs)
            export = functools.partial(self._known.export, alone=bool(self._around.functions(module)))
            call = contextvars.copy_context().run(export, module, place, args, kwargs)
        self.export_seconds += time.perf_counter() - started
        return Recorded(place.component, place.path, replace(call.trace, inputs=inputs), call)

    @contextmanager
    def _nothing_outside_changed(self, module: nn.Module) -> Iterator[None]:
        """Undo an export's changes to state that its module sees elsewhere.

        Raises:
            NotExportableError: there were such changes, so that a repeated answer would not do the work of a call.
        """
        if not self._own_code:
            yield
            return
        functions = self._around.functions(module)
        before, states = self._around.outside(module), saved(reach([module, *functions]))
        try:
            yield
            changed = bool(functions) and self._around.outside(module) != before
        except BaseException:
            put_back(states)
            raise
        if functions:
            put_back(states)
        if changed:
            raise NotExportableError("it changes state that is not in a module")


def _is_differentiated(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call is part of a gradient, or of a function that torch transforms: then every operator has to be seen."""
    if torch._C._functorch.peek_interpreter_stack() is not None:  # noqa: SLF001 - as torch.func itself asks
        return True
    if not torch.is_grad_enabled():
        return False
    tensors = (leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor))
    return any(tensor.requires_grad for tensor in (*tensors, *module.parameters()))
