"""Comma-separated values: the rows of the main tables, unscaled MACs, one header line.

What there is to be told about the whole stands in the last column, `remarks`, of the first row. A spreadsheet runs a cell that
begins as a formula does; names come from models and files of strangers, so such a cell gets an apostrophe in front.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from fxprof.reports.tables import Document, Format


def render(document: Document) -> str:
    """The rows that programs get, as RFC 4180 but for lines that end in a newline alone."""
    rows = document.rows()
    if rows and document.told is not None:
        rows = [{**row, "remarks": ""} for row in rows]
        rows[0]["remarks"] = "; ".join(document.told)
    head = [list(rows[0])] if rows else []
    return "".join(_line(cells, plain=document.plain_cells) for cells in (*head, *(row.values() for row in rows)))


def _line(cells: Iterable[object], *, plain: bool) -> str:
    return ",".join(_cell(cell, plain=plain) for cell in cells) + "\n"


_FORMULA = re.compile(r"[\s\0\ufeff\u200b-\u200f\u2060]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
"""How a cell begins that a spreadsheet takes for a formula, full-width signs included, also behind signs that nobody sees."""
_QUOTED = re.compile(r'[",;\t\r\n]|^\s|\s$')
"""What makes a cell need quotes; for some readers a carriage return by itself ends a line, a tab or a semicolon a cell."""


def _cell(cell: object, *, plain: bool) -> str:
    text = "" if cell is None else str(cell)
    if isinstance(cell, str) and not plain and _FORMULA.match(text):
        text = f"'{text}"
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


FORMAT = Format("csv", (".csv",), render)
