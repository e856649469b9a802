"""Measures: what a report or a comparison counts, instead of MACs.

A measure makes a profile in which `macs`, `uncounted` and `bounded` of every operator and total are amounts of that measure, so
that each view, sum and comparison works on it unchanged. Such a profile is only for showing: it is never saved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fxprof.cost.elementwise import NONE, operations_of
from fxprof.errors import TargetError, UsageError
from fxprof.result.records import Call, OpRow
from fxprof.trace.collector import uncollected

if TYPE_CHECKING:  # for annotations alone: a profile imports views, and these import this file
    from fxprof.result.profile import Component, Profile


@dataclass(frozen=True, slots=True)
class Measure:
    """What is counted. The names are those that people and programs read."""

    name: str
    """The value of `--measure`."""
    word: str
    """In sentences and titles: `MACs`, `traffic`."""
    meaning: str
    """In one line; "" for MACs, which every report means by default."""
    unit: str
    """Its unit in a report, a key of `fxprof.units`; "auto" for MACs, whose unit the user picks."""
    field: str
    """The name of an amount for programs."""
    field_unit: str
    """The unit of that field."""
    unknown: str = ""
    """The name of the number of executions with an unknown amount; "" if there are none."""
    bounded: str = ""
    """The name of the number of executions with an upper bound; "" if there are none."""
    lacking: str = ""
    """What is unknown, in a sentence about operators."""
    of_modules: bool = False
    """Whether it belongs to modules, called or not, and not to operators."""
    rows: Callable[[Component], Iterator[tuple[Call, tuple[OpRow, ...]]]] | None = None
    """The calls of a component, with their operators in this measure; None for MACs."""
    check: Callable[[Profile], None] | None = None
    """Raises `TargetError` if the profile lacks what the measure needs."""

    @property
    def missing(self) -> str:
        """What work is called whose amount is not known."""
        return "uncounted" if self.rows is None else "unknown"

    @uncollected()
    def of(self, profile: Profile) -> Profile:
        """The profile in this measure.

        Raises:
            TargetError: the profile lacks what the measure needs.
        """
        if self.rows is None:
            return profile
        if self.check is not None:
            self.check(profile)
        return replace(profile, components={name: self._component(part) for name, part in profile.components.items()})

    def _component(self, component: Component) -> Component:
        assert self.rows is not None, "MACs need no other component"
        calls = tuple(replace(call, ops=rows, unused={}) for call, rows in self.rows(component))
        return replace(component, calls=calls, runs=() if self.of_modules else component.runs)

    def unit_of(self, unit: str) -> str:
        """The unit of a report, for the user's choice of one.

        Raises:
            UsageError: the choice is a unit of MACs, and this is another measure.
        """
        if self.unit == "auto":
            return unit
        if unit != "auto":
            raise UsageError(f"{unit} is a unit of MACs, and the measure is {self.name}", "leave out --unit")
        return self.unit


def find_measure(name: str) -> Measure:
    """The measure of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in MEASURES:
        raise UsageError(f"there is no measure {name!r}", f"one of {', '.join(MEASURES)}")
    return MEASURES[name]


def _traffic(component: Component) -> Iterator[tuple[Call, tuple[OpRow, ...]]]:
    for call in component.calls:
        yield call, tuple([_moved(row) for row in call.ops])


def _moved(row: OpRow) -> OpRow:
    traffic = row.traffic
    if traffic is None:
        return _amount(row, None, note="" if row.macs is None else "its bytes are unknown")
    return _amount(row, traffic.read + traffic.written, bounded=traffic.bounded)


def _amount(row: OpRow, amount: int | None, *, bounded: bool = False, note: str = "") -> OpRow:
    return OpRow(
        row.path,
        row.op,
        row.kind,
        row.source,
        row.count,
        amount,
        bounded,
        note,
        row.shapes,
        row.types,
        row.traffic,
    )


def _check_traffic(profile: Profile) -> None:
    total = profile.total
    if total.bytes_unknown and not total.bytes_read + total.bytes_written:
        raise TargetError(f"{profile.target} has no traffic: the profile does not know the bytes of its operators", _AGAIN)


_AGAIN = "profile the target again: an early fxprof did not save them"


def _elementwise(component: Component) -> Iterator[tuple[Call, tuple[OpRow, ...]]]:
    for call in component.calls:
        yield call, tuple([row for item in call.ops for row in _worked(item)])


def _worked(row: OpRow) -> Iterator[OpRow]:
    each = operations_of(row.op, row.kind, row.shapes)
    if each is None:
        yield _amount(row, None, note=row.note or "no rule for its elementwise work")
        if row.op == _COND:  # the branch that was not counted may do more, or less
            yield _amount(row, 0, bounded=True, note="the branch of a cond with more MACs")
        return
    # Operators in the body of a parallel scan, and in a branch, have upper bounds of their bytes, and so of their work.
    bounded = bool(each) and (row.bounded or (row.kind not in _PLACED and row.traffic is not None and row.traffic.bounded))
    yield _amount(row, each * row.count, bounded=bounded)


_COND = "higher_order.cond"
_PLACED = frozenset({"resampling"})
"""Kinds whose bytes may be an upper bound for reasons of their own."""


def _check_shapes(profile: Profile) -> None:
    rows = (row for component in profile.components.values() for call in component.calls for row in call.ops)
    if any(not row.shapes and row.kind not in NONE and row.macs == 0 and row.kind != "control" for row in rows):
        raise TargetError(f"{profile.target} has no elementwise work: the profile lacks the shapes of its operators", _AGAIN)


def _weights(component: Component) -> Iterator[tuple[Call, tuple[OpRow, ...]]]:
    """One call, in which each module with weights has them as its only row."""
    rows = [
        OpRow(record.path, "weights", "weights", "", 1, record.weight_bytes)
        for record in component.modules
        if record.weight_bytes
    ]
    yield Call("", 1, (), ()), tuple(rows)


def _check_weights(profile: Profile) -> None:
    for component in profile.components.values():
        if component.params and not any(record.weight_bytes for record in component.modules):
            raise TargetError(f"the profile of {profile.target} does not know the bytes of its weights", _AGAIN)


MACS = Measure("macs", "MACs", "", "auto", "macs", "MACs", "uncounted", "bounded", "a formula")
"""Multiply-accumulates, the default."""

MEASURES: Mapping[str, Measure] = {
    "macs": MACS,
    "traffic": Measure(
        "traffic",
        "traffic",
        "bytes that operators read and write in one run, if nothing is fused",
        "traffic",
        "traffic",
        "bytes",
        "bytes_unknown",
        "bytes_bounded",
        "known bytes",
        rows=_traffic,
        check=_check_traffic,
    ),
    "weights": Measure(
        "weights",
        "weights",
        "bytes of each module's own parameters and buffers, used or not",
        "weights",
        "weight_bytes",
        "bytes",
        of_modules=True,
        rows=_weights,
        check=_check_weights,
    ),
    "elementwise": Measure(
        "elementwise",
        "operations",
        "operations on single elements in one run: norms, activations, softmax, arithmetic",
        "operations",
        "elementwise_ops",
        "operations",
        "elementwise_unknown",
        "elementwise_bounded",
        "a rule for their elementwise work",
        rows=_elementwise,
        check=_check_shapes,
    ),
}
"""The measures by name."""
