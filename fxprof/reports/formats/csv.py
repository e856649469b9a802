"""Comma-separated values: the rows for programs, unscaled MACs, one header line.

Remarks and approximations stand in the last column, `remarks`, of the first row. A spreadsheet runs a cell that
begins as a formula does; names come from models and files of strangers, so such a cell gets an apostrophe in front. Where
cells are separated by semicolons or tabs, the text behind one of these within a cell is a cell, too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from itertools import chain, repeat

from fxprof.reports.document import Document
from fxprof.reports.rows import Value


def render(document: Document) -> str:
    """The rows, as RFC 4180 but for lines that end in a newline alone; nothing where there are none."""
    rows, sentences = document.rows, document.overview.sentences
    if not rows.values:
        return ""
    names = [field.name for field in rows.fields]
    lines: list[tuple[Value, ...]] = [tuple(names), *rows.values]
    if sentences is not None:
        remarks = chain(("remarks", "; ".join(sentences)), repeat(""))
        lines = [(*line, cell) for line, cell in zip(lines, remarks, strict=False)]
    return "".join(_join_cells(line, plain=rows.plain_cells) for line in lines)


def _join_cells(cells: Iterable[Value], *, plain: bool) -> str:
    return ",".join(_write_cell(cell, plain=plain) for cell in cells) + "\n"


_SIGNS = frozenset("=+-@\N{MINUS SIGN}")
"""How a formula begins, full-width and small signs included, which are made of these."""
_ENDS = re.compile(r"([;\t\r\n])")
"""The end of a cell, or of a line, for some readers, inside of quotes or not."""
_BLANK = frozenset('"\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0')
"""Signs that show nothing, besides Unicode's controls, formats, blanks and marks; and quotes, which are taken off."""
_QUOTED = re.compile(r'[",;\t\r\n]|^\s|\s$')
"""Signs that need quotes; for some readers a carriage return by itself ends a line, a tab or a semicolon a cell."""


def _write_cell(cell: Value, *, plain: bool) -> str:
    text = "" if cell is None else str(cell)
    if isinstance(cell, str) and not plain:
        text = _disarm(text)
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def _disarm(text: str) -> str:
    """The text with an apostrophe before everything in it that would be run, were it a cell."""
    pieces = _ENDS.split(text)  # every other one ends the piece before it
    disarmed = [f"'{piece}" if place % 2 == 0 and _is_formula(piece) else piece for place, piece in enumerate(pieces)]
    at_once = "'" if text[:1] in ("\t", "\r", "\n") else ""  # which some readers take off
    return at_once + "".join(disarmed)


def _is_formula(text: str) -> bool:
    """Whether a cell begins as a formula does, also behind signs that nobody sees."""
    for char in text:
        if unicodedata.normalize("NFKC", char)[:1] in _SIGNS:
            return True
        if not char.isspace() and char not in _BLANK and unicodedata.category(char)[0] not in "CM":
            return False
    return False
