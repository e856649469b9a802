"""The report of `fxprof hotspots`: the rows with the most MACs, or the most of another measure, most expensive first."""

from __future__ import annotations

from collections.abc import Iterator

from fxprof.reports.cells import Share
from fxprof.reports.common import describe_profile, write_notes
from fxprof.reports.document import Column, Document, Row, Section, Table
from fxprof.reports.rows import Field, Rows, Value, name_total, split_total
from fxprof.result import Profile, Total, views
from fxprof.result.measures import find_measure
from fxprof.units import unit_name


def build_hotspots(
    profile: Profile, by: str = "layer", limit: int | None = 20, unit: str = "auto", measure: str = "macs"
) -> Document:
    """The document of the most expensive rows, with the sum of the others below them.

    Args:
        profile: the profile.
        by: meaning of a row, one of `fxprof.result.views.GROUPINGS`.
        limit: rows to list; None for all.
        unit: one of `fxprof.units.UNITS`.
        measure: what is counted, one of `fxprof.result.measures.MEASURES`.

    Raises:
        UsageError: `by` is no grouping; or there is no such measure, or not in this unit.
        TargetError: the profile lacks what the measure needs.
    """
    counted = find_measure(measure)
    views.check_grouping(by, counted)
    unit, profile = counted.unit_of(unit), counted.of(profile)
    found = views.rank(profile, by, limit, of_modules=counted.of_modules)
    counts = "modules" if counted.of_modules else "calls" if by in {"layer", "class"} else "executions"
    listed = tuple(_list_groups(found, profile.macs))
    sections = (
        Section(tables=(_tabulate(profile, listed, by, "count" if counts == "executions" else counts, unit),)),
        Section(notes=tuple(write_notes(profile, counted))),
    )
    down_to = Field(f"running_{counted.field}", counted.field_unit)
    fields = (Field("rank"), Field(by), Field("count", counts), *name_total(measure=counted), down_to)
    values: Iterator[tuple[Value, ...]] = (
        (rank, label, count, *split_total(total, counted), running) for rank, label, count, total, running in listed
    )
    return Document(describe_profile(profile, measure=counted), sections, Rows(fields, tuple(values)))


_Group = tuple[int | None, str, int, Total, int]
"""Rank, label, count, total, and the amount down to this row."""


def _list_groups(found: views.Hotspots, whole: int) -> Iterator[_Group]:
    """The rows, and one without a rank for the others; they add up to `whole`."""
    for rank, row in enumerate(found.rows, 1):
        yield rank, row.label, row.count, row.total, row.running
    if found.hidden:
        yield None, f"others ({found.hidden:,})", found.others_count, found.others, whole


def _tabulate(profile: Profile, listed: tuple[_Group, ...], by: str, counted: str, unit: str) -> Table:
    whole = profile.macs
    columns = (
        Column("rank"),
        Column(by, words=True, least=30),
        Column(counted),
        Column(unit_name(unit)),
        Column("share"),
        Column("running\nshare"),
    )
    rows = tuple(
        Row((rank, label, count, total, Share.of(total, whole), Share(running, whole)))
        for rank, label, count, total, running in listed
    )
    return Table(columns, rows, (None, "total", None, profile.total, Share.of(profile.total, whole), None), unit)
