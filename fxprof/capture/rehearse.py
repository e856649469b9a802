"""Running a pipeline's own `__call__` with components that hold no data, and recording every call of a component.

Calls are intercepted in one place, `nn.Module.__call__`, for the time of the rehearsal only. The outermost call of a module
of a component is exported once per distinct call and answered with zeros of the right shapes (`fxprof.capture.interception`),
so that the pipeline's own arithmetic, schedulers and post-processing run for real, on small tensors.

A module whose Python needs more than shapes (lengths read out of a mask, experts chosen by value, state that it keeps)
runs for real instead, on its zero weights (`fxprof.capture.real_runs`), and the calls of its children are recorded in its
place. A dispatch mode sees operators outside every exported call and records them where they ran; none is lost.
"""

from __future__ import annotations

import contextvars
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from fxprof.capture.built_modules import ResidentWeights
from fxprof.capture.call_cache import CachedCalls
from fxprof.capture.failure import Failure, failure_of
from fxprof.capture.holding import Holding
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
"""Seconds for a run with other values, in addition to twice those of the first run."""


class Rehearsal:
    """The calls that a pipeline makes of its components.

    Args:
        components: modules by component name, without data (see `fxprof.capture.zero_weights`).
        notable: whether an operator outside every exported call is to be recorded: all but those known to cost nothing.
        outside: the name for operators that run in no component, and the class to show for it.
        whole: export every module, also identical ones, so that programs are complete.
        cached: cached calls of earlier runs, which are not exported again.
        own_code: whether the modules may be of the user's own classes, as in a live pipeline.
        progress: gets the component and entry before each capture.
    """

    def __init__(
        self,
        components: Mapping[str, nn.Module],
        *,
        notable: Callable[[str], bool],
        outside: tuple[str, str],
        whole: bool = False,
        cached: CachedCalls | None = None,
        own_code: bool = False,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self.calls = RecordedCalls(ResidentWeights(components).more)
        self.failure: Failure | None = None
        """The failed call at which the rehearsal ended, if it did not reach the end of the pipeline."""
        self.others: Trial | None = None
        """Values for Python to read instead of unknown ones, in a run that shows whether they matter."""
        self._places, self._aliases = find_modules(components)
        generators = Generators(components.values() if own_code else ())
        known = KnownCalls(self._aliases, generators, whole=whole, cached=cached)
        self._holding = Holding()
        self._listening = listening = Listening(self, Recorder(self, bounded=not own_code), self._places)
        self._runs = RealRuns(
            self.calls,
            notable=notable,
            outside=outside,
            generators=generators,
            unseen=self._listening.unseen,
            holding=self._holding,
        )
        report = progress or (lambda _: None)
        self._interception = Interception(
            self._places, listening, known, self.calls, self._runs, own_code=own_code, progress=report
        )
        self._reads = Reads(outside[0])
        self._first_held: dict[str, int] = {}
        self.held_between: dict[str, int] = {}
        """As `Holding.between`, in the first run."""
        self._seconds = 0.0
        """The first run's processor time."""
        self._end = math.inf
        """The point in this thread's time after which a run with other values counts as endless."""

    @property
    def ran_for_real(self) -> Mapping[tuple[str, str], str]:
        """The reasons for which the Python of modules ran for real, by (component, path)."""
        return self._interception.ran_for_real

    def held(self, component: str) -> int:
        """The most bytes that Python held while a component's own Python ran operators outside of exported calls."""
        return self._first_held.get(component, 0)

    @property
    def export_seconds(self) -> float:
        """The time that exports took."""
        return self._interception.export_seconds

    def aliases(self, component: str) -> dict[str, str]:
        """Other paths of the shared modules of a component, each with the one path at which their calls add up."""
        return dict(self._aliases.get(component, {}))

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `function` and record; all global state is as before afterwards, also when it raises."""
        self._reads.begin()
        self._holding.begin((args, kwargs))
        started = time.thread_time()
        with self._runs.of_pipeline():
            try:
                with unchanged(), self._listening.on():
                    # Values that it sets in context variables are gone afterwards.
                    result = contextvars.copy_context().run(function, *args, **kwargs)
                    with self._listening.unseen():
                        taken(tensors_of(result))
                    return result
            finally:
                self._seconds = self._seconds or time.thread_time() - started
                self._first_held = self._first_held or dict(self._holding.most)
                self.held_between = self.held_between or dict(self._holding.between)

    def end(self, error: BaseException) -> Failure | None:
        """End the rehearsal with an error that came out of `run`, and record the call that failed.

        Returns:
            None, and nothing is recorded, when no component failed, or when no other component has an exported call.
        """
        failure = failure_of(error, self._runs.passed, self._places)
        calls = self.calls.by_key
        others = [recorded for recorded in calls.values() if failure and recorded.component != failure.component]
        if failure is None or not any(recorded.call for recorded in others):
            return None
        self.failure, self._runs.passed = failure, []  # errors hold on to all that their frames held
        key = (failure.component, failure.entry, "failed", failure.stack, failure.inputs)
        calls[key] = Recorded(failure.component, failure.entry, failure.trace, count=1)
        return failure

    def repeats(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
        """Whether calling `function` makes only known calls; nothing is counted.

        The run stops at the second call of the component that is called most, as text is encoded by then, or at the point where
        the other run ended.
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
        """The reads of unknown values by which Python may have decided."""
        return self._reads.deciding(self.calls.events)

    def decisive_reads(self, again: Callable[[], None], function: Callable[..., Any], *args: Any, **kwargs: Any) -> int | None:
        """The number of other values that changed no call when they were read; None where the calls depend on them.

        `function` runs several times more and reads other values: if its calls compute the same each time, these values do not
        matter, as far as such a test can show.

        Args:
            again: restores the state from before `function` ran.
            function: the function that was run.
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
        """Answer `module(*args, **kwargs)` during the rehearsal."""
        self._check_time()
        return self._interception.answer(module, args, kwargs)

    def observe(self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        """Record an operator that ran outside every exported call."""
        self._check_time()
        self._runs.observe(function, args, kwargs, result)

    def read(self, how: str) -> None:
        """Record a read of an unknown value by Python."""
        running = self._runs.innermost
        if running is not None and not self._listening.silent:
            self._reads.note(running, how, self.calls.events)
        self._check_time()

    def _check_time(self) -> None:
        if time.thread_time() > self._end:
            raise EndlessError
