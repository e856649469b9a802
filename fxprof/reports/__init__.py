"""From a profile to text. Reports (`summary`, `layers`, `hotspots`, `models`) say what there is to read, formats how it looks.

Everything that knows of formats (`--format`, suffixes of output files, tests, documentation) goes by `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from fxprof.errors import UsageError
from fxprof.reports import csv_rows, json_rows, markdown, text
from fxprof.reports.tables import Document, Format

FORMATS: Mapping[str, Format] = MappingProxyType(
    {module.FORMAT.name: module.FORMAT for module in (text, json_rows, csv_rows, markdown)}
)
"""Every format, by name; the first one is what a terminal gets."""

__all__ = ["FORMATS", "Document", "Format", "pick_format"]


def pick_format(name: str | None, output: str | Path | None) -> Format:
    """The format asked for by name or, without one, by the suffix of the output file; text for a terminal.

    Raises:
        UsageError: the suffix of the output file belongs to no format.
    """
    if name is not None:
        return FORMATS[name]
    if output is None:
        return text.FORMAT
    suffix = Path(output).suffix.lower()
    for candidate in FORMATS.values():
        if suffix in candidate.suffixes:
            return candidate
    known = ", ".join(suffix for candidate in FORMATS.values() for suffix in candidate.suffixes)
    raise UsageError(f"no format goes by the name of the output file {output}", f"end it in one of {known}, or pass --format")
