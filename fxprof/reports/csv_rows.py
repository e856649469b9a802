"""Comma-separated values: the rows of the main tables, unscaled MACs, one header line.

What there is to be told about the whole stands in the last column, `remarks`, of the first row. A spreadsheet runs a cell that
begins as a formula does; names come from models and files of strangers, so such a cell gets an apostrophe in front. Where
cells are separated by semicolons or tabs, what follows one of these within a cell is a cell, too.
"""

from __future__ import annotations

import re
import unicodedata
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


_SIGNS = frozenset("=+-@\N{MINUS SIGN}")
"""How a formula begins, full-width and small signs included, which are made of these."""
_ENDS = re.compile(r"([;\t\r\n])")
"""What ends a cell, or a line, for some readers, whether it is inside of quotes or not."""
_BLANK = frozenset('"\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0')
"""Signs that show nothing, besides what Unicode calls controls, formats, blanks and marks; and quotes, which are taken off."""
_QUOTED = re.compile(r'[",;\t\r\n]|^\s|\s$')
"""What makes a cell need quotes; for some readers a carriage return by itself ends a line, a tab or a semicolon a cell."""


def _cell(cell: object, *, plain: bool) -> str:
    text = "" if cell is None else str(cell)
    if isinstance(cell, str) and not plain:
        text = _harmless(text)
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def _harmless(text: str) -> str:
    """The text with an apostrophe before everything in it that would be run, were it a cell."""
    pieces = _ENDS.split(text)  # every other one is what ends the piece before it
    told = [f"'{piece}" if place % 2 == 0 and _is_formula(piece) else piece for place, piece in enumerate(pieces)]
    at_once = "'" if text[:1] in ("\t", "\r", "\n") else ""  # which some readers take off
    return at_once + "".join(told)


def _is_formula(text: str) -> bool:
    """Whether a cell begins as a formula does, also behind signs that nobody sees."""
    for char in text:
        if unicodedata.normalize("NFKC", char)[:1] in _SIGNS:
            return True
        if not char.isspace() and char not in _BLANK and unicodedata.category(char)[0] not in "CM":
            return False
    return False


FORMAT = Format("csv", (".csv",), render)
