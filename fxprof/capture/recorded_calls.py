"""The distinct calls of components that a rehearsal came to: each known by a key, with how often it was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from fxprof.capture.calls import Key
from fxprof.capture.export import ExportedCall
from fxprof.trace import Occurrence, Tensor, Trace
from fxprof.trace.captured import CapturedCall, CapturedRun


class EnoughError(Exception):
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
    read: set[int] = field(default_factory=set)
    """The places of its results that somebody read."""

    def as_captured(self) -> CapturedCall:
        """The call as it is so far."""
        if self.call is None:
            return CapturedCall(self.entry, self.count, self.trace, self.note)
        read, objects = self.call.given_back(self.read), bool(self.call.objects)
        return CapturedCall(self.entry, self.count, self.trace, self.note, self.call.program, read, objects)


class RecordedCalls:
    """The calls of one rehearsal, and those of the rehearsals that repeat it."""

    def __init__(self) -> None:
        self.by_key: dict[Key, Recorded] = {}
        self.entered: Counter[str] = Counter()
        """Component to how often it was called from outside of it."""
        self.events = 0
        """How much was recorded so far, which tells what came before what."""
        self.is_closed = False
        """Whether a rehearsal repeats another one, and no call may be new."""
        self.is_anew = False
        """Whether a rehearsal reads other values, and its calls are counted anew."""
        self._visits: dict[str, Counter[frozenset[tuple[Key, int]]]] = {}
        """Component to the calls that each call of it from outside was made of, and how often it was made of these."""
        self._first: Mapping[Key, Recorded] = {}
        """While they are counted anew, the calls that were made before."""
        self._busiest: Recorded | None = None
        self._busiest_count = 0

    @property
    def components(self) -> list[str]:
        """The components that were called, in the order of their first calls."""
        return list(dict.fromkeys(found.component for found in self.by_key.values()))

    def find(self, key: Key) -> Recorded | None:
        """The call of this key; one that was made before calls were counted anew is still known."""
        found = self.by_key.get(key)
        first = self._first.get(key) if found is None else None
        return Recorded(first.component, first.entry, first.trace, first.call) if first is not None else found

    def count(self, key: Key, found: Recorded, times: int = 1) -> None:
        """Note that a call was made.

        Raises:
            EnoughError: the rehearsal that is repeated has been repeated far enough.
        """
        self.by_key[key] = found
        found.count += times
        self.events += 1
        if self.is_closed and found is self._busiest and found.count > self._busiest_count + 1:
            raise EnoughError

    def count_operators(self, key: Key, found: Recorded) -> None:
        """Note that operators ran outside of every exported call.

        Raises:
            DifferentCallError: these did not run in the rehearsal that is repeated.
        """
        if key not in self.by_key and self.is_closed:
            raise DifferentCallError
        self.by_key.setdefault(key, found).count += 1

    def counts(self) -> dict[Key, int]:
        """How often each was made so far."""
        return {key: found.count for key, found in self.by_key.items()}

    def made_since(self, before: Mapping[Key, int]) -> dict[Key, int]:
        """What was made since `counts` was what it was, to how often."""
        return {key: times for key, found in self.by_key.items() if (times := found.count - before.get(key, 0))}

    def enter(self, component: str) -> None:
        """Note that a component is called from outside of it."""
        self.entered[component] += not (self.is_closed or self.is_anew)

    @contextmanager
    def visit(self, component: str) -> Iterator[None]:
        """Note which calls one call of a component from outside is made of."""
        before = self.counts()
        yield
        made = self.made_since(before)
        if not (self.is_closed or self.is_anew):
            self._visits.setdefault(component, Counter())[frozenset(made.items())] += 1

    @contextmanager
    def closed(self, *, ends_early: bool) -> Iterator[None]:
        """For the time, allow no new call, and count nothing for good.

        Args:
            ends_early: whether the second call of what is called most is enough, as text is encoded by then.
        """
        counts = self.counts()
        calls = self.by_key.values() if ends_early else ()
        self._busiest = max(calls, key=lambda found: found.count if found.call else 0, default=None)
        self._busiest_count = self._busiest.count if self._busiest else 0
        self.is_closed = True
        try:
            yield
        finally:
            self.is_closed = False
            self.by_key = {key: found for key, found in self.by_key.items() if key in counts}
            for key, count in counts.items():
                self.by_key[key].count = count

    @contextmanager
    def anew(self) -> Iterator[None]:
        """For the time, count from nothing; all is as before afterwards."""
        before = self.by_key
        self.by_key, self._first, self.is_anew = {}, before, True
        try:
            yield
        finally:
            self.by_key, self._first, self.is_anew = before, {}, False

    def is_same_work(self) -> bool:
        """Whether what is counted anew computes what was computed before."""
        return _work(self.by_key) == _work(self._first)

    def of(self, component: str) -> tuple[CapturedCall, ...]:
        """The distinct calls of a component, in the order of their first times.

        Calls that differ only in plain values which their graphs do not show are one.
        """
        merged: dict[int, CapturedCall] = {}
        for key, place in self._places(component).items():
            call = self.by_key[key].as_captured()
            merged[place] = _together(merged[place], call) if place in merged else call
        return tuple(merged.values())

    def _places(self, component: str) -> dict[Key, int]:
        """For each call that was recorded of a component, its number among the distinct ones."""
        places: dict[Key, int] = {}
        distinct: dict[Any, int] = {}
        entries = Counter(found.entry for found in self.by_key.values() if found.component == component)
        for key, found in self.by_key.items():
            if found.component == component:
                tensors = tuple(item for item in found.trace.inputs if isinstance(item[1], Tensor))
                alone = entries[found.entry] == 1  # to compare all operators takes time
                work = (found.entry, () if alone else found.trace.expanded().parts, tensors)
                places[key] = distinct.setdefault(work, len(distinct))
        return places

    def runs(self, component: str) -> tuple[CapturedRun, ...]:
        """What the calls of a component from outside were made of, distinct ones with how often; by places in `of`."""
        places = self._places(component)
        merged: Counter[tuple[tuple[int, int], ...]] = Counter()
        for calls, count in self._visits.get(component, Counter()).items():
            times: Counter[int] = Counter()
            for key, number in calls:
                if key in places:
                    times[places[key]] += number
            merged[tuple(sorted(times.items()))] += count
        return tuple(CapturedRun(count, calls) for calls, count in merged.items())


def _together(one: CapturedCall, other: CapturedCall) -> CapturedCall:
    """Two calls that compute the same as one: what somebody reads of either is read."""
    read = None if one.read is None or other.read is None else tuple(sorted({*one.read, *other.read}))
    return replace(one, count=one.count + other.count, read=read, returns_objects=one.returns_objects or other.returns_objects)


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
