"""The report of `fxprof models`: what is bundled."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from fxprof.reports.tables import Column, Document, Params, Row, Table


class Entry(Protocol):
    """What a list of models tells about each."""

    @property
    def name(self) -> str:
        """What to give as the target."""

    @property
    def title(self) -> str:
        """One line about the model."""

    @property
    def class_name(self) -> str:
        """The pipeline's class."""

    @property
    def hub_id(self) -> str:
        """Where it was published."""

    @property
    def params(self) -> int:
        """Parameters of all components."""

    @property
    def confidence(self) -> str:
        """How sure the bundled configuration is."""


def models(entries: Iterable[Entry]) -> Document:
    """The document of the bundled models."""
    columns = (
        Column("name", "name", words=True, least=20),
        Column("title", "model", words=True, least=20),
        Column("class", "class", words=True, least=20),
        Column("params", "params"),
        Column("hub_id"),
        Column("confidence"),
    )
    rows = [
        Row((entry.name, entry.title, entry.class_name, Params(entry.params), entry.hub_id, entry.confidence))
        for entry in entries
    ]
    return Document(tables=(Table(columns, tuple(rows)),))
