"""The distinct calls of components in a rehearsal, each with a key and a count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from fxprof.capture.calls import Key
from fxprof.capture.export import ExportedCall
from fxprof.trace import Occurrence, Tensor, Trace
from fxprof.trace.captured import CapturedCall, CapturedRun

_ALTERNATIONS = 3
"""How often one component is noted as following another one."""


class EnoughError(Exception):
    """A rehearsal that should repeat another one has done so as far as needed."""


class DifferentCallError(Exception):
    """A rehearsal that should repeat another one made a call that the other one did not make."""


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
    """The positions of its results that somebody read."""
    held: int = 0
    """The most bytes of tensors that Python held when it made the call, with the call's inputs."""
    more_weight_bytes: int = 0
    """As for a `CapturedCall`."""

    def as_captured(self) -> CapturedCall:
        """The call with its present count."""
        if self.call is None:
            more = self.more_weight_bytes
            return CapturedCall(self.entry, self.count, self.trace, self.note, more_weight_bytes=more, is_whole=False)
        read, objects = self.call.given_back(self.read), bool(self.call.objects)
        program, more = self.call.program, self.more_weight_bytes
        return CapturedCall(self.entry, self.count, self.trace, self.note, program, read, objects, more, self.held)


class RecordedCalls:
    """The calls of one rehearsal, and those of its repetitions.

    Args:
        more_weight_bytes: from a component to the bytes that its weights take now more than as loaded.
    """

    def __init__(self, more_weight_bytes: Callable[[str], int] = lambda _: 0) -> None:
        self._more_weight_bytes = more_weight_bytes
        self.by_key: dict[Key, Recorded] = {}
        self.entered: Counter[str] = Counter()
        """The number of a component's calls from outside of it."""
        self.order: list[str] = []
        """The components in the order in which they were called from outside, each once in a row; of calls that alternate the
        first few, since more of them change nothing."""
        self._follows: Counter[tuple[str, str]] = Counter()
        self.events = 0
        """The number of records so far, which gives their order."""
        self.is_closed = False
        """Whether the rehearsal repeats another one, and no call may be new."""
        self.is_anew = False
        """Whether the rehearsal reads other values, and its calls are counted anew."""
        self._visits: dict[str, Counter[frozenset[tuple[Key, int]]]] = {}
        """For each component, the sets of calls that its calls from outside consist of, with the number of each set."""
        self._first: Mapping[Key, Recorded] = {}
        """While calls are counted anew, the calls from before."""
        self._busiest: Recorded | None = None
        self._busiest_count = 0

    @property
    def components(self) -> list[str]:
        """The components that were called, in the order of their first calls."""
        return list(dict.fromkeys(recorded.component for recorded in self.by_key.values()))

    def find(self, key: Key) -> Recorded | None:
        """The call of this key; calls from before a new count are still known."""
        recorded = self.by_key.get(key)
        first = self._first.get(key) if recorded is None else None
        return Recorded(first.component, first.entry, first.trace, first.call) if first is not None else recorded

    def count(self, key: Key, recorded: Recorded, times: int = 1) -> None:
        """Count a call.

        Raises:
            EnoughError: the repetition has come far enough.
        """
        if key not in self.by_key:
            recorded.more_weight_bytes = self._more_weight_bytes(recorded.component)
        self.by_key[key] = recorded
        recorded.count += times
        self.events += 1
        if self.is_closed and recorded is self._busiest and recorded.count > self._busiest_count + 1:
            raise EnoughError

    def count_operators(self, key: Key, recorded: Recorded) -> None:
        """Record operators that ran outside of every exported call.

        Raises:
            DifferentCallError: they did not run in the rehearsal that is repeated.
        """
        if key not in self.by_key and self.is_closed:
            raise DifferentCallError
        if key not in self.by_key:
            recorded.more_weight_bytes = self._more_weight_bytes(recorded.component)
        self.by_key.setdefault(key, recorded).count += 1

    def counts(self) -> dict[Key, int]:
        """The present count of each call."""
        return {key: recorded.count for key, recorded in self.by_key.items()}

    def made_since(self, before: Mapping[Key, int]) -> dict[Key, int]:
        """The calls made since `counts` returned `before`, with their number."""
        return {key: times for key, recorded in self.by_key.items() if (times := recorded.count - before.get(key, 0))}

    def enter(self, component: str) -> None:
        """Count a component's call from outside of it."""
        if self.is_closed or self.is_anew:
            return
        self.entered[component] += 1
        last = self.order[-1] if self.order else ""
        if component != last and self._follows[last, component] < _ALTERNATIONS:
            self._follows[last, component] += 1
            self.order.append(component)

    @contextmanager
    def visit(self, component: str) -> Iterator[None]:
        """Record the calls that one call of a component from outside consists of."""
        before = self.counts()
        yield
        made = self.made_since(before)
        if not (self.is_closed or self.is_anew):
            self._visits.setdefault(component, Counter())[frozenset(made.items())] += 1

    @contextmanager
    def closed(self, *, ends_early: bool) -> Iterator[None]:
        """Allow no new call until the end of the block, and restore all counts afterwards.

        Args:
            ends_early: whether the second call of the most frequent call is enough, as text is encoded by then.
        """
        counts = self.counts()
        calls = self.by_key.values() if ends_early else ()
        self._busiest = max(calls, key=lambda recorded: recorded.count if recorded.call else 0, default=None)
        self._busiest_count = self._busiest.count if self._busiest else 0
        self.is_closed = True
        try:
            yield
        finally:
            self.is_closed = False
            self.by_key = {key: recorded for key, recorded in self.by_key.items() if key in counts}
            for key, count in counts.items():
                self.by_key[key].count = count

    @contextmanager
    def anew(self) -> Iterator[None]:
        """Count from zero until the end of the block, and restore all counts afterwards."""
        before = self.by_key
        self.by_key, self._first, self.is_anew = {}, before, True
        try:
            yield
        finally:
            self.by_key, self._first, self.is_anew = before, {}, False

    def is_same_work(self) -> bool:
        """Whether the calls that are counted anew compute the same as those before."""
        return _work(self.by_key) == _work(self._first)

    def of(self, component: str) -> tuple[CapturedCall, ...]:
        """The distinct calls of a component, in the order of their first times.

        Calls are one if they differ only in plain values that their graphs do not show.
        """
        merged: dict[int, CapturedCall] = {}
        for key, number in self._numbers(component).items():
            call = self.by_key[key].as_captured()
            merged[number] = _together(merged[number], call) if number in merged else call
        return tuple(merged.values())

    def _numbers(self, component: str) -> dict[Key, int]:
        """For each recorded call of a component, its number among the distinct ones."""
        numbers: dict[Key, int] = {}
        distinct: dict[Any, int] = {}
        entries = Counter(recorded.entry for recorded in self.by_key.values() if recorded.component == component)
        for key, recorded in self.by_key.items():
            if recorded.component == component:
                tensors = tuple(item for item in recorded.trace.inputs if isinstance(item[1], Tensor))
                alone = entries[recorded.entry] == 1  # comparing all operators takes time
                work = (recorded.entry, () if alone else recorded.trace.expanded().parts, tensors)
                numbers[key] = distinct.setdefault(work, len(distinct))
        return numbers

    def runs(self, component: str) -> tuple[CapturedRun, ...]:
        """The distinct sets of calls that a component's calls from outside consist of, with counts; by position in `of`."""
        numbers = self._numbers(component)
        merged: Counter[tuple[tuple[int, int], ...]] = Counter()
        for calls, count in self._visits.get(component, Counter()).items():
            times: Counter[int] = Counter()
            for key, number in calls:
                if key in numbers:
                    times[numbers[key]] += number
            merged[tuple(sorted(times.items()))] += count
        return tuple(CapturedRun(count, calls) for calls, count in merged.items())


def _together(one: CapturedCall, other: CapturedCall) -> CapturedCall:
    """Two calls that compute the same, as one: it reads each result that somebody reads of either."""
    read = None if one.read is None or other.read is None else tuple(sorted({*one.read, *other.read}))
    return replace(
        one,
        count=one.count + other.count,
        read=read,
        returns_objects=one.returns_objects or other.returns_objects,
        held=max(one.held, other.held),
        more_weight_bytes=max(one.more_weight_bytes, other.more_weight_bytes),
    )


def _work(calls: Mapping[Key, Recorded]) -> Counter[Any]:
    """The work of calls, wherever it is done, with its count."""
    work: Counter[Any] = Counter()
    for recorded in calls.values():
        parts = recorded.trace.parts
        if recorded.call is None:
            work[tuple((op.target, op.args, op.outputs) for op in recorded.trace.ops)] += recorded.count
        elif len(parts) == 1 and isinstance(parts[0], Occurrence):
            work[id(parts[0].block.parts)] += recorded.count
        else:
            work[id(parts)] += recorded.count
    return work
