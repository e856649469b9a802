"""A report before any format, in three parts: an overview of the profile as a whole, sections for people, rows for programs.

A report is a function that builds a document, and a format is one that writes it. Text and Markdown write the overview and the
sections, CSV and JSON the overview and the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fxprof.reports.cells import Cell
from fxprof.reports.rows import Rows
from fxprof.result import Profile


@dataclass(frozen=True, slots=True)
class Overview:
    """Statements about the profile as a whole, or about both profiles of a diff."""

    title: str = ""
    """Title for people."""
    facts: tuple[tuple[str, str], ...] = ()
    """(label, text) for people."""
    values: Mapping[str, object] = field(default_factory=dict)
    """Name to plain value for programs; MACs are unscaled."""
    sentences: tuple[str, ...] | None = None
    """Remarks and approximations, for a format that writes rows alone; None if the report can have none."""
    saved: Profile | None = None
    """The profile to save as this report's JSON; None for a report with a JSON of its own."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table for people."""

    title: str
    """The title, in lines separated by a newline."""
    words: bool = False
    """Whether it holds words, aligned left and shortened if need be, instead of numbers."""
    least: int = 16
    """Least width of words."""
    heading: str = ""
    """The title on one line, for a format that shows no lines above it; "" for the lines of `title`."""
    tail: bool = False
    """Whether to shorten long words at their beginning instead of their middle."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table for people."""

    cells: tuple[Cell, ...]
    """One for each column."""
    note: str = ""
    """A sentence about the row, on a line of its own."""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows of typed cells for people."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    last: tuple[Cell, ...] = ()
    """The line of sums below the rows; empty for none."""
    unit: str = "auto"
    """The unit of its MACs, one of `fxprof.units.UNITS`."""


@dataclass(frozen=True, slots=True)
class Note:
    """Sentences with a title of their own."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report for people: title, tables, lines right below the tables, notes."""

    title: str = ""
    tables: tuple[Table, ...] = ()
    lines: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    folds: bool = False
    """Whether a format that can fold text should fold this long section behind its title."""


@dataclass(frozen=True, slots=True)
class Document:
    """One report."""

    overview: Overview = field(default_factory=Overview)
    sections: tuple[Section, ...] = ()
    rows: Rows = field(default_factory=Rows)
