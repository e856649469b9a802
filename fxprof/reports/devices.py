"""The report of `fxprof devices`: the bundled devices with their facts."""

from __future__ import annotations

from collections.abc import Iterable

from fxprof.devices import PEAKS, Device
from fxprof.reports.document import Column, Document, Note, Row, Section, Table
from fxprof.reports.rows import Field, Rows, Value

_GIGA, _TERA = 10**9, 10**12
_SHOWN = {"float32": "fp32", "tf32": "tf32", "float16": "fp16", "bfloat16": "bf16", "float8": "fp8", "int8": "int8"}
"""Types with a column for people, and its title."""


def build_devices(devices: Iterable[Device]) -> Document:
    """The document of devices, by name."""
    found = tuple(devices)
    rates = tuple(Column(title) for title in _SHOWN.values())
    columns = (Column("device", words=True, least=22), *rates, Column("GB/s"), Column("GB"))
    table = Table(columns, tuple(Row((device.name, *map(_format, _facts(device)))) for device in found))
    notes = (
        Note(
            "units",
            (
                "peak rates in TFLOP/s (int8: TOP/s), dense and accumulated in 32 bits; memory in GB as it is sold",
                "an empty cell: the device has no such rate, or no source was read that confirms it",
            ),
        ),
    )
    fields = (
        *(Field(name) for name in ("name", "title", "architecture")),
        *(Field(name, "operations per second") for name in PEAKS),
        Field("bandwidth", "bytes per second"),
        Field("memory_gb", "GB"),
        *(Field(name) for name in ("derived", "unconfirmed", "sources", "note")),
    )
    return Document(sections=(Section(tables=(table,), notes=notes),), rows=Rows(fields, tuple(map(_split, found))))


def _facts(device: Device) -> tuple[float | None, ...]:
    rates = [device.peaks.get(name) for name in _SHOWN]
    scaled = [None if rate is None else rate / _TERA for rate in rates]
    return (*scaled, None if device.bandwidth is None else device.bandwidth / _GIGA, device.memory_gb)


def _format(number: float | None) -> str | None:
    return None if number is None else f"{number:,g}" if number < _MANY else f"{number:,.0f}"


_MANY = 1000


def _split(device: Device) -> tuple[Value, ...]:
    derived = ", ".join(fact for fact, origin in device.provenance.items() if origin == "derived")
    rates = (device.peaks.get(name) for name in PEAKS)
    facts = (*rates, device.bandwidth, device.memory_gb)
    texts = (derived, ", ".join(device.unconfirmed), "; ".join(device.sources), device.note)
    return (device.name, device.title, device.architecture, *facts, *texts)
