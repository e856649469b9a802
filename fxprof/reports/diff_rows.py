"""A diff for programs: what it is about, and a row for every module that changed.

What it is about has the keys `old` and `new` (each with `target`, `class_name`, `macs`, `uncounted` and `bounded`), `delta`,
`shapes_compared`, `types_compared`, `versions`, `workload` and `sizes` (lists of `name`, `old`, `new`), `limits` and
`components`. Rows are single modules, never folded and never left out, and one row `equal` for the others of each component.
They add up to `delta`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fxprof.compare.diff import ComponentDiff, Diff, ModuleChange, ModuleSide, Setting, Subject
from fxprof.compare.groups import find_op_changes, find_size_changes, find_type_change
from fxprof.compare.limit_checks import LimitCheck
from fxprof.reports.common import sentences
from fxprof.reports.diff_layers import evidence_words
from fxprof.reports.tables import Column, Growth, Row, Table, display


def about(found: Diff, checks: Iterable[LimitCheck] = (), *, strict: bool = False) -> dict[str, Any]:
    """What a diff is about, as plain values."""
    return {
        "old": _subject(found.old),
        "new": _subject(found.new),
        "delta": found.delta.macs,
        "shapes_compared": found.shapes_compared,
        "types_compared": found.types_compared,
        "versions": _settings(found.versions),
        "workload": _settings(found.workload),
        "sizes": _settings(found.sizes),
        "limits": [_check(found, check, strict=strict) for check in checks],
        "components": [_component(part) for part in found.components],
    }


def _check(found: Diff, check: LimitCheck, *, strict: bool) -> dict[str, Any]:
    """What a limit says; `workload` names the arguments that differ, so that it is not the model alone that grew."""
    sides = {"old": check.delta.old.macs, "new": check.delta.new.macs, "delta": check.delta.macs}
    judged = {"outcome": outcome(check, strict=strict), "workload": [item.name for item in found.workload]}
    growth = display(Growth(check.delta))
    return {"name": check.name, "limit": check.limit.text, **sides, "growth": growth, **judged}


def outcome(check: LimitCheck, *, strict: bool) -> str:
    """`pass` or `fail`; `undecided` where unknown work may decide, and nobody asked to be strict about that."""
    undecided = "fail" if strict else "undecided"
    return {"within": "pass", "exceeded": "fail", "unsure": undecided}[check.outcome]


def _subject(side: Subject) -> dict[str, Any]:
    total = {"macs": side.total.macs, "uncounted": side.total.uncounted, "bounded": side.total.bounded}
    told = {"approximations": sentences(side.approximations), "remarks": sentences(side.remarks)}
    return {"target": side.target, "class_name": side.class_name, **total, **told}


def _settings(settings: Iterable[Setting]) -> list[dict[str, Any]]:
    return [{"name": item.name, "old": item.old, "new": item.new} for item in settings]


def _component(part: ComponentDiff) -> dict[str, Any]:
    """A component; `by_calls` and `by_cost` add up to `delta`, and are null where they cannot be told apart."""
    by_calls, by_cost = part.split or (None, None)
    sides: dict[str, Any] = {}
    for name, side, calls in zip(("old", "new"), (part.old, part.new), part.counts, strict=True):
        sides |= {f"{name}_name": side.name if side else None, f"{name}_class": side.class_name if side else None}
        sides |= {
            f"{name}_params": side.params if side else 0,
            f"{name}_calls": calls,
            f"{name}_macs": side.macs if side else 0,
        }
    evidence = "; ".join(evidence_words(part.evidence)) or None
    split = {"delta": part.delta.macs, "sign": part.delta.sign, "by_calls": by_calls, "by_cost": by_cost}
    return {
        "name": part.name,
        "change": part.change,
        **sides,
        **split,
        "evidence": evidence,
        "equal_modules": part.equal_modules,
    }


_COLUMNS = (
    *("component", "change", "old_path", "new_path", "old_class", "new_class", "modules"),
    *("old_params", "new_params", "old_calls", "new_calls", "differs", "sizes", "types", "lost", "gained"),
    *("evidence", "macs"),
)


def program_rows(found: Diff) -> Table:
    """A row for each module that changed, and one for the equal ones of each component."""
    rows = [row for part in found.components for row in _rows(part)]
    return Table(tuple(map(Column, _COLUMNS)), tuple(rows), people=False)


def _rows(part: ComponentDiff) -> Iterator[Row]:
    for change in part.modules:
        sides = change.old, change.new
        lost, gained = find_op_changes(change)
        sizes = ", ".join(f"{old} -> {new}" for old, new in find_size_changes(change))
        types = " -> ".join(find_type_change(change) or ())
        evidence = "; ".join(evidence_words(change.evidence))
        modules = max(side.modules for side in sides if side)
        named = (part.name, change.change, *(side.path if side else None for side in sides), *map(_class, sides), modules)
        counts = (*(side.params if side else 0 for side in sides), *(side.calls if side else 0 for side in sides))
        yield Row(
            (*named, *counts, " ".join(_aspects(change)), sizes, types, _listed(lost), _listed(gained), evidence, change.delta)
        )
    if part.equal_modules:
        nothing = (None,) * 4
        yield Row((part.name, "equal", *nothing, part.equal_modules, *nothing, *("",) * 6, part.equal))


def _class(side: ModuleSide | None) -> str | None:
    return side.class_name if side else None


def _aspects(change: ModuleChange) -> Iterator[str]:
    return (aspect.replace(" ", "_") for aspect in change.aspects)


def _listed(ops: tuple[tuple[str, int], ...]) -> str:
    return ", ".join(f"{op} x{count}" for op, count in ops)
