"""Run a pipeline's own `__call__` with components that hold no data, and record every call of a component.

Calls are intercepted in one place, `nn.Module.__call__`, for the time of the rehearsal only. The outermost call of a module
of a component is exported once per distinct call and answered with zeros of the right shapes, so that the pipeline's own
arithmetic, schedulers and post-processing run for real, on small tensors.

A module whose Python needs more than shapes (lengths read out of a mask, experts chosen by value, state that it keeps)
runs for real instead, on its zero weights, and the calls of its children are recorded in its place. Operators that run
outside every exported call are seen by a dispatch mode and recorded where they ran, never lost.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from fxprof.capture.calls import Key, inputs_of, key_of
from fxprof.capture.export import ExportedCall, NotExportableError, export_call
from fxprof.capture.failure import Failure, Passed, failure_of
from fxprof.capture.hollow import convert
from fxprof.capture.places import Place, find_modules
from fxprof.capture.quiet import unchanged
from fxprof.capture.remember import KeptCalls
from fxprof.capture.replay import Memory
from fxprof.capture.sharing import fingerprint
from fxprof.capture.state import settings_of
from fxprof.capture.translate import record, target_name
from fxprof.trace import Block, Frame, Occurrence, Op, Tensor, Trace
from fxprof.trace.captured import CapturedCall, CapturedModule
from fxprof.trace.stacks import is_scaffolding, source_line

_CALL = nn.Module.__call__
_APPLY = nn.Module._apply  # noqa: SLF001 - the one place through which .to(), .half() and .float() go


class _EnoughError(Exception):
    """A rehearsal that was to repeat another one has done so as far as it matters."""


class DifferentCallError(Exception):
    """A rehearsal that was to repeat another one made a call that the other had not made."""


@dataclass(slots=True)
class Recorded:
    """One distinct call, while it is being counted."""

    component: str
    entry: str
    trace: Trace
    call: ExportedCall | None = None
    note: str = ""
    count: int = 0


@dataclass(slots=True)
class _Running:
    """A module, or the pipeline itself, whose Python runs for real: the operators that it runs directly."""

    component: str
    stack: tuple[Frame, ...]
    ops: list[Op] = field(default_factory=list)


class Rehearsal:
    """The calls that a pipeline makes of its components.

    Args:
        components: modules by component name, without data (see `fxprof.capture.hollow`).
        notable: whether an operator outside every exported call is to be recorded: all but those known to cost nothing.
        outside: the name under which operators are recorded that run in no component, and the class to show for it.
        whole: export every module, also those that are alike, so that programs are complete.
        kept: calls of earlier runs, which are not exported again.
        progress: told the component and entry before each capture.
    """

    def __init__(
        self,
        components: Mapping[str, nn.Module],
        *,
        notable: Callable[[str], bool],
        outside: tuple[str, str],
        whole: bool = False,
        kept: KeptCalls | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self.calls: dict[Key, Recorded] = {}
        self.ran_for_real: dict[tuple[str, str], str] = {}
        """(component, path) of modules whose Python ran for real, to the reason."""
        self.entered: Counter[str] = Counter()
        """Component to how often it was called from outside of it."""
        self.failure: Failure | None = None
        """What the rehearsal ended at, when it did not come to the end of the pipeline."""
        self.export_seconds = 0.0
        self._components = dict(components)
        self._places, self._aliases = find_modules(components)
        self._notable = notable
        self._outside = outside
        self._progress = progress or (lambda _: None)
        self._running: list[_Running] = []
        self._passed: list[Passed] = []
        self._memories: dict[Place, Memory] = {}
        self._exported_alike: dict[Key, tuple[ExportedCall | NotExportableError, Place]] = {}
        self._whole = whole
        self._kept = kept
        self._threads = torch.get_num_threads()
        self._inside = 0
        self._recorder = _Recorder(self)
        self._frozen = False
        self._busiest: Recorded | None = None
        self._busiest_count = 0

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `function` and record; everything global is as before afterwards, also when it raises."""
        name, class_name = self._outside
        self._running = [_Running(name, (Frame("", class_name),))]
        self._threads = torch.get_num_threads()
        try:
            # What runs is small: to share it out among threads takes longer than the work.
            torch.set_num_threads(1)
            with unchanged(), self._listening():
                return function(*args, **kwargs)
        finally:
            torch.set_num_threads(self._threads)
            self._finish(self._running[0], "")
            self._running = []

    def end(self, error: BaseException) -> Failure | None:
        """Take an error that came out of `run` as the end of the rehearsal, and record the call that failed.

        Returns:
            None, and nothing is recorded, when no component failed, or when no call of another component stands.
        """
        failure = failure_of(error, self._passed, self._places)
        others = [found for found in self.calls.values() if failure and found.component != failure.component]
        if failure is None or not any(found.call for found in others):
            return None
        self.failure, self._passed = failure, []  # errors hold on to all that their frames held
        key = (failure.component, failure.entry, "failed", failure.stack, failure.inputs)
        self.calls[key] = Recorded(failure.component, failure.entry, failure.trace, count=1)
        return failure

    def repeats(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
        """Whether calling `function` makes only calls that are known already; nothing is counted.

        It is stopped at the second call of the component that is called most, as text is encoded by then, or where the other
        one ended.
        """
        counts = {key: recorded.count for key, recorded in self.calls.items()}
        whole = self.calls.values() if self.failure is None else ()
        self._busiest = max(whole, key=lambda found: found.count if found.call else 0, default=None)
        self._busiest_count = self._busiest.count if self._busiest else 0
        self._frozen = True
        try:
            self.run(function, *args, **kwargs)
        except DifferentCallError:
            return False
        except _EnoughError:
            return True
        except Exception as error:
            failure = failure_of(error, self._passed, self._places)
            if self.failure is None or failure is None:
                raise
            return failure == self.failure
        finally:
            self._frozen = False
            self.calls = {key: recorded for key, recorded in self.calls.items() if key in counts}
            for key, count in counts.items():
                self.calls[key].count = count
        return True

    def recorded(self, component: str) -> tuple[CapturedCall, ...]:
        """The distinct calls of a component, in the order of their first times.

        Calls that differ only in plain values which their graphs do not show are one.
        """
        merged: dict[Any, CapturedCall] = {}
        entries = Counter(found.entry for found in self.calls.values() if found.component == component)
        for found in self.calls.values():
            if found.component == component:
                tensors = tuple(item for item in found.trace.inputs if isinstance(item[1], Tensor))
                alone = entries[found.entry] == 1  # to compare all operators takes time
                key = (found.entry, () if alone else found.trace.expanded().parts, tensors)
                program = found.call.program if found.call else None
                first = merged.get(key, CapturedCall(found.entry, 0, found.trace, found.note, program))
                merged[key] = replace(first, count=first.count + found.count)
        return tuple(merged.values())

    def aliases(self, component: str) -> dict[str, str]:
        """Other paths of the modules of a component that are shared, to the one path that their calls add up at."""
        return dict(self._aliases.get(component, {}))

    def observe(self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        """Note an operator that ran outside every exported call."""
        if self._running and self._notable(target_name(function)):
            op = record(function, args, kwargs, result)
            running = self._running[-1]
            running.ops.append(Op(op.target, op.args, op.outputs, running.stack, _calling_line(), ()))

    def call(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Stand in for `module(*args, **kwargs)` while the rehearsal listens."""
        place = self._places.get(id(module))
        if place is None or self._inside:
            return _CALL(module, *args, **kwargs)
        self.entered[place.component] += not self._frozen and self._running[-1].component != place.component
        if (place.component, place.path) not in self.ran_for_real and _is_watched(module):
            self.ran_for_real[place.component, place.path] = "a hook watches it or a part of it"
        if (place.component, place.path) in self.ran_for_real:
            return self._run_for_real(module, place, args, kwargs)
        try:
            return self._exported(module, place, args, kwargs)
        except NotExportableError as error:
            self.ran_for_real[place.component, place.path] = str(error)
            return self._run_for_real(module, place, args, kwargs)

    def _exported(self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        key = (place.component, place.path, settings_of(module), *key_of(args, kwargs))
        found = self.calls.get(key)
        if found is None:
            found = self._capture(module, place, args, kwargs)
        assert found.call is not None
        with self._unseen():
            answer = found.call.answer(args, kwargs)
        self.calls[key] = found
        self._count(found, 1)
        return answer

    def _count(self, found: Recorded, times: int) -> None:
        found.count += times
        if self._frozen and found is self._busiest and found.count > self._busiest_count + 1:
            raise _EnoughError

    def _capture(self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recorded:
        if self._frozen:
            raise DifferentCallError
        self._progress(f"capturing {'.'.join(part for part in (place.component, place.path) if part)}")
        started = time.perf_counter()
        with self._silent():
            inputs = inputs_of(module, args, kwargs)
            call = self._export(module, place, args, kwargs)
        self.export_seconds += time.perf_counter() - started
        return Recorded(place.component, place.path, Trace(call.trace.parts, inputs), call)

    def _export(self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ExportedCall:
        """Export a call, or repeat what was found of a module that is the same, called the same way."""
        aliases = self._aliases[place.component]
        inside = f"{place.path}." if place.path else ""
        if self._whole or any(path.startswith(inside) for pair in aliases.items() for path in pair):
            return export_call(module, args, kwargs, prefix=place.path, aliases=aliases, whole=self._whole)
        found = fingerprint(module)
        strides = tuple(leaf.stride() for leaf in pytree.tree_leaves((args, kwargs)) if type(leaf) is torch.Tensor)
        key = (found.structure, found.plain, strides, *key_of(args, kwargs))
        if key not in self._exported_alike:
            try:
                call = self._kept_or_exported(module, place, args, kwargs)
            except NotExportableError as error:
                self._exported_alike[key] = error, place
                raise
            self._exported_alike[key] = call, place
        known, first = self._exported_alike[key]
        if isinstance(known, NotExportableError):
            raise NotExportableError(*known.args)
        if first == place:
            return known
        name = type(module).__name__
        block = Block((Frame(first.path, name),), known.trace.parts)
        return replace(known, trace=Trace((Occurrence(block, (Frame(place.path, name),)),)))

    def _kept_or_exported(self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ExportedCall:
        aliases = self._aliases[place.component]
        if self._kept is None:
            return export_call(module, args, kwargs, prefix=place.path, aliases=aliases)
        key = self._kept.key(place, module, args, kwargs)
        known = self._kept.find(key)
        if known is not None:
            return known
        try:
            call = export_call(module, args, kwargs, prefix=place.path, aliases=aliases)
        except NotExportableError as error:
            self._kept.keep_refusal(key, place, module, error)
            raise
        self._kept.keep(key, place, module, call)
        return call

    def _run_for_real(self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run it, unless it was called like this before and would do the same again."""
        if _is_watched(module):
            return self._really_run(module, place, args, kwargs)
        counts = {key: found.count for key, found in self.calls.items()}
        with self._unseen():
            attempt = self._memories.setdefault(place, Memory()).begin(module, args, kwargs)
        if attempt.known is None:
            result = self._really_run(module, place, args, kwargs)
            made = {key: times for key, found in self.calls.items() if (times := found.count - counts.get(key, 0))}
            with self._unseen():
                attempt.remember(module, args, kwargs, result, made)
            return result
        for key, times in attempt.known.calls.items():
            self._count(self.calls[key], times)
        with self._unseen():
            return attempt.known.answer(args, kwargs)

    def _really_run(self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        running = _Running(place.component, (*self._frames(place), Frame(place.path, type(module).__name__)))
        self._running.append(running)
        threads = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            return _CALL(module, *args, **kwargs)
        except Exception as error:
            with self._unseen():
                inputs = inputs_of(module, args, kwargs)
            before = (item for item in self._passed if item.error is error)
            self._passed = [*before, Passed(error, place, running.stack, inputs)]
            raise
        finally:
            torch.set_num_threads(threads)
            self._running.pop()
            self._finish(running, place.path)

    def _frames(self, place: Place) -> tuple[Frame, ...]:
        outer = self._running[-1]
        return outer.stack if outer.component == place.component else ()

    def _finish(self, running: _Running, path: str) -> None:
        if not running.ops:
            return
        key = (running.component, path, "direct", tuple(running.ops))
        if key not in self.calls:
            if self._frozen:
                raise DifferentCallError
            note = "operators that its Python ran outside its children" if path or running.component != self._outside[0] else ""
            self.calls[key] = Recorded(running.component, path, Trace(tuple(running.ops)), None, note)
        self.calls[key].count += 1

    @contextmanager
    def _listening(self) -> Iterator[None]:
        rehearsal = self

        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            return rehearsal.call(module, args, kwargs)

        def apply(module: nn.Module, change: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> nn.Module:
            if id(module) in rehearsal._places:
                return convert(module, change)
            return cast("nn.Module", _APPLY(module, change, recurse))

        self._patches = (call, apply)
        self._patch(*self._patches)
        try:
            with self._recorder:
                yield
        finally:
            self._patch(_CALL, _APPLY)

    @contextmanager
    def _silent(self) -> Iterator[None]:
        """Neither intercept nor record: for calls of modules that are the rehearsal's own."""
        self._inside += 1
        self._patch(_CALL, _APPLY)
        try:
            with self._unseen():
                yield
        finally:
            self._patch(*self._patches)
            self._inside -= 1

    @contextmanager
    def _unseen(self) -> Iterator[None]:
        """Record nothing, which is far cheaper: for operators that are the rehearsal's own."""
        self._recorder.__exit__(None, None, None)
        try:
            yield
        finally:
            self._recorder.__enter__()

    @staticmethod
    def _patch(call: Any, apply: Any) -> None:
        nn.Module.__call__ = call  # type: ignore[method-assign]
        nn.Module._apply = apply  # type: ignore[method-assign]  # noqa: SLF001 - see _APPLY


def _is_watched(module: nn.Module) -> bool:
    """Whether the pipeline registered a hook: only running for real calls it with what it is to see."""
    return any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())  # noqa: SLF001 - no other way to ask


class _Recorder(TorchDispatchMode):
    """Shows the rehearsal every operator that really runs."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        super().__init__()
        self._rehearsal = rehearsal

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._rehearsal.observe(func, args, kwargs or {}, result)
        return result


def modules_of(component: nn.Module) -> tuple[CapturedModule, ...]:
    """The modules of a component with the parameters that each holds, shared ones at their first holder."""
    seen: set[int] = set()
    found = []
    for path, part in component.named_modules():
        own = [tensor for tensor in part._parameters.values() if tensor is not None and id(tensor) not in seen]  # noqa: SLF001
        seen.update(id(tensor) for tensor in own)
        found.append(CapturedModule(path, type(part).__name__, sum(tensor.numel() for tensor in own)))
    return tuple(found)


def _calling_line() -> str | None:
    frame = sys._getframe(1)  # noqa: SLF001 - walking frames is far cheaper than formatting a traceback
    while frame is not None:
        file = frame.f_code.co_filename
        if not is_scaffolding(file):
            return source_line(file, frame.f_lineno)
        frame = frame.f_back  # type: ignore[assignment]
    return None
