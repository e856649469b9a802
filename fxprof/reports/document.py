"""A report before any format, in three parts: an overview of the profile as a whole, sections for people, rows for programs.

A report is a function that builds a document, and a format one that writes it. A part that a format has no use for is left
alone: text and Markdown write the overview and the sections, CSV and JSON the overview and the rows.
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
    """For people."""
    facts: tuple[tuple[str, str], ...] = ()
    """(label, text), for people."""
    values: Mapping[str, object] = field(default_factory=dict)
    """Name to plain value, for programs; MACs are unscaled."""
    sentences: tuple[str, ...] | None = None
    """Remarks and approximations, for a format of rows alone; None where the report can have none."""
    saved: Profile | None = None
    """The profile whose saved form is this report as JSON."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table for people."""

    title: str
    """Its lines are separated by a newline."""
    words: bool = False
    """Whether it holds words, which stand on the left and may be shortened, and not numbers."""
    least: int = 16
    """Characters that words keep."""
    heading: str = ""
    """The title where it has to be one line and stands by itself; the lines of `title` where it is empty."""
    tail: bool = False
    """Whether words that are too long lose their beginning instead of their middle."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table for people."""

    cells: tuple[Cell, ...]
    """One for each column."""
    note: str = ""
    """A sentence about it, on a line of its own."""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows of typed cells for people."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    last: tuple[Cell, ...] = ()
    """The line below the rows, with their sums; empty for none."""
    unit: str = "auto"
    """The unit of its MACs, one of `fxprof.units.UNITS`."""


@dataclass(frozen=True, slots=True)
class Note:
    """Sentences below a title of their own."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report for people: its title, tables, lines right below the tables, notes."""

    title: str = ""
    tables: tuple[Table, ...] = ()
    lines: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    folds: bool = False
    """Whether it is long, so that a format that can hides it behind its title."""


@dataclass(frozen=True, slots=True)
class Document:
    """One report."""

    overview: Overview = field(default_factory=Overview)
    sections: tuple[Section, ...] = ()
    rows: Rows = field(default_factory=Rows)
