"""The layers of a diff: rows of modules that changed in the same way, and in words how."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fxprof.compare.delta import Delta
from fxprof.compare.diff import ComponentDiff, Diff, Evidence, ModuleChange
from fxprof.compare.groups import Group, Pair, find_type_change, group_changes
from fxprof.reports.tables import Cell, Column, Growth, Note, Row, Table, plural
from fxprof.units import format_params, unit_name

_SILENT = 8
"""Changes without MACs that are told one by one."""
_TIMES = "\N{MULTIPLICATION SIGN}"
_SIZES = 4
"""Changed sizes that are told one by one."""


def number_columns(unit: str) -> tuple[Column, ...]:
    """The columns of `numbers`."""
    name = unit_name(unit)
    return (
        Column("old", "old", heading=f"old {name}"),
        Column("new", f"{name}\nnew", heading=f"new {name}"),
        Column("delta", "delta", heading=f"delta {name}"),
        Column("growth", "growth"),
    )


def numbers(delta: Delta) -> tuple[Cell, ...]:
    """The cells old, new, difference and growth."""
    return delta.old, delta.new, delta, Growth(delta)


def layers(part: ComponentDiff, limit: int | None, unit: str, *, ops: bool) -> Table:
    """The groups of a component's layers that changed, those of the largest difference first; all rows add up to the component.

    What costs nothing, before or after, is left to `silent`, unless operators are asked for.
    """
    groups = group_changes(part.modules if ops else part.loud)
    listed = [group for group in groups if ops or not group.costless]
    shown = [group for place, group in enumerate(listed) if limit is None or place < limit or group.delta.sign]
    hidden = [group for place, group in enumerate(listed) if limit is not None and place >= limit and not group.delta.sign]
    typed = any(find_type_change(group.first) for group in listed)
    rows = [Row((_label(group), *_types(group, typed), *numbers(group.delta)), note=_note(group, ops=ops)) for group in shown]
    none = ("",) if typed else ()
    if hidden:
        rest = numbers(Delta.sum(group.delta for group in hidden))
        rows.append(Row((plural(len(hidden), "other group"), *none, *rest)))
    rows += _equal(part, listed, none)
    columns = (
        Column("layer", "layer", words=True, least=30, tail=True),
        *((Column("types", "element types", words=True),) if typed else ()),
        *number_columns(unit),
    )
    title = f"{part.name}: layers that changed"
    return Table(columns, tuple(rows), title, last=(part.name, *none, *numbers(part.delta)), programs=False, folds=True)


def _types(group: Group, typed: bool) -> tuple[str, ...]:
    """The element types before and after, where the table has a column for them."""
    change = group.first
    pair = find_type_change(change)
    sides = {side.types for side in (change.old, change.new) if side}
    return (" → ".join(pair) if pair else " → ".join(sides) if len(sides) == 1 else "",) if typed else ()


def _equal(part: ComponentDiff, listed: list[Group], none: tuple[str, ...]) -> Iterator[Row]:
    """One row for all that is not listed: equal modules, and what changed without MACs."""
    members = {id(member) for group in listed for member in group.members}
    rest = [member for member in part.modules if id(member) not in members]
    delta = Delta.sum([part.equal, *(member.delta for member in rest)])
    if part.equal_modules or rest:
        yield Row((f"{part.equal_modules:,} equal", *none, *numbers(delta)))


def _label(group: Group) -> str:
    times = f" {_TIMES}{len(group.members):,}" if len(group.members) > 1 else ""
    return (group.new_path or group.old_path or "(the component itself)") + times


def _note(group: Group, *, ops: bool) -> str:
    said = f"{group.first.change}: {'; '.join(_words(group))}"
    exact = operators(group) if ops else ""
    return f"{said}; {exact}" if exact else said


def _words(group: Group) -> Iterator[str]:
    """What happened to the modules of a group."""
    change = group.first
    old, new = change.old, change.new
    if old is None or new is None:
        yield _what(change) + (" each" if len(group.members) > 1 else "")
        return
    yield _class(old.class_name, new.class_name)
    if change.change == "moved":
        yield f"was {group.old_path}"
        yield from evidence_words(change.evidence)
    if group.sizes:
        yield "sizes " + ", ".join(f"{before} → {after}" for before, after in _few(group.sizes))
    if "ops" in change.aspects:
        yield _exchanged(group)
    if "params" in change.aspects:
        yield f"parameters {format_params(_params(group, 'old'))} → {format_params(_params(group, 'new'))}"
    if "runs" in change.aspects:
        yield "no longer runs" if old.calls or old.total.counts else "runs now, and did not before"
    elif "calls" in change.aspects:
        yield f"in one call of the component it runs {old.visits:,} → {new.visits:,} times"


def _what(change: ModuleChange) -> str:
    """A module of one side alone: its class, and what it holds."""
    side = change.new or change.old
    if side is None:
        return ""
    inside = f" with {plural(side.modules - 1, 'module')} inside" if side.modules > 1 else ""
    params = f", {format_params(side.params)} parameters" if side.params else ""
    return f"{side.class_name or 'a module'}{inside}{params}"


def _class(old: str, new: str) -> str:
    return (new or old or "class unknown") if old == new or not old or not new else f"{old} → {new}"


def _few(sizes: tuple[Pair, ...]) -> tuple[Pair, ...]:
    return sizes if len(sizes) <= _SIZES else (*sizes[:_SIZES], ("…", "…"))


def _params(group: Group, side: str) -> int:
    sides = [getattr(member, side) for member in group.members]
    return sum(found.params for found in sides if found)


def evidence_words(evidence: Evidence | None) -> Iterator[str]:
    """Why a module is taken for one of another path."""
    if evidence is None:
        return
    what = [plural(evidence.ops, "operator")] if evidence.ops else []
    what = [f"{evidence.params:,} parameters", *what] if evidence.params else what
    inside = [plural(evidence.modules - 1, "module") + " inside"] if evidence.modules > 1 else []
    yield "same " + ", ".join(["class", *what, *inside])
    near = [_neighbour(word, pair) for word, pair in (("behind", evidence.before), ("before", evidence.after)) if pair]
    if near:
        yield " and ".join(near)


def _neighbour(word: str, names: tuple[str, str]) -> str:
    return f"{word} {names[1]}" if names[0] == names[1] else f"{word} {names[1]}, which was {names[0]}"


def _exchanged(group: Group) -> str:
    """The operators that cost something, lost and gained: `conv2d → linear`."""
    costly = {use.op for side in (group.first.old, group.first.new) if side for use in side.ops if use.macs != 0}
    lost, gained = (_named(pair for pair in pairs if pair[0] in costly) for pairs in (group.lost, group.gained))
    return f"{lost or 'nothing'} → {gained or 'nothing'}"


def _named(ops: Iterable[tuple[str, int]]) -> str:
    return " + ".join(short(op) + (f" {_TIMES}{count}" if count > 1 else "") for op, count in ops)


def short(op: str) -> str:
    """`aten.conv2d.default` as `conv2d`; operators of other libraries keep their names."""
    return op.removeprefix("aten.").removesuffix(".default") if op.startswith("aten.") else op


def operators(group: Group) -> str:
    """All operators that one module of the group lost and gained in one call."""
    told = [f"{word} {_named(ops)}" for word, ops in (("lost", group.lost), ("gained", group.gained)) if ops]
    return f"operators: {', '.join(told)}" if told else ""


def silent(found: Diff, *, ops: bool) -> Iterator[Note]:
    """What changed without MACs, in words; and how many modules differ in operators that cost nothing alone."""
    for part in found.components:
        groups = [group for group in group_changes(part.loud) if group.costless] if part.old and part.new and not ops else []
        lines = [f"{_label(group)}  {_note(group, ops=False)}" for group in groups[:_SILENT]]
        if len(groups) > _SILENT:
            lines.append(f"and {plural(len(groups) - _SILENT, 'other')}")
        if lines:
            yield Note(f"{part.name}: changed without MACs", tuple(lines))
    quiet = sum(len(part.modules) - len(part.loud) for part in found.components)
    if quiet and not ops:
        yield Note("not listed", (f"{plural(quiet, 'module')} with other operators that cost nothing; --ops lists them",))
