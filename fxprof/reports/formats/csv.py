"""Comma-separated values: the rows for programs, unscaled MACs, one header line.

Remarks and approximations go into the last column, `remarks`, of the first row. A spreadsheet runs a cell that begins
like a formula, and names come from models and files of strangers, so such a cell gets an apostrophe in front. For a reader
that separates cells by semicolons or tabs, the text behind such a sign within a cell is a cell too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from itertools import chain, repeat

from fxprof.reports.document import Document
from fxprof.reports.rows import Value


def render(document: Document) -> str:
    """The rows as in RFC 4180, but with a newline alone at the end of a line; "" without rows."""
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
"""First signs of a formula; full-width and small signs are normalised to these."""
_ENDS = re.compile(r"([;\t\r\n])")
"""Signs that end a cell or a line for some readers, even inside quotes."""
_BLANK = frozenset('"\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0')
"""Invisible signs, besides Unicode's controls, formats, blanks and marks; and quotes, which readers remove."""
_QUOTED = re.compile(r'[",;\t\r\n]|^\s|\s$')
"""Signs that need quotes; for some readers a lone carriage return ends a line, and a tab or a semicolon ends a cell."""


def _write_cell(cell: Value, *, plain: bool) -> str:
    text = "" if cell is None else str(cell)
    if isinstance(cell, str) and not plain:
        text = _disarm(text)
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def _disarm(text: str) -> str:
    """The text with an apostrophe before every piece that a spreadsheet would run if it were a cell."""
    pieces = _ENDS.split(text)  # every second item is a sign that ends the piece before it
    disarmed = [f"'{piece}" if place % 2 == 0 and _is_formula(piece) else piece for place, piece in enumerate(pieces)]
    at_once = "'" if text[:1] in ("\t", "\r", "\n") else ""  # some readers remove this sign
    return at_once + "".join(disarmed)


def _is_formula(text: str) -> bool:
    """Whether a cell begins like a formula, even behind invisible signs."""
    for char in text:
        if unicodedata.normalize("NFKC", char)[:1] in _SIGNS:
            return True
        if not char.isspace() and char not in _BLANK and unicodedata.category(char)[0] not in "CM":
            return False
    return False
