"""Comma-separated values: the rows of the main tables, unscaled MACs, one header line."""

from __future__ import annotations

import csv
import io

from fxprof.reports.tables import Document, Format


def render(document: Document) -> str:
    """The rows that programs get, as RFC 4180 without carriage returns."""
    rows = document.rows()
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]) if rows else [], lineterminator="\n")
    if rows:
        writer.writeheader()
        writer.writerows(rows)
    return file.getvalue()


FORMAT = Format("csv", (".csv",), render)
