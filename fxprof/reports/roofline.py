"""The report of `fxprof roofline`: the least time of each part of a run on a device, and the distance of a measured one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fxprof.reports.cells import Cell
from fxprof.reports.common import describe_profile, write_notes
from fxprof.reports.document import Column, Document, Note, Row, Section, Table
from fxprof.reports.rows import Field, Rows, Value, name_total, split_total
from fxprof.result import Profile, Total
from fxprof.result.roofline import Bound, Roofline
from fxprof.units import format_bytes, format_seconds, unit_name

_GIGA, _TERA = 10**9, 10**12


def build_roofline(profile: Profile, roofline: Roofline, limit: int | None = None, unit: str = "auto") -> Document:
    """The document of the bounds of a profile on a device.

    Args:
        profile: the profile.
        roofline: its bounds.
        limit: rows to list; None for all. The total has all.
        unit: one of `fxprof.units.UNITS`.
    """
    device = roofline.device
    bandwidth = device.find_bandwidth()
    rates = ", ".join(f"{name.replace('_', ' ')} {rate / _TERA:g}" for name, rate in device.peaks.items())
    facts = (
        ("device", f"{device.title} ({device.name}), {bandwidth / _GIGA:,g} GB/s"),
        ("peaks", f"{rates} TFLOP/s, dense"),
    )
    overview = describe_profile(profile, *facts)
    values = {**overview.values, "device": device.name, "peaks": dict(device.peaks), "bandwidth": bandwidth}
    listed = roofline.rows[:limit]
    hidden = len(roofline.rows) - len(listed)
    lines = (f"{hidden:,} more rows are in the total.",) if hidden else ()
    sections = (
        Section(tables=(_tabulate(roofline, listed, unit),), lines=lines),
        Section(notes=(*_explain(roofline), *write_notes(profile))),
    )
    return Document(replace(overview, values=values), sections, _list_rows(roofline, listed))


def _is_measured(roofline: Roofline) -> bool:
    return any(row.measured_seconds for row in (*roofline.rows, roofline.whole))


def _tabulate(roofline: Roofline, listed: tuple[Bound, ...], unit: str) -> Table:
    measured = _is_measured(roofline)
    columns: tuple[Column, ...] = (
        Column(roofline.by, words=True, least=14 if measured else 30),
        Column(unit_name(unit)),
        Column("traffic"),
        Column("FLOPs\nper byte"),
        Column("eager\nbound"),
        Column("fused\nbound"),
        Column("limit", words=True, least=9),
    )
    if measured:
        columns += Column("measured"), Column("of\npeak"), Column("of\neager"), Column("of\nfused")
    rows = tuple(Row(_fill(row, measured=measured)) for row in listed)
    return Table(columns, rows, _fill(roofline.whole, measured=measured), unit)


def _fill(row: Bound, *, measured: bool) -> tuple[Cell, ...]:
    sign = "" if row.is_exact else "~"
    cells: tuple[Cell, ...] = (
        row.label,
        row.total,
        format_bytes(row.traffic, _sign_bytes(row.total)),
        None if row.intensity is None else f"{row.intensity:,.1f}",
        sign + format_seconds(row.eager_seconds),
        sign + format_seconds(row.fused_seconds),
        row.limit,
    )
    if not measured:
        return cells
    time = row.measured_seconds
    if not time:
        return (*cells, None, None, None, None)
    shares = (f"{100 * part / time:.1f}%" for part in (row.compute_seconds, row.eager_seconds, row.fused_seconds))
    return (*cells, format_seconds(time), *shares)


def _sign_bytes(total: Total) -> str:
    if total.bytes_unknown and total.bytes_bounded:
        return "~"
    return ">=" if total.bytes_unknown else "<=" if total.bytes_bounded else ""


def _explain(roofline: Roofline) -> Iterator[Note]:
    lines = [
        "eager: every operator alone takes as long as its arithmetic at the peak rate or its bytes at full bandwidth",
        "fused: the same for contractions alone, as if a compiler fused everything else into them",
        "both are bounds, not predictions: a run takes longer; operands that stay in a cache can shorten the eager one",
    ]
    if _is_measured(roofline):
        lines.append("of peak, of eager, of fused: the arithmetic and the bounds as parts of the measured time")
    if not roofline.whole.is_exact:
        lines.append("~: some MACs or bytes are upper bounds, so that the time may be below")
    yield Note("how to read it", tuple(lines))
    early = [row.label for row in (*roofline.rows, roofline.whole) if row.measured_seconds and row.is_too_fast]
    if early:
        why = "the device, the type, the work or the time is another one than stated"
        yield Note(
            "impossible", tuple(f"{label}: measured below the arithmetic at the device's peak, so {why}" for label in early)
        )


_FIELDS = (
    Field("traffic", "bytes"),
    Field("bytes_read", "bytes"),
    Field("bytes_written", "bytes"),
    Field("bytes_unknown", "executions"),
    Field("bytes_bounded", "executions"),
    Field("intensity", "FLOPs per byte"),
    Field("compute_seconds", "seconds"),
    Field("eager_seconds", "seconds"),
    Field("fused_seconds", "seconds"),
    Field("limit"),
    Field("measured_seconds", "seconds"),
    Field("utilisation", "parts of 1"),
)


def _list_rows(roofline: Roofline, listed: tuple[Bound, ...]) -> Rows:
    """The rows, and the total as the last one."""
    values = tuple((bound.label, *split_total(bound.total), *_split(bound)) for bound in (*listed, roofline.whole))
    return Rows((Field(roofline.by), *name_total(), *_FIELDS), values)


def _split(bound: Bound) -> tuple[Value, ...]:
    total = bound.total
    return (
        bound.traffic,
        total.bytes_read,
        total.bytes_written,
        total.bytes_unknown,
        total.bytes_bounded,
        bound.intensity,
        bound.compute_seconds,
        bound.eager_seconds,
        bound.fused_seconds,
        bound.limit,
        bound.measured_seconds,
        bound.utilisation,
    )
