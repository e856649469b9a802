"""The report of `fxprof diff`: what differs in the run, the components and why, and the layers that changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from fxprof.compare.delta import Delta
from fxprof.compare.diff import Diff, Setting
from fxprof.compare.limit_checks import LimitCheck, count_unknown_work
from fxprof.reports.common import sentences as said_of
from fxprof.reports.common import span_of, value_of
from fxprof.reports.diff_components import components
from fxprof.reports.diff_layers import layers, number_columns, numbers, silent
from fxprof.reports.diff_rows import about, outcome, program_rows
from fxprof.reports.tables import Column, Document, Growth, Note, Row, Table, display, plural
from fxprof.result import Component, Total
from fxprof.result.views import by_dtype, by_kind
from fxprof.units import format_macs, unit_name


def diff(
    found: Diff,
    limit: int | None = 10,
    *,
    ops: bool = False,
    unit: str = "auto",
    checks: Iterable[LimitCheck] = (),
    strict: bool = False,
    by: str = "kind",
) -> Document:
    """The document of what changed.

    Args:
        found: the comparison.
        limit: rows of each component for people; None for all.
        ops: whether to list the operators that each layer lost and gained, those that cost nothing included.
        unit: one of `fxprof.units.UNITS`.
        checks: what the limits on growth say.
        strict: whether a limit that nobody can decide fails.
        by: what the work is summed up by: one of `GROUPINGS`.
    """
    checks = tuple(checks)
    changed = [part for part in found.components if part.old and part.new and (part.modules if ops else part.loud)]
    return Document(
        title=f"{found.old.target} → {found.new.target}",
        facts=tuple(_facts(found)),
        tables=(components(found, unit), program_rows(found)),
        result=(_result(found, unit), *limit_lines(found, checks, unit, strict=strict)),
        extra=(*_grouped(found, unit, by), *(layers(part, limit, unit, ops=ops) for part in changed)),
        notes=(*silent(found, ops=ops), *_inexact(found)),
        about=about(found, checks, strict=strict),
        told=tuple(line for note in _told(found) for line in note.lines),
        unit=unit,
    )


def _facts(found: Diff) -> Iterator[tuple[str, str]]:
    yield "old", f"{found.old.target}  {found.old.class_name}"
    yield "new", f"{found.new.target}  {found.new.class_name}"
    yield "versions", _settings(found, found.versions)
    yield "workload", _settings(found, found.workload)
    yield "sizes", _settings(found, found.sizes)
    if not found.shapes_compared:
        unaware = " and ".join(side.target for side in (found.old, found.new) if not side.has_shapes)
        yield "shapes", f"not compared, because an early fxprof saved {unaware} without them"
    types = [_types(found, side) for side in ("old", "new")]
    if found.types_compared and types[0] != types[1]:
        yield "element types", f"{types[0] or 'none'} → {types[1] or 'none'}"


def _types(found: Diff, side: str) -> str:
    """The element types of what costs something on a side, those with the most MACs first."""
    sums: dict[str, Total] = {}
    for part in found.components:
        component = getattr(part, side)
        for types, total in by_dtype(component).items() if component else ():
            sums[types] = sums.get(types, Total()) + total
    return "; ".join(sorted(sums, key=lambda types: (-sums[types].macs, types)))


def _settings(found: Diff, settings: tuple[Setting, ...]) -> str:
    """What differs; where there are several, and one side has none of them, what the other has."""
    if not settings:
        return "the same"
    for name, values in (
        (found.old.target, [item.new for item in settings]),
        (found.new.target, [item.old for item in settings]),
    ):
        if len(values) > 1 and values == [None] * len(values):
            return f"of {name} alone: " + ", ".join(f"{item.name} {_value(item.old or item.new)}" for item in settings)
    return ", ".join(f"{item.name} {_value(item.old)} → {_value(item.new)}" for item in settings)


def _value(value: object) -> str:
    """A value; sizes such as `512 x 512` are no texts to quote."""
    if isinstance(value, str) and value.replace(" x ", "").replace(" and ", "").isdecimal():
        return value
    return "none" if value is None else value_of(value)


def _result(found: Diff, unit: str) -> str:
    if not found.changed:
        return "nothing differs"
    old, new = (format_macs(total.macs, unit, total.sign) for total in (found.delta.old, found.delta.new))
    spans = {span_of(side.workload) for side in (found.old, found.new)}
    span = spans.pop() if len(spans) == 1 else "run"
    return f"per {span}: {old} → {new} {unit_name(unit)}, {display(found.delta, unit)} ({display(Growth(found.delta))})"


GROUPINGS: Mapping[str, tuple[str, Callable[[Component], dict[str, Total]]]] = {
    "kind": ("kind of work", by_kind),
    "dtype": ("element types", by_dtype),
}
"""What the work of a diff can be summed up by, to its heading and its sums."""


def _grouped(found: Diff, unit: str, by: str) -> tuple[Table, ...]:
    """Where the difference lies by kind of work, or by element types; nothing where there is no difference."""
    heading, group = GROUPINGS[by]
    sides: list[dict[str, Total]] = [{}, {}]
    for part in found.components:
        for sums, component in zip(sides, (part.old, part.new), strict=True):
            for kind, total in group(component).items() if component else ():
                sums[kind] = sums.get(kind, Total()) + total
    deltas = {kind: Delta(sides[0].get(kind, Total()), sides[1].get(kind, Total())) for kind in {**sides[0], **sides[1]}}
    if all(delta.old == delta.new for delta in deltas.values()):
        return ()
    columns = (Column(by, heading, words=True), *number_columns(unit))
    rows = [Row((kind or "(not known)", *numbers(delta))) for kind, delta in sorted(deltas.items(), key=_dearest)]
    return (Table(columns, tuple(rows), last=("total", *numbers(found.delta))),)


def _dearest(item: tuple[str, Delta]) -> tuple[int, str]:
    return -max(item[1].old.macs, item[1].new.macs), item[0]


def _inexact(found: Diff) -> Iterator[Note]:
    lines = [
        f"{op}{f' on {shapes}' if shapes else ''}: {plural(old, 'execution')} before, {new:,} now"
        for (op, shapes), (old, new) in count_unknown_work(found).items()
    ]
    if lines:
        yield Note("uncounted or bounded (differences with ≥, ≤ or ~ are of what was counted)", tuple(lines))
    yield from _told(found)


def _told(found: Diff) -> Iterator[Note]:
    """What each side says about itself; once where both say the same under the same name."""
    sides = found.old, found.new
    for title, sentences in (
        ("approximate", [(side.target, side.approximations) for side in sides]),
        ("remarks", [(side.target, side.remarks) for side in sides]),
    ):
        lines = [(target, line) for target, told in sentences for line in said_of(told)]
        said = dict.fromkeys(line if line.startswith(f"{target}: ") else f"{target}: {line}" for target, line in lines)
        if said:
            yield Note(title, tuple(said))


def limit_lines(found: Diff, checks: Iterable[LimitCheck], unit: str = "auto", *, strict: bool = False) -> Iterator[str]:
    """A line for each limit, with what it allows, what became of the number, and whether that passes.

    A workload that differs is named beside it: then it is not the model alone that grew.
    """
    differs = f"; the workload differs: {_settings(found, found.workload)}" if found.workload else ""
    for check in checks:
        delta, word = check.delta, outcome(check, strict=strict)
        why = ", as uncounted or bounded work may decide it" if check.outcome == "unsure" else ""
        change = f"{display(delta, unit)} {unit_name(unit)} ({display(Growth(delta))})"
        yield f"{word}: {check.name} {change}, limit {check.limit.text}{why}{differs}"
