"""The components of a diff: what became of each, and whether more calls or dearer ones are the reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fxprof.compare.delta import Delta
from fxprof.compare.diff import CallSide, ComponentDiff, Diff
from fxprof.reports.diff_layers import number_columns, numbers
from fxprof.reports.tables import Column, Row, Table, plural
from fxprof.result import Total
from fxprof.units import format_delta, format_macs, format_params

_ENTRIES = 3
"""Modules that only one side calls, that are named."""


def components(found: Diff, unit: str) -> Table:
    """A row for each component that changed, with the reasons, and one for the equal ones; they add up to the total."""
    named = Column("component", "component", words=True, least=20), Column("calls", "calls")
    columns = (*named, *number_columns(unit))
    equal = [part for part in found.components if part.change == "equal"]
    rows = [_row(part, unit) for part in found.components if part.change != "equal"]
    if equal:
        names = equal[0].name if len(equal) == 1 else ", ".join(part.name for part in equal)
        rows.append(Row((f"{len(equal)} equal", None, *numbers(Delta.sum(part.delta for part in equal))), note=names))
    return Table(columns, tuple(rows), last=("total", None, *numbers(found.delta)), programs=False)


def _row(part: ComponentDiff, unit: str) -> Row:
    old, new = part.counts
    calls = f"{new:,}" if old == new else f"{old:,} → {new:,}"
    return Row((part.name, calls, *numbers(part.delta)), note="; ".join(_reasons(part, unit)))


def _reasons(part: ComponentDiff, unit: str) -> Iterator[str]:
    """What a component is now, how often it is called, what a call costs."""
    if part.old is None or part.new is None:
        there = part.new or part.old
        if there is not None:
            params = f", {format_params(there.params)} parameters" if there.params else ""
            yield f"{part.change}: {there.class_name}{params}"
        return
    if part.evidence:
        same = plural(part.evidence.modules, "module")
        yield f"was {part.old.name}: same class, and {same} of {format_params(part.evidence.params)} parameters are the same"
    if part.old.class_name != part.new.class_name:
        yield f"{part.old.class_name} → {part.new.class_name}"
    if part.old.params != part.new.params:
        yield f"parameters {format_params(part.old.params)} → {format_params(part.new.params)}"
    yield from _split(part, unit)
    yield from _entries("now called as well", (call.new for call in part.calls if not call.old))
    yield from _entries("no longer called", (call.old for call in part.calls if not call.new))


def _split(part: ComponentDiff, unit: str) -> Iterator[str]:
    """The part that more calls have in the difference, and the part of dearer ones, where both are known."""
    if part.split is None:
        return
    by_calls, by_cost = part.split
    if by_calls:
        yield f"by the number of calls {format_delta(by_calls, unit)}"
    if by_cost:
        yield f"by the cost of a call{_each(part, unit)} {format_delta(by_cost, unit)}"


def _each(part: ComponentDiff, unit: str) -> str:
    """What one call costs, where they all cost the same."""
    costs = [
        {side.each for side in sides if side} for sides in zip(*((call.old, call.new) for call in part.calls), strict=True)
    ]
    old, new = (cost.pop() if len(cost) == 1 else None for cost in costs)
    return f" ({_macs(old, unit)} → {_macs(new, unit)})" if old and new else ""


def _macs(total: Total, unit: str) -> str:
    return format_macs(total.macs, unit, total.sign)


def _entries(verb: str, sides: Iterable[CallSide | None]) -> Iterator[str]:
    names = list(dict.fromkeys(side.entry or "the component itself" for side in sides if side))
    if names:
        yield f"{verb}: {', '.join(names[:_ENTRIES])}" + (" …" if len(names) > _ENTRIES else "")
