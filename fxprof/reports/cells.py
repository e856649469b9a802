"""Typed cells of tables for people. They hold plain integers; `display` alone turns a cell into text."""

from __future__ import annotations

from dataclasses import dataclass

from fxprof.compare.delta import Delta
from fxprof.reports.words import clean
from fxprof.result import Total
from fxprof.units import SIGNS, format_delta, format_growth, format_macs, format_params, format_share


@dataclass(frozen=True, slots=True)
class Params:
    """A number of parameters."""

    count: int


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole, both in MACs."""

    part: int
    whole: int
    known: bool = True
    """False if the part holds uncounted work and nothing else."""

    @classmethod
    def of(cls, total: Total, whole: int) -> Share:
        """The share of a total, which may be uncounted, in a whole in MACs."""
        return cls(total.macs, whole, known=bool(total.macs or not total.uncounted))


@dataclass(frozen=True, slots=True)
class Growth:
    """A difference in percent of the old side."""

    delta: Delta


Cell = str | int | Total | Params | Share | Delta | Growth | None
"""A total and a delta are MACs; a delta is a signed difference; None is an empty cell."""


def display(cell: Cell, unit: str = "auto") -> str:
    """The cell for people, with MACs in a unit of `fxprof.units.UNITS`."""
    match cell:
        case None:
            return ""
        case str():
            return clean(cell)
        case Total() | Delta():
            return _display_delta(cell, unit) if isinstance(cell, Delta) else format_macs(cell.macs, unit, cell.sign)
        case Params():
            return format_params(cell.count)
        case Share() | Growth():
            return _display_growth(cell.delta) if isinstance(cell, Growth) else _display_share(cell)
        case int():
            return f"{cell:,}"


def _display_share(cell: Share) -> str:
    return format_share(cell.part, cell.whole) if cell.known else "?"


def _display_delta(delta: Delta, unit: str) -> str:
    return f"{SIGNS[delta.sign]}0" if delta.old == delta.new else format_delta(delta.macs, unit, delta.sign)


def _display_growth(delta: Delta) -> str:
    """The growth of the counted MACs; with "~" in front if some are unknown, and "?" if all of a side are."""
    if delta.sign and not (delta.old.macs and delta.new.macs):
        return "?"
    return ("~" if delta.sign else "") + format_growth(delta.old.macs, delta.new.macs)
