"""Run a pipeline's own `__call__` with components that hold no data, and record every call of a component.

Calls are intercepted in one place, `nn.Module.__call__`, for the time of the rehearsal only. The outermost call of a module
of a component is exported once per distinct call and answered with zeros of the right shapes, so that the pipeline's own
arithmetic, schedulers and post-processing run for real, on small tensors.

A module whose Python needs more than shapes (lengths read out of a mask, experts chosen by value, state that it keeps)
runs for real instead, on its zero weights, and the calls of its children are recorded in its place. Operators that run
outside every exported call are seen by a dispatch mode and recorded where they ran, never lost.
"""

from __future__ import annotations

import contextvars
import functools
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils import _pytree as pytree

from fxprof.capture.calls import Key, inputs_of, key_of
from fxprof.capture.draws import Generators
from fxprof.capture.endless import EndlessError, ended_after
from fxprof.capture.export import ExportedCall, NotExportableError
from fxprof.capture.failure import Failure, Passed, failure_of
from fxprof.capture.hollow import fresh_zeros
from fxprof.capture.hooks import Surroundings, bare, has_own_hooks, intercepted
from fxprof.capture.known_calls import KnownCalls
from fxprof.capture.listening import CALL, Listening
from fxprof.capture.places import Place, find_modules
from fxprof.capture.quantised import weights_of
from fxprof.capture.quiet import unchanged
from fxprof.capture.reachable import is_own, put_back, reach, saved
from fxprof.capture.recorder import WHOLE, Recorder
from fxprof.capture.remember import KeptCalls
from fxprof.capture.replay import Memory
from fxprof.capture.results_read import taken, tensors_of
from fxprof.capture.state import settings_of
from fxprof.capture.translate import record, target_name
from fxprof.capture.unknown import Trial, marked_result, trials
from fxprof.errors import CaptureError
from fxprof.trace import Frame, Occurrence, Op, Tensor, Trace
from fxprof.trace.captured import CapturedCall, CapturedModule, CapturedRun
from fxprof.trace.modules import made_by_torch
from fxprof.trace.stacks import is_scaffolding, source_line


class _EnoughError(Exception):
    """A rehearsal that was to repeat another one has done so as far as it matters."""


class EndlessLoopError(CaptureError):
    """The user's code goes on until a value is reached that zeros never reach."""


_MOST_READS = 10_000
_BOUNDED = "give the loop a bound, or profile the parts that it calls"
_PATIENCE = 5.0
"""Seconds that a run with other values is given beside twice those of the first."""


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
    read: set[int] = field(default_factory=set)
    """The places of its results that somebody read."""

    def as_captured(self) -> CapturedCall:
        """The call as it is so far."""
        if self.call is None:
            return CapturedCall(self.entry, self.count, self.trace, self.note)
        read, objects = self.call.given_back(self.read), bool(self.call.objects)
        return CapturedCall(self.entry, self.count, self.trace, self.note, self.call.program, read, objects)


@dataclass(slots=True)
class _Running:
    """A module, or the pipeline itself, whose Python runs for real: the operators that it runs directly."""

    component: str
    stack: tuple[Frame, ...]
    ops: list[Op] = field(default_factory=list)


class Read(NamedTuple):
    """A place where Python read a value that only a real run knows."""

    component: str
    path: str
    line: str
    """`package/file.py:12`."""
    how: str
    """The operator."""

    @property
    def is_own(self) -> bool:
        """Whether the user's own code reads, which may decide by anything."""
        return is_own(self.line.partition("/")[0].partition(".")[0])


class Rehearsal:
    """The calls that a pipeline makes of its components.

    Args:
        components: modules by component name, without data (see `fxprof.capture.hollow`).
        notable: whether an operator outside every exported call is to be recorded: all but those known to cost nothing.
        outside: the name under which operators are recorded that run in no component, and the class to show for it.
        whole: export every module, also those that are alike, so that programs are complete.
        kept: calls of earlier runs, which are not exported again.
        own_code: whether the modules may be of the user's own classes, as in a live pipeline.
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
        own_code: bool = False,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self.calls: dict[Key, Recorded] = {}
        self.ran_for_real: dict[tuple[str, str], str] = {}
        """(component, path) of modules whose Python ran for real, to the reason."""
        self.entered: Counter[str] = Counter()
        """Component to how often it was called from outside of it."""
        self.visits: dict[str, Counter[frozenset[tuple[Key, int]]]] = {}
        """Component to the calls that each call of it from outside was made of, and how often it was made of these."""
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
        self._generators = Generators(components.values() if own_code else ())
        self._known = KnownCalls(self._aliases, self._generators, whole=whole, kept=kept)
        self._around, self._own_code = Surroundings(own_code=own_code), own_code
        self._threads = torch.get_num_threads()
        self._listening = Listening(self, Recorder(self, bounded=not own_code), self._places)
        self._refused: set[tuple[str, str, str]] = set()
        self._frozen = False
        self._busiest: Recorded | None = None
        self._busiest_count = 0
        self._first: Mapping[Key, Recorded] = {}
        """While other values are read, the calls that were made before."""
        self.others: Trial | None = None
        self._events = 0
        self._reads: dict[Read, int] = {}
        self._times_read: Counter[Read] = Counter()
        self._seconds = 0.0
        """Processor's time of the first run."""
        self._end = math.inf
        """When, in this thread's time, a run with other values is taken not to end."""

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `function` and record; everything global is as before afterwards, also when it raises."""
        name, class_name = self._outside
        self._running = [_Running(name, (Frame("", class_name),))]
        self._threads = torch.get_num_threads()
        self._times_read.clear()
        started = time.thread_time()
        try:
            # What runs is small: to share it out among threads takes longer than the work.
            torch.set_num_threads(1)
            with unchanged(), self._listening.on():
                # What it sets in a context variable is gone afterwards.
                result = contextvars.copy_context().run(function, *args, **kwargs)
                with self._listening.unseen():
                    taken(tensors_of(result))
                return result
        finally:
            torch.set_num_threads(self._threads)
            self._seconds = self._seconds or time.thread_time() - started
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

    def deciding_reads(self) -> list[Read]:
        """Where Python read a value that nobody knows and may have decided by it.

        A module can return early, so that nothing is called after the read. A pipeline that reads whole tensors at its very
        end makes pictures of them, and decides nothing.
        """
        return [read for read, event in self._reads.items() if event < self._events or not self._is_output(read)]

    def _is_output(self, read: Read) -> bool:
        return read.component == self._outside[0] and read.how == WHOLE

    def decisive_reads(self, again: Callable[[], None], function: Callable[..., Any], *args: Any, **kwargs: Any) -> int | None:
        """How many other values were read and changed nothing that was called; None where what was called depends on them.

        `function` runs again, several times, and reads other values: if it makes calls that compute the same each time, they
        do not matter, as far as anybody can tell.

        Args:
            again: makes everything what it was before `function` ran.
            function: what was run.
            args: its positional arguments.
            kwargs: its keyword arguments.
        """
        if self.failure is not None:
            return None
        others = trials(own=any(read.is_own for read in self.deciding_reads()))
        for trial in others:
            again()
            if self._differs(trial, function, *args, **kwargs):
                return None
        return len(others)

    def _differs(self, others: Trial, function: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
        """Whether `function` computes something else when it reads other values."""
        counted, memories = self.calls, self._memories
        self.calls, self._memories, self.others, self._first = {}, {}, others, counted
        most = _PATIENCE + 2 * self._seconds
        self._end = time.thread_time() + most
        try:
            with ended_after(most):
                self.run(function, *args, **kwargs)
        except (Exception, EndlessError):  # noqa: BLE001 - values that do not fit together are no bug, but show that they matter
            return True
        else:
            return _work(self.calls) != _work(counted)
        finally:
            self.calls, self._memories, self.others, self._first = counted, memories, None, {}
            self._end = math.inf

    def recorded(self, component: str) -> tuple[CapturedCall, ...]:
        """The distinct calls of a component, in the order of their first times.

        Calls that differ only in plain values which their graphs do not show are one.
        """
        merged: dict[int, CapturedCall] = {}
        for key, place in self._places_of_calls(component).items():
            call = self.calls[key].as_captured()
            merged[place] = _together(merged[place], call) if place in merged else call
        return tuple(merged.values())

    def _places_of_calls(self, component: str) -> dict[Key, int]:
        """For each call that was recorded of a component, its number among the distinct ones."""
        places: dict[Key, int] = {}
        distinct: dict[Any, int] = {}
        entries = Counter(found.entry for found in self.calls.values() if found.component == component)
        for key, found in self.calls.items():
            if found.component == component:
                tensors = tuple(item for item in found.trace.inputs if isinstance(item[1], Tensor))
                alone = entries[found.entry] == 1  # to compare all operators takes time
                work = (found.entry, () if alone else found.trace.expanded().parts, tensors)
                places[key] = distinct.setdefault(work, len(distinct))
        return places

    def runs(self, component: str) -> tuple[CapturedRun, ...]:
        """What the calls of a component from outside were made of, distinct ones with how often; by places in `recorded`."""
        places = self._places_of_calls(component)
        merged: Counter[tuple[tuple[int, int], ...]] = Counter()
        for calls, count in self.visits.get(component, Counter()).items():
            times: Counter[int] = Counter()
            for key, number in calls:
                if key in places:
                    times[places[key]] += number
            merged[tuple(sorted(times.items()))] += count
        return tuple(CapturedRun(count, calls) for calls, count in merged.items())

    def aliases(self, component: str) -> dict[str, str]:
        """Other paths of the modules of a component that are shared, to the one path that their calls add up at."""
        return dict(self._aliases.get(component, {}))

    def observe(self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        """Note an operator that ran outside every exported call."""
        self._check_time()
        if self._running and self._notable(target_name(function)):
            op = record(function, args, kwargs, result)
            running = self._running[-1]
            running.ops.append(Op(op.target, op.args, op.outputs, running.stack, _calling_line(), ()))
            self._events += 1

    def read(self, how: str) -> None:
        """Note that Python read a value that nobody knows."""
        if self._running and not self._listening.silent:
            running = self._running[-1]
            path = running.stack[-1].path if running.component != self._outside[0] else ""
            read = Read(running.component, path, _calling_line() or "", how)
            self._reads.setdefault(read, self._events)
            self._times_read[read] += 1
            if self._times_read[read] > _MOST_READS:
                what = f"a loop reads a value that only a real run knows {_MOST_READS:,} times"
                raise EndlessLoopError(f"{what}{f' in {read.line}' if read.line else ''}; for zeros it does not end", _BOUNDED)
        self._check_time()

    def _check_time(self) -> None:
        if time.thread_time() > self._end:
            raise EndlessError

    def call(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Stand in for `module(*args, **kwargs)` while the rehearsal listens."""
        self._check_time()
        place = self._places.get(id(module))
        if place is None or self._listening.silent:
            return CALL(module, *args, **kwargs)
        inside = self._running[-1].component == place.component
        self.entered[place.component] += not self._frozen and not self.others and not inside
        if inside:
            return self._answered(module, place, args, kwargs)
        with self._visit(place.component):
            return self._answered(module, place, args, kwargs)

    @contextmanager
    def _visit(self, component: str) -> Iterator[None]:
        """Note which calls one call of a component from outside is made of."""
        before = {key: call.count for key, call in self.calls.items()}
        yield
        made = {key: times for key, call in self.calls.items() if (times := call.count - before.get(key, 0))}
        if not self._frozen and not self.others:
            self.visits.setdefault(component, Counter())[frozenset(made.items())] += 1

    def _answered(self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if _is_differentiated(module, args, kwargs):
            return self._really_run(module, place, args, kwargs)
        where = (place.component, place.path)
        reason = self._around.reason_to_run(module)
        if reason:
            self.ran_for_real[where] = reason
        if reason or has_own_hooks(module):
            return self._really_run(module, place, args, kwargs)
        return self._exported_or_run(module, place, args, kwargs, CALL)

    def _exported_or_run(
        self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any], run: Callable[..., Any]
    ) -> Any:
        where = (place.component, place.path)
        if where in self.ran_for_real and run is CALL:
            return self._run_for_real(module, place, args, kwargs)
        if (*where, "forward") not in self._refused:
            try:
                return self._exported(module, place, args, kwargs)
            except NotExportableError as error:
                if run is CALL:
                    self.ran_for_real[where] = str(error)
                    return self._run_for_real(module, place, args, kwargs)
                self._refused.add((*where, "forward"))
        return run(module, *args, **kwargs)

    def _exported(self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        key = (place.component, place.path, settings_of(module), self._around.outside(module), *key_of(args, kwargs))
        found = self.calls.get(key) or self._recalled(key)
        if found is None:
            found = self._capture(module, place, args, kwargs)
        assert found.call is not None
        with self._listening.unseen():
            taken(tensors_of((args, kwargs)))
            answer = found.call.answer(args, kwargs, found.read)
        self.calls[key] = found
        self._count(found, 1)
        return answer

    def _recalled(self, key: Key) -> Recorded | None:
        """A call that was made before other values were read, to be counted anew."""
        first = self._first.get(key)
        return Recorded(first.component, first.entry, first.trace, first.call) if first is not None else None

    def _count(self, found: Recorded, times: int) -> None:
        found.count += times
        self._events += 1
        if self._frozen and found is self._busiest and found.count > self._busiest_count + 1:
            raise _EnoughError

    def _capture(self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recorded:
        if self._frozen:
            raise DifferentCallError
        if self.others:
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
        """Put back what an export changed of state that its module sees elsewhere.

        Raises:
            NotExportableError: there was something to put back, so that a repeated answer would not do what a call does.
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

    def _run_for_real(self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run it, unless it was called like this before and would do the same again."""
        if self._around.functions(module):
            return self._really_run(module, place, args, kwargs)
        counts = {key: found.count for key, found in self.calls.items()}
        with self._listening.unseen():
            taken(tensors_of((args, kwargs)))
            attempt = self._memories.setdefault(place, Memory(self._generators)).begin(module, args, kwargs)
        if attempt.known is None:
            result = self._really_run(module, place, args, kwargs)
            taken(tensors_of(result))  # where it is repeated from memory, nobody sees who reads it
            made = {key: times for key, found in self.calls.items() if (times := found.count - counts.get(key, 0))}
            with self._listening.unseen():
                attempt.remember(module, args, kwargs, result, made)
            return result
        for key, times in attempt.known.calls.items():
            self._count(self.calls[key], times)
        with self._listening.unseen():
            return marked_result(attempt.known.answer(args, kwargs))

    def _really_run(self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        running = _Running(place.component, (*self._frames(place), Frame(place.path, type(module).__name__)))
        self._running.append(running)
        threads = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        args, kwargs = pytree.tree_map_only(torch.Tensor, _mapped, (args, kwargs))
        try:
            with intercepted(module, self._own_forward(module, place)):
                return CALL(module, *args, **kwargs)
        except Exception as error:
            with self._listening.unseen():
                inputs = inputs_of(module, args, kwargs)
            before = (item for item in self._passed if item.error is error)
            self._passed = [*before, Passed(error, place, running.stack, inputs)]
            raise
        finally:
            torch.set_num_threads(threads)
            self._running.pop()
            self._finish(running, place.path)

    def _own_forward(self, module: nn.Module, place: Place) -> Callable[..., Any]:
        """What stands for the `forward` of a module's class when hooks around it run for real."""

        def forward(*args: Any, **kwargs: Any) -> Any:
            if _is_differentiated(module, args, kwargs) or self._around.reason_inside(module):
                return type(module).forward(module, *args, **kwargs)
            with bare(module):
                return self._exported_or_run(module, place, args, kwargs, type(module).forward)

        return forward

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


def _together(one: CapturedCall, other: CapturedCall) -> CapturedCall:
    """Two calls that compute the same as one: what somebody reads of either is read."""
    read = None if one.read is None or other.read is None else tuple(sorted({*one.read, *other.read}))
    return replace(one, count=one.count + other.count, read=read, returns_objects=one.returns_objects or other.returns_objects)


def _is_differentiated(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call is part of a gradient, or of a function that torch transforms: then all that it does has to be seen."""
    if torch._C._functorch.peek_interpreter_stack() is not None:  # noqa: SLF001 - as torch.func itself asks
        return True
    if not torch.is_grad_enabled():
        return False
    tensors = (leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor))
    return any(tensor.requires_grad for tensor in (*tensors, *module.parameters()))


def _mapped(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that can be computed with: zeros without memory for one on the meta device."""
    if not tensor.is_meta:
        return tensor
    made = fresh_zeros(tuple(tensor.shape), tensor.dtype)
    if made.is_meta:
        size = "x".join(map(str, tensor.shape))
        raise CaptureError(f"its Python reads values, and an input of {size} is more than this machine can address", _SMALLER)
    return made


_SMALLER = "give it a smaller input"


def _work(calls: Mapping[Key, Recorded]) -> Counter[Any]:
    """What calls compute, wherever they do, to how often."""
    work: Counter[Any] = Counter()
    for found in calls.values():
        parts = found.trace.parts
        if found.call is None:
            work[tuple((op.target, op.args, op.outputs) for op in found.trace.ops)] += found.count
        elif len(parts) == 1 and isinstance(parts[0], Occurrence):
            work[id(parts[0].block.parts)] += found.count
        else:
            work[id(parts)] += found.count
    return work


def modules_of(component: nn.Module) -> tuple[CapturedModule, ...]:
    """The modules of a component with the parameters that each holds, shared ones at their first holder."""
    seen: set[int] = set()
    found = []
    made = made_by_torch([path for path, _ in component.named_modules()])
    for path, part in component.named_modules():
        if path in made and next(weights_of(part), None) is None:
            continue
        own = [weight for weight in weights_of(part) if weight.identity not in seen]
        seen.update(weight.identity for weight in own)
        elements, stored = sum(weight.elements for weight in own), sum(weight.stored_bytes for weight in own)
        found.append(CapturedModule(path, type(part).__name__, elements, stored))
    return tuple(found)


def modules_since(before: tuple[CapturedModule, ...], component: nn.Module) -> tuple[CapturedModule, ...]:
    """The modules of a component after a rehearsal: as they were before it, but for those that got their parameters in it.

    Packages unpack what they hold when it is first used; what a module takes is what it took before.
    """
    known = {module.path: module for module in before}
    now = modules_of(component)
    return tuple(known[item.path] if item.path in known and known[item.path].params == item.params else item for item in now)


def _calling_line() -> str | None:
    frame = sys._getframe(1)  # noqa: SLF001 - walking frames is far cheaper than formatting a traceback
    while frame is not None:
        file = frame.f_code.co_filename
        if not is_scaffolding(file):
            return source_line(file, frame.f_lineno)
        frame = frame.f_back  # type: ignore[assignment]
    return None
