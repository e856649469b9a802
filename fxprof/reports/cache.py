"""The report of `fxprof cache`: what is kept of earlier results."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Protocol

from fxprof.reports.tables import Column, Document, Row, Table, plural


class Entry(Protocol):
    """What a list of results tells about each."""

    @property
    def kind(self) -> str:
        """What sort of result."""

    @property
    def about(self) -> str:
        """What it is a result of."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def used(self) -> float:
        """When it was last used, in seconds since the epoch."""


def cache(directory: str, most_bytes: int, entries: Iterable[Entry], removed: int | None) -> Document:
    """The document of what is kept; `removed` says how many results were removed, if that was asked for."""
    columns = (
        Column("kind", "kind", words=True),
        Column("about", "result of", words=True, least=30),
        Column("bytes", "bytes"),
        Column("used", "last used (UTC)", words=True, least=19),
    )
    found = tuple(entries)
    rows = [Row((entry.kind, entry.about, entry.size, _time(entry.used))) for entry in found]
    size = sum(entry.size for entry in found)
    title = f"{directory}: {plural(len(found), 'result')}, {size / 1e6:.1f} of {most_bytes / 1e6:.0f} MB"
    result = () if removed is None else (f"removed {plural(removed, 'result')}",)
    facts = {"directory": directory, "bytes": size, "most_bytes": most_bytes, "removed": removed}
    return Document(title=title, tables=(Table(columns, tuple(rows)),) if rows else (), result=result, about=facts)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
