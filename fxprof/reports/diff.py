"""The report of `fxprof diff`: differences of the run, the components and why they changed, and the layers that changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from fxprof.compare.delta import Delta
from fxprof.compare.diff import Diff, Setting
from fxprof.compare.limit_checks import LimitCheck, count_unknown_work
from fxprof.errors import UsageError
from fxprof.reports.cells import Growth, display
from fxprof.reports.common import describe_measure, fold_sentences, format_value, name_span
from fxprof.reports.diff_components import tabulate_components
from fxprof.reports.diff_layers import describe_costless, fill_delta, name_delta, show_layers
from fxprof.reports.diff_rows import collect_values, judge, list_modules
from fxprof.reports.document import Column, Document, Note, Overview, Row, Section, Table
from fxprof.reports.words import format_count
from fxprof.result import Component, Total
from fxprof.result.measures import find_measure
from fxprof.result.views import by_dtype, by_kind
from fxprof.units import format_macs, unit_name


def build_diff(
    diff: Diff,
    limit: int | None = 10,
    *,
    ops: bool = False,
    unit: str = "auto",
    checks: Iterable[LimitCheck] = (),
    strict: bool = False,
    by: str = "kind",
) -> Document:
    """The document of the changes.

    Args:
        diff: the comparison.
        limit: rows of each component for people; None for all.
        ops: whether to list the operators that each layer lost and gained, even those that cost nothing.
        unit: one of `fxprof.units.UNITS`.
        checks: the outcomes of the limits on growth.
        strict: whether an undecided limit fails.
        by: grouping of the work, one of `GROUPINGS`; weights belong to modules, and have no such groups.

    Raises:
        UsageError: the unit or the grouping does not fit the measure of the diff.
    """
    measure = find_measure(diff.measure)
    unit = measure.unit_of(unit)
    check_grouping(by, diff.measure)
    checks = tuple(checks)
    changed = [part for part in diff.components if part.old and part.new and (part.modules if ops else part.loud)]
    overview = Overview(
        title=f"{diff.old.target} → {diff.new.target}",
        facts=tuple(_list_facts(diff)),
        values=collect_values(diff, checks, strict=strict),
        sentences=tuple(line for note in _list_remarks(diff) for line in note.lines),
    )
    lines = (_write_result(diff, unit), *write_limits(diff, checks, unit, strict=strict))
    sections = (
        Section(tables=(tabulate_components(diff, unit),), lines=lines),
        *(() if measure.of_modules else (Section(tables=tuple(_tabulate_groups(diff, unit, by))),)),
        *(show_layers(part, limit, unit, ops=ops) for part in changed),
        Section(notes=(*describe_costless(diff, ops=ops), *_write_notes(diff))),
    )
    return Document(overview, sections, list_modules(diff))


def check_grouping(by: str, measure: str) -> None:
    """Check that the measure has groups.

    Raises:
        UsageError: it belongs to modules, and these are to be grouped like operators.
    """
    counted = find_measure(measure)
    if counted.of_modules and by != "kind":
        raise UsageError(f"{counted.word} belong to modules, which cannot be grouped by {by!r}", "leave out --by")


def _list_facts(diff: Diff) -> Iterator[tuple[str, str]]:
    yield from describe_measure(find_measure(diff.measure))
    yield "old", f"{diff.old.target}  {diff.old.class_name}"
    yield "new", f"{diff.new.target}  {diff.new.class_name}"
    yield "versions", _join_settings(diff, diff.versions)
    yield "workload", _join_settings(diff, diff.workload)
    yield "sizes", _join_settings(diff, diff.sizes)
    if not diff.shapes_compared:
        unaware = " and ".join(side.target for side in (diff.old, diff.new) if not side.has_shapes)
        yield "shapes", f"not compared, because an early fxprof saved {unaware} without them"
    types = [_list_types(diff, side) for side in ("old", "new")]
    if diff.types_compared and types[0] != types[1]:
        yield "element types", f"{types[0] or 'none'} → {types[1] or 'none'}"


def _list_types(diff: Diff, side: str) -> str:
    """The element types of operators that cost something on a side, those with the most MACs first."""
    sums: dict[str, Total] = {}
    for part in diff.components:
        component = getattr(part, side)
        for types, total in by_dtype(component).items() if component else ():
            sums[types] = sums.get(types, Total()) + total
    return "; ".join(sorted(sums, key=lambda types: (-sums[types].macs, types)))


def _join_settings(diff: Diff, settings: tuple[Setting, ...]) -> str:
    """The settings that differ; if one side has none of several, only the values of the other side."""
    if not settings:
        return "the same"
    for name, values in (
        (diff.old.target, [item.new for item in settings]),
        (diff.new.target, [item.old for item in settings]),
    ):
        if len(values) > 1 and values == [None] * len(values):
            return f"only in {name}: " + ", ".join(f"{item.name} {_format_setting(item.old or item.new)}" for item in settings)
    return ", ".join(f"{item.name} {_format_setting(item.old)} → {_format_setting(item.new)}" for item in settings)


def _format_setting(value: object) -> str:
    """A value; sizes such as `512 x 512` need no quotes."""
    if isinstance(value, str) and value.replace(" x ", "").replace(" and ", "").isdecimal():
        return value
    return "none" if value is None else format_value(value)


def _write_result(diff: Diff, unit: str) -> str:
    if not diff.changed:
        return "nothing differs"
    old, new = (format_macs(total.macs, unit, total.sign) for total in (diff.delta.old, diff.delta.new))
    spans = {name_span(side.workload) for side in (diff.old, diff.new)}
    span = spans.pop() if len(spans) == 1 else "run"
    where = "in all" if find_measure(diff.measure).of_modules else f"per {span}"
    return f"{where}: {old} → {new} {unit_name(unit)}, {display(diff.delta, unit)} ({display(Growth(diff.delta))})"


GROUPINGS: Mapping[str, tuple[str, Callable[[Component], dict[str, Total]]]] = {
    "kind": ("kind of work", by_kind),
    "dtype": ("element types", by_dtype),
}
"""The value of `--by` to a heading and the function that sums up the work of a component."""


def _tabulate_groups(diff: Diff, unit: str, by: str) -> Iterator[Table]:
    """The difference by kind of work, or by element types; no table if nothing differs."""
    heading, group = GROUPINGS[by]
    sides: list[dict[str, Total]] = [{}, {}]
    for part in diff.components:
        for sums, component in zip(sides, (part.old, part.new), strict=True):
            for kind, total in group(component).items() if component else ():
                sums[kind] = sums.get(kind, Total()) + total
    deltas = {kind: Delta(sides[0].get(kind, Total()), sides[1].get(kind, Total())) for kind in {**sides[0], **sides[1]}}
    if all(delta.old == delta.new for delta in deltas.values()):
        return
    columns = (Column(heading, words=True), *name_delta(unit))
    rows = [Row((kind or "(not known)", *fill_delta(delta))) for kind, delta in sorted(deltas.items(), key=_rank)]
    yield Table(columns, tuple(rows), last=("total", *fill_delta(diff.delta)), unit=unit)


def _rank(item: tuple[str, Delta]) -> tuple[int, str]:
    """A key that sorts the most expensive first."""
    return -max(item[1].old.macs, item[1].new.macs), item[0]


def _write_notes(diff: Diff) -> Iterator[Note]:
    lines = [
        f"{op}{f' on {shapes}' if shapes else ''}: {format_count(old, 'execution')} before, {new:,} now"
        for (op, shapes), (old, new) in count_unknown_work(diff).items()
    ]
    if lines:
        measure = find_measure(diff.measure)
        title = f"{measure.missing} or bounded (differences with ≥, ≤ or ~ are of the counted {measure.word})"
        yield Note(title, tuple(lines))
    yield from _list_remarks(diff)


def _list_remarks(diff: Diff) -> Iterator[Note]:
    """Approximations and remarks of each side; one that both sides share, under the same name, appears once."""
    sides = diff.old, diff.new
    for title, sentences in (
        ("approximate", [(side.target, side.approximations) for side in sides]),
        ("remarks", [(side.target, side.remarks) for side in sides]),
    ):
        lines = [(target, line) for target, remarks in sentences for line in fold_sentences(remarks)]
        named = dict.fromkeys(line if line.startswith(f"{target}: ") else f"{target}: {line}" for target, line in lines)
        if named:
            yield Note(title, tuple(named))


def write_limits(diff: Diff, checks: Iterable[LimitCheck], unit: str = "auto", *, strict: bool = False) -> Iterator[str]:
    """A line for each limit: the outcome, the change, the growth that it allows.

    It also names a workload that differs: then the growth is not that of the model alone.
    """
    differs = f"; the workload differs: {_join_settings(diff, diff.workload)}" if diff.workload else ""
    for check in checks:
        delta, word = check.delta, judge(check, strict=strict)
        why = f"; {find_measure(diff.measure).missing} or bounded work may decide it" if check.outcome == "unsure" else ""
        change = f"{display(delta, unit)} {unit_name(unit)} ({display(Growth(delta))})"
        yield f"{word}: {check.name} {change}, limit {check.limit.text}{why}{differs}"
