"""The report of `fxprof models`: the bundled models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from fxprof.reports.cells import Params
from fxprof.reports.document import Column, Document, Row, Section, Table
from fxprof.reports.rows import Field, Rows


class Entry(Protocol):
    """A model of the list."""

    @property
    def name(self) -> str:
        """Its name as a target."""

    @property
    def title(self) -> str:
        """One line about the model."""

    @property
    def class_name(self) -> str:
        """The pipeline's class."""

    @property
    def hub_id(self) -> str:
        """The repository that published it."""

    @property
    def params(self) -> int:
        """Parameters of all components."""

    @property
    def confidence(self) -> str:
        """The origin of the bundled configuration: `verbatim`, or the reconstructed components."""


def build_models(entries: Iterable[Entry]) -> Document:
    """The document of the bundled models."""
    models = tuple(entries)
    columns = (
        Column("name", words=True, least=20),
        Column("model", words=True, least=20),
        Column("class", words=True, least=20),
        Column("params"),
    )
    shown = tuple(Row((model.name, model.title, model.class_name, Params(model.params))) for model in models)
    names = Field("name"), Field("title"), Field("class")
    fields = (*names, Field("params", "parameters"), Field("hub_id"), Field("confidence"))
    values = ((model.name, model.title, model.class_name, model.params, model.hub_id, model.confidence) for model in models)
    return Document(sections=(Section(tables=(Table(columns, shown),)),), rows=Rows(fields, tuple(values)))
