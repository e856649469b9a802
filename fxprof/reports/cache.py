"""The report of `fxprof cache`: the cached results of earlier commands."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Protocol

from fxprof.reports.document import Column, Document, Overview, Row, Section, Table
from fxprof.reports.rows import Field, Rows
from fxprof.reports.words import format_count


class Entry(Protocol):
    """A cached result."""

    @property
    def kind(self) -> str:
        """The sort of result."""

    @property
    def about(self) -> str:
        """The profile or the module that it is a result of."""

    @property
    def size(self) -> int:
        """Its size in bytes."""

    @property
    def used(self) -> float:
        """The time of its last use, in seconds since the epoch."""


def build_cache(directory: str, most_bytes: int, entries: Iterable[Entry], removed: int | None) -> Document:
    """The document of the cached results.

    Args:
        directory: directory of the cache.
        most_bytes: bytes that it may hold.
        entries: the results in it.
        removed: number of removed results; None if nobody asked to remove any.
    """
    columns = (
        Column("kind", words=True),
        Column("result of", words=True, least=30),
        Column("bytes"),
        Column("last used (UTC)", words=True, least=19),
    )
    values = tuple((entry.kind, entry.about, entry.size, _format_time(entry.used)) for entry in entries)
    size = sum(row[2] for row in values)
    title = f"{directory}: {format_count(len(values), 'result')}, {size / 1e6:.1f} of {most_bytes / 1e6:.0f} MB"
    lines = () if removed is None else (f"removed {format_count(removed, 'result')}",)
    tables = (Table(columns, tuple(map(Row, values))),) if values else ()
    about = {"directory": directory, "bytes": size, "most_bytes": most_bytes, "removed": removed}
    fields = Field("kind"), Field("about"), Field("bytes", "bytes"), Field("used")
    return Document(Overview(title, values=about), (Section(tables=tables, lines=lines),), Rows(fields, values))


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
