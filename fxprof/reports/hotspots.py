"""The report of `fxprof hotspots`: where the MACs are, dearest first."""

from __future__ import annotations

from collections.abc import Iterator

from fxprof.reports.common import about, inexact_notes, title_of, told_notes, told_of, workload_of
from fxprof.reports.tables import Cell, Column, Document, Row, Share, Table
from fxprof.result import Profile, views
from fxprof.units import unit_name


def hotspots(profile: Profile, by: str = "layer", limit: int | None = 20, unit: str = "auto") -> Document:
    """The document of the dearest rows; what is left out is summed up below them.

    Raises:
        UsageError: `by` is not one of `fxprof.result.views.GROUPINGS`.
    """
    found = views.hotspots(profile, by, limit)
    columns = (
        Column("rank", "rank"),
        Column(by, by, words=True, least=30),
        Column("count", "calls" if by in {"layer", "class"} else "count"),
        Column("macs", unit_name(unit)),
        Column("share", "share", programs=False),
        Column("running_macs", "running\nshare"),
    )
    return Document(
        title=title_of(profile),
        facts=(("workload", workload_of(profile)),),
        tables=(Table(columns, tuple(_rows(found, profile.macs)), last=_last(profile)),),
        notes=(*told_notes(profile), *inexact_notes(profile)),
        about=about(profile),
        told=told_of(profile),
        unit=unit,
    )


def _rows(found: views.Hotspots, whole: int) -> Iterator[Row]:
    for rank, row in enumerate(found.rows, 1):
        yield Row((rank, row.label, row.count, row.total, Share.of(row.total, whole), Share(row.running, whole)))
    if found.hidden:
        label = f"others ({found.hidden:,})"
        yield Row((None, label, found.others_count, found.others, Share.of(found.others, whole), Share(whole, whole)))


def _last(profile: Profile) -> tuple[Cell, ...]:
    return (None, "total", None, profile.total, Share.of(profile.total, profile.macs), None)
