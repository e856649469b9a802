"""From matched modules to rows: every module of either side belongs to one row, or counts as equal.

The row of an added, removed or moved module includes the modules inside it, except those with a separate row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fxprof.compare.delta import Delta
from fxprof.compare.diff import Evidence, ModuleChange, ModuleSide, OpUse
from fxprof.compare.matching import Matching, Module
from fxprof.compare.spelling import unify_spelling
from fxprof.compare.traits import Traits, Use
from fxprof.result.profile import Component
from fxprof.result.records import Total


@dataclass
class _Row:
    """A row under construction."""

    change: str
    aspects: tuple[str, ...] = ()
    evidence: Evidence | None = None
    old: list[Module] = field(default_factory=list)
    """The modules of the old side, outermost first."""
    new: list[Module] = field(default_factory=list)


class Rows:
    """The rows of two matched trees."""

    def __init__(self, matching: Matching, old: Module, new: Module, classes: tuple[str, str]) -> None:
        """Find the rows.

        Args:
            matching: the pairs of modules.
            old: the root of one tree.
            new: the root of the other tree.
            classes: the classes of both components.
        """
        self._matching, self._classes = matching, classes
        self._rows: list[_Row] = []
        self._row_of: dict[Module, _Row] = {}
        self._equal = _Row("equal")
        self._visit_old(old, None)
        self._visit_new(new, None)

    def changes(self) -> tuple[ModuleChange, ...]:
        """The rows."""
        return tuple(self._finish(row) for row in self._rows)

    @property
    def equal(self) -> Delta:
        """The work of the modules without a row."""
        return Delta(_total(self._equal.old), _total(self._equal.new))

    @property
    def equal_modules(self) -> int:
        """The number of modules without a row."""
        return len(self._equal.old)

    def _visit_old(self, module: Module, around: _Row | None) -> None:
        """Put a module of the old tree, and its partner, into a row; `around` is its parent's row, if that includes it."""
        partner = self._matching.partner.get(module)
        row = self._gone(around) if partner is None else self._matched(module, partner, around)
        row.old.append(module)
        self._row_of[module] = row
        if partner is not None:
            row.new.append(partner)
            self._row_of[partner] = row
        inside = row if row.change in _TAKES_ALONG or row.aspects == _RUNS else around
        for child in module.children:
            self._visit_old(child, inside)

    def _visit_new(self, module: Module, around: _Row | None) -> None:
        row = self._row_of.get(module)
        if row is None:
            row = around if around is not None and around.change == "added" else self._start(_Row("added"))
            row.new.append(module)
        for child in module.children:
            self._visit_new(child, row)

    def _start(self, row: _Row) -> _Row:
        self._rows.append(row)
        return row

    def _gone(self, around: _Row | None) -> _Row:
        return around if around is not None and around.change == "removed" else self._start(_Row("removed"))

    def _matched(self, old: Module, new: Module, around: _Row | None) -> _Row:
        aspects = _aspects(old, new)
        if not self._matching.in_place(old):
            class_name = max(old.traits.class_name, new.traits.class_name)
            return self._start(_Row("moved", aspects, find_evidence(self._matching, old, new, class_name)))
        if not aspects:
            return around if around is not None and around.change == "moved" else self._equal
        if around is not None and aspects == around.aspects == _RUNS:
            return around
        return self._start(_Row("changed", aspects))

    def _finish(self, row: _Row) -> ModuleChange:
        old, new = _side(row.old, self._classes[0]), _side(row.new, self._classes[1])
        return ModuleChange(row.change, old, new, row.aspects, row.evidence)


_TAKES_ALONG = {"removed", "moved"}
_RUNS = ("runs",)


def make_component_row(old: Component | None, new: Component | None) -> ModuleChange:
    """The single row of a component that exists on one side only."""
    return ModuleChange("added" if old is None else "removed", _all_of(old) if old else None, _all_of(new) if new else None)


def _all_of(component: Component) -> ModuleSide:
    tree = component.tree
    modules, class_name = sum(1 for _ in tree.walk()), component.class_name
    return ModuleSide("", class_name, class_name, "", modules, component.params, tree.calls, 0, component.total.of_macs, ())


def find_evidence(matching: Matching, old: Module, new: Module, class_name: str) -> Evidence:
    """The evidence that the two are the same module: their common parts."""
    pairs = [(module, matching.partner.get(module)) for module in old.walk()]
    below = f"{new.path}." if new.path else ""
    inside = [(one, other) for one, other in pairs if other and (other is new or other.path.startswith(below))]
    same = [(one, other) for one, other in inside if not _aspects(one, other)]
    before, after = (pair and (pair[0].name, pair[1].name) for pair in matching.neighbours(old, new))
    executions = sum(use[2] for module, _ in same for use in (*module.traits.costly, *module.traits.free))
    params = sum(max(one.traits.params, other.traits.params) for one, other in same)  # only a graph mentions some
    return Evidence(class_name, len(same), params, executions, before, after)


def _aspects(old: Module, new: Module) -> tuple[str, ...]:
    """The aspects in which two matching modules differ."""
    before, after = old.traits, new.traits
    if old.types == new.types and (before is after or (before == after and old.runs == new.runs)):
        return ()
    known = bool(before.class_name and after.class_name)
    common = {_work(use)[0] for _, use, _, _ in before.costly} & {_work(use)[0] for _, use, _, _ in after.costly}
    differs = {
        "class": known and before.class_name != after.class_name,
        "params": known and before.params != after.params,
        "runs": old.runs != new.runs,
        "calls": before.visits != after.visits,
        "ops": _executions(before) != _executions(after),
        "shapes": _shapes(before, common) != _shapes(after, common),
        "types": old.types != new.types and bool(before.costly and after.costly),
        "macs": _macs(before) != _macs(after),
        "free ops": before.free != after.free,
    }
    return tuple(name for name, is_different in differs.items() if is_different)


def _work(use: Use) -> tuple[str, str]:
    """An operator's work and its shapes, whatever its spelling."""
    return unify_spelling(use.op, use.kind, use.shapes)


def _executions(traits: Traits) -> dict[tuple[int, str], int]:
    executions: dict[tuple[int, str], int] = {}
    for number, use, count, _ in traits.costly:
        key = (number, _work(use)[0])
        executions[key] = executions.get(key, 0) + count
    return executions


def _shapes(traits: Traits, ops: set[str]) -> set[tuple[int, str, str]]:
    return {(number, *_work(use)) for number, use, _, _ in traits.costly if _work(use)[0] in ops}


def _macs(traits: Traits) -> dict[tuple[int, bool, bool], int]:
    sums: dict[tuple[int, bool, bool], int] = {}
    for number, use, _, macs in traits.costly:
        key = (number, use.counted, use.bounded)
        sums[key] = sums.get(key, 0) + macs
    return sums


def _total(modules: Iterable[Module]) -> Total:
    return Total.sum(module.node.self_total.of_macs for module in modules)


def _side(modules: list[Module], component: str) -> ModuleSide | None:
    if not modules:
        return None
    root = modules[0]
    block, place = _place(root, component)
    return ModuleSide(
        path=root.path,
        class_name=root.traits.class_name or ("" if root.parent else component),
        block=block,
        place=place,
        modules=len(modules),
        params=sum(module.traits.params for module in modules),
        calls=root.node.calls,
        visits=sum(count for _, count in root.traits.visits),
        total=_total(modules),
        ops=_uses(modules),
        # By name, because the numbers of calls change if the sides of a diff change places.
        types="; ".join(dict.fromkeys(types for module in modules for types in sorted({types for _, types in module.types}))),
    )


def _place(module: Module, component: str) -> tuple[str, str]:
    """The class of the nearest numbered module around it, or of the component, and the path below that module."""
    names = [module.name] if module.path else []
    around = module.parent
    while around is not None and around.parent is not None and not around.name.isdecimal():
        names.append(around.name)
        around = around.parent
    inside = around is not None and around.parent is not None
    return (around.traits.class_name if around is not None and inside else component), ".".join(reversed(names))


def _uses(modules: Iterable[Module]) -> tuple[OpUse, ...]:
    sums: dict[Use, list[int]] = {}
    for module in modules:
        for _, use, count, macs in (*module.traits.costly, *module.traits.free):
            amounts = sums.setdefault(use, [0, 0])
            amounts[0] += count
            amounts[1] += macs
    return tuple(
        OpUse(use.op, use.kind, use.shapes, sums[use][0], sums[use][1] if use.counted else None, use.bounded)
        for use in sorted(sums)
    )
