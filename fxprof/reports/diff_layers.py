"""The layers of a diff: rows of modules that changed in the same way, with the change in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fxprof.compare.delta import Delta
from fxprof.compare.diff import ComponentDiff, Diff, Evidence, ModuleChange
from fxprof.compare.groups import Group, Pair, find_type_change, group_changes
from fxprof.reports.cells import Cell, Growth
from fxprof.reports.document import Column, Note, Row, Section, Table
from fxprof.reports.words import format_count
from fxprof.result.measures import find_measure
from fxprof.units import format_params, unit_name

_COSTLESS = 8
"""Changes without MACs that are listed one by one."""
_TIMES = "\N{MULTIPLICATION SIGN}"
_SIZES = 4
"""Changed sizes that are listed one by one."""


def name_delta(unit: str) -> tuple[Column, ...]:
    """The columns of a delta, whose cells are those of `fill_delta`."""
    name = unit_name(unit)
    return (
        Column("old", heading=f"old {name}"),
        Column(f"{name}\nnew", heading=f"new {name}"),
        Column("delta", heading=f"delta {name}"),
        Column("growth"),
    )


def fill_delta(delta: Delta) -> tuple[Cell, ...]:
    """The cells old, new, difference (each in MACs) and growth (in percent)."""
    return delta.old, delta.new, delta, Growth(delta)


def show_layers(part: ComponentDiff, limit: int | None, unit: str, *, ops: bool) -> Section:
    """The groups of a component's changed layers, the largest difference first; all rows add up to the component.

    Modules that cost nothing, before and after, are left to `describe_costless`, unless the user asked for operators.
    """
    groups = group_changes(part.modules if ops else part.loud)
    listed = [group for group in groups if ops or not group.costless]
    shown = [group for place, group in enumerate(listed) if limit is None or place < limit or group.delta.sign]
    hidden = [group for place, group in enumerate(listed) if limit is not None and place >= limit and not group.delta.sign]
    typed = any(find_type_change(group.first) for group in listed)
    rows = [
        Row((_label(group), *_show_types(group, typed), *fill_delta(group.delta)), note=_describe(group, ops=ops))
        for group in shown
    ]
    none = ("",) if typed else ()
    if hidden:
        rest = fill_delta(Delta.sum(group.delta for group in hidden))
        rows.append(Row((format_count(len(hidden), "other group"), *none, *rest)))
    rows += _show_equal(part, listed, none)
    columns = (
        Column("layer", words=True, least=30, tail=True),
        *((Column("element types", words=True),) if typed else ()),
        *name_delta(unit),
    )
    table = Table(columns, tuple(rows), last=(part.name, *none, *fill_delta(part.delta)), unit=unit)
    return Section(f"{part.name}: layers that changed", (table,), folds=True)


def _show_types(group: Group, typed: bool) -> tuple[str, ...]:
    """The element types before and after, if the table has a column for them."""
    change = group.first
    pair = find_type_change(change)
    sides = {side.types for side in (change.old, change.new) if side}
    return (" → ".join(pair) if pair else " → ".join(sides) if len(sides) == 1 else "",) if typed else ()


def _show_equal(part: ComponentDiff, listed: list[Group], none: tuple[str, ...]) -> Iterator[Row]:
    """One row for all modules that are not listed: equal ones, and those that changed without MACs."""
    members = {id(member) for group in listed for member in group.members}
    rest = [member for member in part.modules if id(member) not in members]
    delta = Delta.sum([part.equal, *(member.delta for member in rest)])
    if part.equal_modules or rest:
        yield Row((f"{part.equal_modules:,} equal", *none, *fill_delta(delta)))


def _label(group: Group) -> str:
    times = f" {_TIMES}{len(group.members):,}" if len(group.members) > 1 else ""
    return (group.new_path or group.old_path or "(the component itself)") + times


def _describe(group: Group, *, ops: bool) -> str:
    change = f"{group.first.change}: {'; '.join(_list_changes(group))}"
    exact = list_ops(group) if ops else ""
    return f"{change}; {exact}" if exact else change


def _list_changes(group: Group) -> Iterator[str]:
    """The changes of the modules of a group, in words."""
    change = group.first
    old, new = change.old, change.new
    if old is None or new is None:
        yield _describe_module(change) + (" each" if len(group.members) > 1 else "")
        return
    yield _write_class(old.class_name, new.class_name)
    if change.change == "moved":
        yield f"was {group.old_path}"
        yield from describe_evidence(change.evidence)
    if group.sizes:
        yield "sizes " + ", ".join(f"{before} → {after}" for before, after in _cut_sizes(group.sizes))
    if "ops" in change.aspects:
        yield _write_exchange(group)
    if "params" in change.aspects:
        yield f"parameters {format_params(_add_params(group, 'old'))} → {format_params(_add_params(group, 'new'))}"
    if "runs" in change.aspects:
        yield "no longer runs" if old.calls or old.total.counts else "runs now, and did not before"
    elif "calls" in change.aspects:
        yield f"runs {old.visits:,} → {new.visits:,} times in one call of the component"


def _describe_module(change: ModuleChange) -> str:
    """A module of one side alone: its class, the modules inside, its parameters."""
    side = change.new or change.old
    if side is None:
        return ""
    inside = f" with {format_count(side.modules - 1, 'module')} inside" if side.modules > 1 else ""
    params = f", {format_params(side.params)} parameters" if side.params else ""
    return f"{side.class_name or 'a module'}{inside}{params}"


def _write_class(old: str, new: str) -> str:
    return (new or old or "class unknown") if old == new or not old or not new else f"{old} → {new}"


def _cut_sizes(sizes: tuple[Pair, ...]) -> tuple[Pair, ...]:
    return sizes if len(sizes) <= _SIZES else (*sizes[:_SIZES], ("…", "…"))


def _add_params(group: Group, side: str) -> int:
    sides = [getattr(member, side) for member in group.members]
    return sum(item.params for item in sides if item)


def describe_evidence(evidence: Evidence | None) -> Iterator[str]:
    """The reasons to match a module with one of another path."""
    if evidence is None:
        return
    ops = [format_count(evidence.ops, "operator")] if evidence.ops else []
    params = [f"{evidence.params:,} parameters"] if evidence.params else []
    inside = [format_count(evidence.modules - 1, "module") + " inside"] if evidence.modules > 1 else []
    yield "same " + ", ".join(["class", *params, *ops, *inside])
    near = [_name_neighbour(word, pair) for word, pair in (("after", evidence.before), ("before", evidence.after)) if pair]
    if near:
        yield " and ".join(near)


def _name_neighbour(word: str, names: tuple[str, str]) -> str:
    return f"{word} {names[1]}" if names[0] == names[1] else f"{word} {names[1]}, which was {names[0]}"


def _write_exchange(group: Group) -> str:
    """The operators that cost something, lost and gained: `conv2d → linear`."""
    costly = {use.op for side in (group.first.old, group.first.new) if side for use in side.ops if use.macs != 0}
    lost, gained = (_join_ops(pair for pair in pairs if pair[0] in costly) for pairs in (group.lost, group.gained))
    return f"{lost or 'nothing'} → {gained or 'nothing'}"


def _join_ops(ops: Iterable[tuple[str, int]]) -> str:
    return " + ".join(shorten_op(op) + (f" {_TIMES}{count}" if count > 1 else "") for op, count in ops)


def shorten_op(op: str) -> str:
    """`aten.conv2d.default` as `conv2d`; operators of other libraries keep their names."""
    return op.removeprefix("aten.").removesuffix(".default") if op.startswith("aten.") else op


def list_ops(group: Group) -> str:
    """All operators that one module of the group lost and gained in one call."""
    changes = [f"{word} {_join_ops(ops)}" for word, ops in (("lost", group.lost), ("gained", group.gained)) if ops]
    return f"operators: {', '.join(changes)}" if changes else ""


def describe_costless(diff: Diff, *, ops: bool) -> Iterator[Note]:
    """Changes without MACs in words, and the number of modules that differ only in operators without MACs.

    In another measure, the same of what costs nothing there.
    """
    word = find_measure(diff.measure).word
    for part in diff.components:
        groups = [group for group in group_changes(part.loud) if group.costless] if part.old and part.new and not ops else []
        lines = [f"{_label(group)}  {_describe(group, ops=False)}" for group in groups[:_COSTLESS]]
        if len(groups) > _COSTLESS:
            lines.append(f"and {format_count(len(groups) - _COSTLESS, 'other')}")
        if lines:
            yield Note(f"{part.name}: changed without {word}", tuple(lines))
    quiet = sum(len(part.modules) - len(part.loud) for part in diff.components)
    if quiet and not ops:
        yield Note(
            "not listed", (f"{format_count(quiet, 'module')} changed only in operators without {word}; --ops lists them",)
        )
