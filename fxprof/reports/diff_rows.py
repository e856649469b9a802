"""A diff for programs: values of the whole, and a row for every module that changed.

The values have the keys `old` and `new` (each with `target`, `class_name`, `macs`, `uncounted` and `bounded`), `delta`,
`shapes_compared`, `types_compared`, `versions`, `workload` and `sizes` (lists of `name`, `old`, `new`), `limits` and
`components`. A row is a single module, never folded and never omitted; one row `equal` holds the rest of each component.
They add up to `delta`. In another measure than MACs, `measure` names it, and fields have its names in place of `macs`,
`uncounted` and `bounded`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fxprof.compare.diff import ComponentDiff, Diff, ModuleChange, Setting, Subject
from fxprof.compare.groups import find_op_changes, find_size_changes, find_type_change
from fxprof.compare.limit_checks import LimitCheck
from fxprof.reports.cells import Growth, display
from fxprof.reports.common import fold_sentences
from fxprof.reports.diff_layers import describe_evidence
from fxprof.reports.rows import Field, Rows, Value, name_delta, name_values, split_delta
from fxprof.result.measures import MACS, Measure, find_measure


def collect_values(diff: Diff, checks: Iterable[LimitCheck] = (), *, strict: bool = False) -> dict[str, Any]:
    """Plain values of a diff as a whole; MACs are unscaled."""
    measure = find_measure(diff.measure)
    return {
        **({} if measure is MACS else {"measure": measure.name}),
        "old": _describe_side(diff.old, measure),
        "new": _describe_side(diff.new, measure),
        "delta": diff.delta.amount,
        "shapes_compared": diff.shapes_compared,
        "types_compared": diff.types_compared,
        "versions": _list_settings(diff.versions),
        "workload": _list_settings(diff.workload),
        "sizes": _list_settings(diff.sizes),
        "limits": [_describe_check(diff, check, strict=strict) for check in checks],
        "components": [_describe_component(part, measure) for part in diff.components],
    }


def _describe_check(diff: Diff, check: LimitCheck, *, strict: bool) -> dict[str, Any]:
    """A limit and its outcome; `workload` names arguments that differ, with which the growth is not that of the model alone."""
    sides = {"old": check.delta.old.macs, "new": check.delta.new.macs, "delta": check.delta.macs}
    judged = {"outcome": judge(check, strict=strict), "workload": [item.name for item in diff.workload]}
    growth = display(Growth(check.delta))
    return {"name": check.name, "limit": check.limit.text, **sides, "growth": growth, **judged}


def judge(check: LimitCheck, *, strict: bool) -> str:
    """`pass` or `fail`; `undecided` if unknown work may decide, unless `strict`."""
    undecided = "fail" if strict else "undecided"
    return {"within": "pass", "exceeded": "fail", "unsure": undecided}[check.outcome]


def _describe_side(side: Subject, measure: Measure) -> dict[str, Any]:
    total = name_values(side.total, measure)
    remarks = {"approximations": fold_sentences(side.approximations), "remarks": fold_sentences(side.remarks)}
    return {"target": side.target, "class_name": side.class_name, **total, **remarks}


def _list_settings(settings: Iterable[Setting]) -> list[dict[str, Any]]:
    return [{"name": item.name, "old": item.old, "new": item.new} for item in settings]


def _describe_component(part: ComponentDiff, measure: Measure) -> dict[str, Any]:
    """A component; `by_calls` and `by_cost` add up to `delta`, and are null if they cannot be separated."""
    by_calls, by_cost = part.split or (None, None)
    sides: dict[str, Any] = {}
    for name, side, calls in zip(("old", "new"), (part.old, part.new), part.counts, strict=True):
        sides |= {f"{name}_name": side.name if side else None, f"{name}_class": side.class_name if side else None}
        sides |= {
            f"{name}_params": side.params if side else 0,
            **({} if measure.of_modules else {f"{name}_calls": calls}),
            f"{name}_{measure.field}": side.total.amount if side else 0,
        }
    evidence = "; ".join(describe_evidence(part.evidence)) or None
    split: dict[str, Any] = {"delta": part.delta.amount, "sign": part.delta.sign}
    split |= {} if measure.of_modules else {"by_calls": by_calls, "by_cost": by_cost}
    return {
        "name": part.name,
        "change": part.change,
        **sides,
        **split,
        "evidence": evidence,
        "equal_modules": part.equal_modules,
    }


def name_fields(measure: Measure = MACS) -> tuple[Field, ...]:
    """The columns."""
    return (
        *map(Field, ("component", "change", "old_path", "new_path", "old_class", "new_class")),
        Field("modules", "modules"),
        Field("old_params", "parameters"),
        Field("new_params", "parameters"),
        *(() if measure.of_modules else (Field("old_calls", "calls"), Field("new_calls", "calls"))),
        *map(Field, ("differs", "sizes", "types", "lost", "gained", "evidence")),
        *name_delta(measure),
    )


FIELDS = name_fields()
"""The columns of a diff of MACs."""


def list_modules(diff: Diff) -> Rows:
    """A row for each module that changed, and one for the equal ones of each component."""
    measure = find_measure(diff.measure)
    return Rows(name_fields(measure), tuple(row for part in diff.components for row in _list_component(part, measure)))


def _list_component(part: ComponentDiff, measure: Measure) -> Iterator[tuple[Value, ...]]:
    for change in part.modules:
        sides = change.old, change.new
        lost, gained = find_op_changes(change)
        sizes = ", ".join(f"{old} -> {new}" for old, new in find_size_changes(change))
        types = " -> ".join(find_type_change(change) or ())
        evidence = "; ".join(describe_evidence(change.evidence))
        modules = max(side.modules for side in sides if side)
        paths = (side.path if side else None for side in sides)
        classes = (side.class_name if side else None for side in sides)
        calls = () if measure.of_modules else tuple(side.calls if side else 0 for side in sides)
        counts = (*(side.params if side else 0 for side in sides), *calls)
        words = (" ".join(_list_aspects(change, measure)), sizes, types, _join_ops(lost), _join_ops(gained), evidence)
        yield part.name, change.change, *paths, *classes, modules, *counts, *words, *split_delta(change.delta, measure)
    if part.equal_modules:
        none, unknown, empty = (None,) * 4, (None,) * (2 if measure.of_modules else 4), ("",) * 6
        yield part.name, "equal", *none, part.equal_modules, *unknown, *empty, *split_delta(part.equal, measure)


def _list_aspects(change: ModuleChange, measure: Measure) -> Iterator[str]:
    """The aspects that differ; the cost has the name of what is measured."""
    return (measure.field if aspect == "macs" else aspect.replace(" ", "_") for aspect in change.aspects)


def _join_ops(ops: tuple[tuple[str, int], ...]) -> str:
    return ", ".join(f"{op} x{count}" for op, count in ops)
