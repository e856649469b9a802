"""The report of `fxprof layers`: the module tree of each component, repeated blocks folded, small branches summed up."""

from __future__ import annotations

from collections.abc import Iterator

from fxprof.reports.common import about, inexact_notes, title_of, told_notes, told_of, workload_of
from fxprof.reports.tables import Column, Document, Params, Row, Share, Table
from fxprof.result import Component, Node, Profile
from fxprof.result.views import fold_repeats, prune
from fxprof.units import unit_name


def layers(profile: Profile, depth: int | None = 3, min_share: float = 0.0, unit: str = "auto") -> Document:
    """The document of the module trees.

    A module's numbers contain those of the modules below it. The rows that nothing is listed below add up to the component;
    so do the `self_macs` that programs get, in which a module that is listed without its descendants contains theirs.

    Args:
        profile: of a pipeline.
        depth: levels below a component; None for all.
        min_share: branches below this fraction of their component become one row.
        unit: one of `fxprof.units.UNITS`.
    """
    return Document(
        title=title_of(profile),
        facts=(("workload", workload_of(profile)),),
        tables=tuple(_component(component, depth, min_share, unit) for component in profile.components.values()),
        notes=(*told_notes(profile), *inexact_notes(profile)),
        about=about(profile),
        told=told_of(profile),
        unit=unit,
    )


def _component(component: Component, depth: int | None, min_share: float, unit: str) -> Table:
    columns = (
        Column("component"),
        Column("path"),
        Column("module", "module", words=True, least=24, programs=False),
        Column("class", "class", words=True),
        Column("times"),
        Column("params", "params"),
        Column("calls"),
        Column("shown_calls", "calls", programs=False),
        Column("self_macs"),
        Column("macs", unit_name(unit)),
        Column("share", "share", programs=False),
        Column("unused_macs"),
    )
    tree = prune(fold_repeats(component.tree), depth, min_share)
    return Table(columns, tuple(_rows(component, tree, tree.total_macs, 0, 1)))


def _rows(component: Component, node: Node, whole: int, level: int, times: int, *, marked: bool = False) -> Iterator[Row]:
    """The node, its own operators where other rows stand beside them, and what is below it."""
    name = "  " * level + (node.name if level else component.name)
    folded = f" \N{MULTIPLICATION SIGN}{node.times // times}" if node.times > times and not node.name.startswith("(") else ""
    head = (component.name, node.path)
    calls = None if node.total.macs and not node.calls else node.calls  # lists of modules are never called, what is in them is
    numbers = (node.times, Params(node.total_params), node.calls, calls, node.self_macs)
    class_name = node.class_name if level else component.class_name
    share = Share.of(node.total, whole)
    never = bool(node.unused) and node.unused == node.total_macs
    mark = " (never used)" if never and not marked else ""
    yield Row((*head, name + folded + mark, class_name, *numbers, node.total, share, node.unused))
    if node.children and node.self_total.counts:
        own = f"{'  ' * (level + 1)}(own operators)"
        share = Share.of(node.self_total, whole)
        cells = (
            *head,
            own,
            "",
            node.times,
            Params(node.params),
            node.calls,
            None,
            node.self_macs,
            node.self_total,
            share,
            None,
        )
        yield Row(cells, detail=True)
    for child in node.children:
        yield from _rows(component, child, whole, level + 1, node.times, marked=never)
