"""Run a pipeline's own `__call__` with components that hold no data, and record every call of a component.

Calls are intercepted in one place, `nn.Module.__call__`, for the time of the rehearsal only. The outermost call of a module
of a component is exported once per distinct call and answered with zeros of the right shapes (`fxprof.capture.interception`),
so that the pipeline's own arithmetic, schedulers and post-processing run for real, on small tensors.

A module whose Python needs more than shapes (lengths read out of a mask, experts chosen by value, state that it keeps)
runs for real instead, on its zero weights (`fxprof.capture.real_runs`), and the calls of its children are recorded in its
place. Operators that run outside every exported call are seen by a dispatch mode and recorded where they ran, never lost.
"""

from __future__ import annotations

import contextvars
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from fxprof.capture.call_cache import KeptCalls
from fxprof.capture.failure import Failure, failure_of
from fxprof.capture.interception import Interception
from fxprof.capture.known_calls import KnownCalls
from fxprof.capture.listening import Listening
from fxprof.capture.places import find_modules
from fxprof.capture.process_state import unchanged
from fxprof.capture.random_numbers import Generators
from fxprof.capture.reads import Read, Reads
from fxprof.capture.real_runs import RealRuns
from fxprof.capture.recorded_calls import DifferentCallError, EnoughError, Recorded, RecordedCalls
from fxprof.capture.recorder import Recorder
from fxprof.capture.results_read import taken, tensors_of
from fxprof.capture.time_limit import EndlessError, ended_after
from fxprof.capture.unknown import Trial, trials

_PATIENCE = 5.0
"""Seconds that a run with other values is given beside twice those of the first."""


class Rehearsal:
    """The calls that a pipeline makes of its components.

    Args:
        components: modules by component name, without data (see `fxprof.capture.zero_weights`).
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
        self.calls = RecordedCalls()
        self.failure: Failure | None = None
        """What the rehearsal ended at, when it did not come to the end of the pipeline."""
        self.others: Trial | None = None
        """What Python is to read instead of unknown values, in a run that shows whether they matter."""
        self._places, self._aliases = find_modules(components)
        generators = Generators(components.values() if own_code else ())
        known = KnownCalls(self._aliases, generators, whole=whole, kept=kept)
        self._listening = listening = Listening(self, Recorder(self, bounded=not own_code), self._places)
        self._runs = RealRuns(
            self.calls, notable=notable, outside=outside, generators=generators, unseen=self._listening.unseen
        )
        report = progress or (lambda _: None)
        self._interception = Interception(
            self._places, listening, known, self.calls, self._runs, own_code=own_code, progress=report
        )
        self._reads = Reads(outside[0])
        self._seconds = 0.0
        """Processor's time of the first run."""
        self._end = math.inf
        """When, in this thread's time, a run with other values is taken not to end."""

    @property
    def ran_for_real(self) -> Mapping[tuple[str, str], str]:
        """(component, path) of modules whose Python ran for real, to the reason."""
        return self._interception.ran_for_real

    @property
    def export_seconds(self) -> float:
        """How long exports took."""
        return self._interception.export_seconds

    def aliases(self, component: str) -> dict[str, str]:
        """Other paths of the modules of a component that are shared, to the one path that their calls add up at."""
        return dict(self._aliases.get(component, {}))

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `function` and record; everything global is as before afterwards, also when it raises."""
        self._reads.begin()
        started = time.thread_time()
        with self._runs.of_pipeline():
            try:
                with unchanged(), self._listening.on():
                    # What it sets in a context variable is gone afterwards.
                    result = contextvars.copy_context().run(function, *args, **kwargs)
                    with self._listening.unseen():
                        taken(tensors_of(result))
                    return result
            finally:
                self._seconds = self._seconds or time.thread_time() - started

    def end(self, error: BaseException) -> Failure | None:
        """Take an error that came out of `run` as the end of the rehearsal, and record the call that failed.

        Returns:
            None, and nothing is recorded, when no component failed, or when no call of another component stands.
        """
        failure = failure_of(error, self._runs.passed, self._places)
        calls = self.calls.by_key
        others = [found for found in calls.values() if failure and found.component != failure.component]
        if failure is None or not any(found.call for found in others):
            return None
        self.failure, self._runs.passed = failure, []  # errors hold on to all that their frames held
        key = (failure.component, failure.entry, "failed", failure.stack, failure.inputs)
        calls[key] = Recorded(failure.component, failure.entry, failure.trace, count=1)
        return failure

    def repeats(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
        """Whether calling `function` makes only calls that are known already; nothing is counted.

        It is stopped at the second call of the component that is called most, as text is encoded by then, or where the other
        one ended.
        """
        with self.calls.closed(ends_early=self.failure is None):
            try:
                self.run(function, *args, **kwargs)
            except DifferentCallError:
                return False
            except EnoughError:
                return True
            except Exception as error:
                failure = failure_of(error, self._runs.passed, self._places)
                if self.failure is None or failure is None:
                    raise
                return failure == self.failure
        return True

    def deciding_reads(self) -> list[Read]:
        """Where Python read a value that nobody knows and may have decided by it."""
        return self._reads.deciding(self.calls.events)

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
        most = _PATIENCE + 2 * self._seconds
        with self.calls.anew(), self._runs.forgotten():
            self.others, self._end = others, time.thread_time() + most
            try:
                with ended_after(most):
                    self.run(function, *args, **kwargs)
            except (Exception, EndlessError):  # noqa: BLE001 - values that do not fit together are no bug, but show that they matter
                return True
            else:
                return not self.calls.is_same_work()
            finally:
                self.others, self._end = None, math.inf

    def call(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Stand in for `module(*args, **kwargs)` while the rehearsal listens."""
        self._check_time()
        return self._interception.answer(module, args, kwargs)

    def observe(self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        """Note an operator that ran outside every exported call."""
        self._check_time()
        self._runs.observe(function, args, kwargs, result)

    def read(self, how: str) -> None:
        """Note that Python read a value that nobody knows."""
        running = self._runs.innermost
        if running is not None and not self._listening.silent:
            self._reads.note(running, how, self.calls.events)
        self._check_time()

    def _check_time(self) -> None:
        if time.thread_time() > self._end:
            raise EndlessError
