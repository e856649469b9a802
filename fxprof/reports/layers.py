"""The report of `fxprof layers`: the module tree of each component, with repeated blocks folded and small branches merged."""

from __future__ import annotations

from collections.abc import Iterator

from fxprof.reports.cells import Params, Share
from fxprof.reports.common import describe_profile, write_notes
from fxprof.reports.document import Column, Document, Row, Section, Table
from fxprof.reports.rows import Field, Rows, Value, name_total, split_total
from fxprof.result import Component, Node, Profile
from fxprof.result.measures import MACS, Measure, find_measure
from fxprof.result.views import fold_repeats, prune
from fxprof.units import unit_name


def name_fields(measure: Measure = MACS) -> tuple[Field, ...]:
    """The columns for programs. Nobody calls a weight, and only MACs have a part that nobody needs."""
    return (
        Field("component"),
        Field("path"),
        Field("class"),
        Field("times", "modules"),
        Field("params", "parameters"),
        *(() if measure.of_modules else (Field("calls", "calls"),)),
        Field(f"self_{measure.field}", measure.field_unit),
        *name_total(measure=measure),
        *((Field("unused_macs", "MACs"),) if measure is MACS else ()),
    )


FIELDS = name_fields()
"""The columns for programs, of MACs."""


def build_layers(
    profile: Profile, depth: int | None = 3, min_share: float = 0.0, unit: str = "auto", measure: str = "macs"
) -> Document:
    """The document of the module trees.

    A module's numbers contain those of the modules below it. The rows at the ends of the tree add up to the component. So do
    the `self_macs` for programs: those of a module that is listed without its descendants contain theirs.

    Args:
        profile: of a pipeline.
        depth: levels below a component; None for all.
        min_share: branches below this fraction of their component become one row.
        unit: one of `fxprof.units.UNITS`.
        measure: what is counted, one of `fxprof.result.measures.MEASURES`.

    Raises:
        UsageError: there is no such measure, or not in this unit.
        TargetError: the profile lacks what the measure needs.
    """
    counted = find_measure(measure)
    unit, profile = counted.unit_of(unit), counted.of(profile)
    pruned = [(item, prune(fold_repeats(item.tree), depth, min_share)) for item in profile.components.values()]
    sections = (
        Section(tables=tuple(_tabulate(component, tree, unit, counted) for component, tree in pruned)),
        Section(notes=tuple(write_notes(profile, counted))),
    )
    values = tuple(row for component, tree in pruned for row in _list_nodes(component, tree, counted))
    return Document(describe_profile(profile, measure=counted), sections, Rows(name_fields(counted), values))


def _list_nodes(component: Component, tree: Node, measure: Measure) -> Iterator[tuple[Value, ...]]:
    """A row of `name_fields` for each module."""
    for node in tree.walk():
        class_name = component.class_name if node is tree else node.class_name
        calls = () if measure.of_modules else (node.calls,)
        unused = (node.unused,) if measure is MACS else ()
        amounts = (node.self_total.amount, *split_total(node.total, measure), *unused)
        yield component.name, node.path, class_name, node.times, node.total_params, *calls, *amounts


def _tabulate(component: Component, tree: Node, unit: str, measure: Measure) -> Table:
    columns: tuple[Column, ...] = (
        Column("module", words=True, least=24),
        Column("class", words=True),
        Column("params"),
        Column("calls"),
        Column(unit_name(unit)),
        Column("share"),
    )
    rows = tuple(_show_node(component, tree, tree.total.amount, 0, 1))
    if measure.of_modules:
        left = [place for place, column in enumerate(columns) if column.title != "calls"]
        columns = tuple(columns[place] for place in left)
        rows = tuple(Row(tuple(row.cells[place] for place in left)) for row in rows)
    return Table(columns, rows, unit=unit)


def _show_node(component: Component, node: Node, whole: int, level: int, times: int, *, marked: bool = False) -> Iterator[Row]:
    """The node, its own operators if it has other rows below, and the nodes below it.

    Args:
        component: component of the node.
        node: a module, or several folded ones.
        whole: the amount of the component.
        level: its depth below the component.
        times: number of modules folded into its parent.
        marked: whether a row above says that nobody uses the results.
    """
    name = "  " * level + (node.name if level else component.name)
    folded = f" \N{MULTIPLICATION SIGN}{node.times // times}" if node.times > times and not node.name.startswith("(") else ""
    calls = None if node.total.macs and not node.calls else node.calls  # nobody calls a list of modules, only its items
    class_name = node.class_name if level else component.class_name
    never = bool(node.unused) and node.unused == node.total_macs
    mark = " (never used)" if never and not marked else ""
    share = Share.of(node.total, whole)
    yield Row((name + folded + mark, class_name, Params(node.total_params), calls, node.total, share))
    if node.children and node.self_total.counts:
        own = f"{'  ' * (level + 1)}(computed here)"
        yield Row((own, "", Params(node.params), None, node.self_total, Share.of(node.self_total, whole)))
    for child in node.children:
        yield from _show_node(component, child, whole, level + 1, node.times, marked=never)
