"""The formats: each is a function from a document to text, in a file of its own, and a line of the table `FORMATS`.

Everything else about formats (`--format`, suffixes of output files, tests, documentation) goes by that table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from fxprof.errors import UsageError
from fxprof.reports.document import Document
from fxprof.reports.formats import csv, json, markdown, text


@dataclass(frozen=True, slots=True)
class Format:
    """A way to write a document."""

    name: str
    """The value of `--format`."""
    suffixes: tuple[str, ...]
    """Suffixes of output files that select it."""
    render: Callable[[Document], str]


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        form.name: form
        for form in (
            Format("text", (".txt",), text.render),
            Format("json", (".json",), json.render),
            Format("csv", (".csv",), csv.render),
            Format("markdown", (".md", ".markdown"), markdown.render),
        )
    }
)
"""Every format, by name; the first one is for a terminal."""


def pick_format(name: str | None, output: str | Path | None) -> Format:
    """The format of this name or, without a name, of the output file's suffix; the first format for a terminal.

    Raises:
        UsageError: the suffix of the output file belongs to no format.
    """
    if name is not None:
        return FORMATS[name]
    if output is None:
        return next(iter(FORMATS.values()))
    suffix = Path(output).suffix.lower()
    for candidate in FORMATS.values():
        if suffix in candidate.suffixes:
            return candidate
    known = ", ".join(suffix for candidate in FORMATS.values() for suffix in candidate.suffixes)
    raise UsageError(f"the suffix of the output file {output} names no format", f"end it in one of {known}, or pass --format")
