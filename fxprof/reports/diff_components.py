"""The components of a diff: the change of each, and whether more calls or more expensive ones are the reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fxprof.compare.delta import Delta
from fxprof.compare.diff import CallSide, ComponentDiff, Diff
from fxprof.reports.cells import Cell
from fxprof.reports.diff_layers import fill_delta, name_delta
from fxprof.reports.document import Column, Row, Table
from fxprof.reports.words import format_count
from fxprof.result import Total
from fxprof.result.measures import find_measure
from fxprof.units import format_delta, format_macs, format_params

_ENTRIES = 3
"""Names to list of modules that only one side calls."""


def tabulate_components(diff: Diff, unit: str) -> Table:
    """A row for each component that changed, with the reasons, and one for the equal ones; they add up to the total."""
    of_modules = find_measure(diff.measure).of_modules
    columns: tuple[Column, ...] = (Column("component", words=True, least=20), Column("calls"), *name_delta(unit))
    equal = [part for part in diff.components if part.change == "equal"]
    rows = [_show_component(part, unit, of_modules=of_modules) for part in diff.components if part.change != "equal"]
    if equal:
        names = equal[0].name if len(equal) == 1 else ", ".join(part.name for part in equal)
        rows.append(Row((f"{len(equal)} equal", None, *fill_delta(Delta.sum(part.delta for part in equal))), note=names))
    last: tuple[Cell, ...] = ("total", None, *fill_delta(diff.delta))
    if of_modules:  # nobody calls them
        columns, last = (columns[0], *columns[2:]), (last[0], *last[2:])
        rows = [Row((row.cells[0], *row.cells[2:]), row.note) for row in rows]
    return Table(columns, tuple(rows), last, unit)


def _show_component(part: ComponentDiff, unit: str, *, of_modules: bool) -> Row:
    old, new = part.counts
    calls = f"{new:,}" if old == new else f"{old:,} → {new:,}"
    return Row((part.name, calls, *fill_delta(part.delta)), note="; ".join(_list_reasons(part, unit, of_modules=of_modules)))


def _list_reasons(part: ComponentDiff, unit: str, *, of_modules: bool) -> Iterator[str]:
    """The changes of the component's class, its number of calls, and the cost of a call."""
    if part.old is None or part.new is None:
        there = part.new or part.old
        if there is not None:
            params = f", {format_params(there.params)} parameters" if there.params else ""
            yield f"{part.change}: {there.class_name}{params}"
        return
    if part.evidence:
        same = format_count(part.evidence.modules, "module")
        yield f"was {part.old.name}: same class, and {same} of {format_params(part.evidence.params)} parameters are the same"
    if part.old.class_name != part.new.class_name:
        yield f"{part.old.class_name} → {part.new.class_name}"
    if part.old.params != part.new.params:
        yield f"parameters {format_params(part.old.params)} → {format_params(part.new.params)}"
    if of_modules:
        return
    yield from _split_change(part, unit)
    yield from _list_entries("now called as well", (call.new for call in part.calls if not call.old))
    yield from _list_entries("no longer called", (call.old for call in part.calls if not call.new))


def _split_change(part: ComponentDiff, unit: str) -> Iterator[str]:
    """The parts of the difference that come from more calls and from more expensive calls, if both are known."""
    if part.split is None:
        return
    by_calls, by_cost = part.split
    if by_calls:
        old, new = part.counts
        calls = "more calls" if by_calls > 0 and old < new else "fewer calls" if by_calls < 0 and old > new else "other calls"
        yield f"{calls}: {format_delta(by_calls, unit)}"
    if by_cost:
        costs, more = _compare_calls(part, unit), "more" if by_cost > 0 else "less"
        subject = f"each call costs {more}{costs}" if costs else f"calls cost {more}"
        yield f"{subject}: {format_delta(by_cost, unit)}"


def _compare_calls(part: ComponentDiff, unit: str) -> str:
    """The cost of one call before and after, if all calls of a side cost the same."""
    costs = [
        {side.each for side in sides if side} for sides in zip(*((call.old, call.new) for call in part.calls), strict=True)
    ]
    old, new = (cost.pop() if len(cost) == 1 else None for cost in costs)
    return f" ({_format_total(old, unit)} → {_format_total(new, unit)})" if old and new else ""


def _format_total(total: Total, unit: str) -> str:
    return format_macs(total.macs, unit, total.sign)


def _list_entries(verb: str, sides: Iterable[CallSide | None]) -> Iterator[str]:
    names = list(dict.fromkeys(side.entry or "the component itself" for side in sides if side))
    if names:
        yield f"{verb}: {', '.join(names[:_ENTRIES])}" + (" …" if len(names) > _ENTRIES else "")
