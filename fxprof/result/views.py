"""Views: smaller forms of a profile, or of a component's tree. Pure; no view changes the total."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from operator import is_
from typing import TYPE_CHECKING

from fxprof.errors import UsageError
from fxprof.result.measures import Measure, find_measure
from fxprof.result.records import OpRow, Total
from fxprof.result.tree import Node
from fxprof.trace.captured import NOT_CAPTURED
from fxprof.trace.collector import uncollected

if TYPE_CHECKING:  # for annotations alone: a profile imports views of itself
    from fxprof.result.profile import Component, Profile


def by_kind(component: Component) -> dict[str, Total]:
    """The cost of each kind of operator in one run of the pipeline, most expensive first, without kinds that have no MACs."""
    return _sums_by(component, lambda row: row.kind)


def by_dtype(component: Component) -> dict[str, Total]:
    """The cost of operators by element type in one run of the pipeline, most expensive first; "" if unknown."""
    return _sums_by(component, lambda row: row.types)


def _sums_by(component: Component, key: Callable[[OpRow], str]) -> dict[str, Total]:
    sums: dict[str, Total] = {}
    for call in component.calls:
        for row in call.ops:
            if row.counts:
                sums[key(row)] = sums.get(key(row), Total()) + row.total.of_macs * call.count
    costly = {name: total for name, total in sums.items() if total.counts}
    return dict(sorted(costly.items(), key=lambda item: (-item[1].macs, item[0])))


def prune(node: Node, depth: int | None = None, min_share: float = 0.0) -> Node:
    """The tree down to a depth, with its small branches merged.

    A node at the last level takes over the operators of its descendants. Children of one parent whose share of the root is
    below `min_share` become one node called `(3 smaller)`; a child with uncounted operators is never small.

    Args:
        node: the root.
        depth: levels below the root; None for all.
        min_share: a fraction of the root's MACs.
    """
    return _prune(node, depth, min_share * node.total_macs)


def _prune(node: Node, depth: int | None, least: float) -> Node:
    if depth == 0:
        return _collapse(node)
    small = [child for child in node.children if child.total_macs < least and not child.total.uncounted]
    paths = {child.path for child in small}
    hidden, alone = (paths, set[str]()) if len(small) > 1 else (set[str](), paths)
    below = None if depth is None else depth - 1
    kept = [
        _prune(child, below if child.path not in alone else 0, least) for child in node.children if child.path not in hidden
    ]
    return node._replace(children=(*kept, *([_sum_up(node.path, small)] if hidden else [])))


def _collapse(node: Node) -> Node:
    """The node with the operators of its descendants as its own."""
    return node._replace(self_total=node.total, ops=_all_ops(node), params=node.total_params, children=())


def _all_ops(node: Node) -> tuple[OpRow, ...]:
    return tuple(row for inner in node.walk() for row in inner.ops)


def _sum_up(parent: str, nodes: list[Node]) -> Node:
    """One node for several siblings, with the sum of their calls."""
    name = f"({sum(node.times for node in nodes)} smaller)"
    total, params = Total.sum(node.total for node in nodes), sum(node.total_params for node in nodes)
    return Node(
        path=f"{parent}.{name}" if parent else name,
        class_name="",
        params=params,
        total_params=params,
        calls=sum(node.calls for node in nodes),
        self_total=total,
        total=total,
        ops=tuple(row for node in nodes for row in _all_ops(node)),
        children=(),
        times=sum(node.times for node in nodes),
        unused=sum(node.unused for node in nodes),
    )


@uncollected()
def fold_repeats(node: Node) -> Node:
    """The tree with runs of equal numbered siblings folded into one node: `blocks.0…22`, times 23.

    Siblings are equal if they differ only in their number: they have the same class, parameters, calls and operators, and so
    have all modules inside them. A folded node and the nodes inside it represent all modules of the run, with their sums.
    """
    return _fold(node, _Shapes(), node.path, 1)


def _fold(node: Node, shapes: _Shapes, path: str, times: int) -> Node:
    """Fold inside the node, give it another path, and multiply its work by `times`."""
    children = []
    for run in _runs(node.children, shapes):
        name = run[0].name if len(run) == 1 else f"{run[0].name}…{run[-1].name}"
        children.append(_fold(run[0], shapes, f"{path}.{name}" if path else name, times * len(run)))
    if times == 1 and path == node.path and len(children) == len(node.children) and all(map(is_, children, node.children)):
        return node  # nothing in it folds
    return node._replace(
        path=path,
        params=node.params * times,
        total_params=node.total_params * times,
        calls=node.calls * times,
        self_total=node.self_total * times,
        total=node.total * times,
        ops=tuple(row.repeated(times)._replace(path=path) for row in node.ops),
        children=tuple(children),
        times=node.times * times,
        unused=node.unused * times,
    )


def _runs(nodes: tuple[Node, ...], shapes: _Shapes) -> Iterator[list[Node]]:
    """The nodes in runs of equal ones with consecutive numbers as names."""
    run = list(nodes[:1])
    for before, node in pairwise(nodes):
        if _follows(before.name, node.name) and shapes.of(before) == shapes.of(node):
            run.append(node)
        else:
            yield run
            run = [node]
    if run:
        yield run


_DIGITS = 9
"""Digits of a number in a list of modules; a longer name of digits is not such a number."""


def _follows(before: str, name: str) -> bool:
    return before.isascii() and before.isdecimal() and len(before) <= _DIGITS and name == str(int(before) + 1)


class _Shapes:
    """Gives equal numbers to subtrees that are equal apart from their paths; visits each subtree once."""

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}
        self._known: dict[str, int] = {}

    def of(self, node: Node) -> int:
        if node.path not in self._known:
            children = tuple((child.name, self.of(child)) for child in node.children)
            ops = tuple(row[1:] for row in node.ops)
            key = (node.class_name, node.params, node.calls, node.times, node.unused, ops, children)
            self._known[node.path] = self._numbers.setdefault(key, len(self._numbers))
        return self._known[node.path]


@dataclass(frozen=True, slots=True)
class Hotspot:
    """The cost of one layer, class, kind, operator or source line in one run of the pipeline."""

    label: str
    count: int
    """Calls of the modules for layers and classes; executions for kinds, operators and source lines; modules for weights."""
    total: Total
    running: int
    """MACs, or the amount of another measure, of this row and all before it."""


@dataclass(frozen=True, slots=True)
class Hotspots:
    """The most expensive rows, and the sum of the others."""

    rows: tuple[Hotspot, ...]
    """The rows by MACs, most expensive first; rows with uncounted operators are always here, whatever the limit."""
    hidden: int
    """Number of hidden rows."""
    others: Total
    """The sum of the hidden rows."""
    others_count: int = 0
    """The sum of the hidden rows' counts."""


def hotspots(profile: Profile, by: str = "layer", limit: int | None = None, measure: str = "macs") -> Hotspots:
    """Find the most expensive parts of a profile; rows and others add up to its total.

    Args:
        profile: the profile of a pipeline.
        by: `layer` for modules by their own operators, with equal modules of a folded run together; or `class`, `kind`, `op`,
            `source`, or `dtype` for the element types of the operands.
        limit: number of rows to show; None for all. Parts without MACs make no row.
        measure: what is counted, one of `fxprof.result.measures.MEASURES`; the totals hold it. Weights belong to modules, so
            they have rows by `layer` and by `class` alone, and a row counts modules.

    Raises:
        UsageError: `by` or `measure` is none of these.
        TargetError: the profile lacks what the measure needs.
    """
    check_grouping(by, find_measure(measure))
    return rank(find_measure(measure).of(profile), by, limit, of_modules=find_measure(measure).of_modules)


def check_grouping(by: str, measure: Measure) -> None:
    """Check what a row stands for.

    Raises:
        UsageError: there are no such groups, or not in this measure.
    """
    if by not in GROUPINGS:
        raise UsageError(f"hotspots cannot be grouped by {by!r}", f"one of {', '.join(GROUPINGS)}")
    if measure.of_modules and by not in OF_MODULES:
        message = f"{measure.word} belong to modules, which cannot be grouped by {by!r}"
        raise UsageError(message, f"one of {', '.join(OF_MODULES)}")


def rank(profile: Profile, by: str, limit: int | None, *, of_modules: bool = False) -> Hotspots:
    """The rows of `hotspots` for a profile that is in the wanted measure already."""
    group = (OF_MODULES if of_modules else GROUPINGS)[by]
    sums: dict[str, tuple[int, Total]] = {}
    for component in profile.components.values():
        for label, count, total in group(component):
            counted, known = sums.get(label, (0, Total()))
            sums[label] = (counted + count, known + total)
    groups = [(label, count, total) for label, (count, total) in sums.items() if total.counts]
    groups.sort(key=lambda row: (-row[2].macs, row[0]))
    return _cut(groups, len(groups) if limit is None else limit)


_Group = tuple[str, int, Total]


def _cut(groups: list[_Group], limit: int) -> Hotspots:
    shown = [row for rank, row in enumerate(groups) if rank < limit or row[2].uncounted]
    hidden = [row for rank, row in enumerate(groups) if rank >= limit and not row[2].uncounted]
    rows, running = [], 0
    for label, count, total in shown:
        running += total.macs
        rows.append(Hotspot(label, count, total, running))
    return Hotspots(tuple(rows), len(hidden), Total.sum(row[2] for row in hidden), sum(row[1] for row in hidden))


def not_captured(profile: Profile) -> tuple[tuple[str, str], ...]:
    """Components with a call that could not be captured, each with the reason."""
    return tuple(
        (component.name, row.note)
        for component in profile.components.values()
        for call in component.calls
        for row in call.ops
        if row.op == NOT_CAPTURED
    )


def _by_layer(component: Component) -> Iterator[_Group]:
    for node in fold_repeats(component.tree).walk():
        yield f"{component.name}.{node.path}" if node.path else component.name, node.calls, node.self_total.of_macs


def _by_class(component: Component) -> Iterator[_Group]:
    for node in component.tree.walk():
        if node.self_total.counts:
            yield node.class_name or "(class unknown)", node.calls, node.self_total.of_macs


_FIELDS = {"types": "element types"}
"""Fields to their names in reports, if these differ."""


def _by_field(field: str) -> Callable[[Component], Iterator[_Group]]:
    def group(component: Component) -> Iterator[_Group]:
        for call in component.calls:
            for row in call.ops:
                if row.counts:
                    yield (
                        getattr(row, field) or f"({_FIELDS.get(field, field)} unknown)",
                        row.count * call.count,
                        row.total.of_macs * call.count,
                    )

    return group


GROUPINGS: Mapping[str, Callable[[Component], Iterator[_Group]]] = {
    "layer": _by_layer,
    "class": _by_class,
    "kind": _by_field("kind"),
    "op": _by_field("op"),
    "source": _by_field("source"),
    "dtype": _by_field("types"),
}
"""The groupings of hotspots."""


def _modules_by_layer(component: Component) -> Iterator[_Group]:
    for node in fold_repeats(component.tree).walk():
        yield f"{component.name}.{node.path}" if node.path else component.name, node.times, node.self_total.of_macs


def _modules_by_class(component: Component) -> Iterator[_Group]:
    for node in component.tree.walk():
        if node.self_total.counts:
            yield node.class_name or "(class unknown)", 1, node.self_total.of_macs


OF_MODULES: Mapping[str, Callable[[Component], Iterator[_Group]]] = {"layer": _modules_by_layer, "class": _modules_by_class}
"""The groupings of a measure that belongs to modules; a row counts modules."""
