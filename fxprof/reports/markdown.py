"""Markdown, for pull requests and notes."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator

from fxprof.reports.tables import LONGEST_FACT, Cell, Document, Format, Table, clean, display, shorten


def render(document: Document) -> str:
    """The document as Markdown with pipe tables."""
    blocks = [f"## {escape(shorten(document.title, LONGEST_FACT))}"] if document.title else []
    facts = [(label, shorten(text, LONGEST_FACT)) for label, text in document.facts if text]
    blocks.append("\n".join(f"- {escape(label)}: {escape(text)}" for label, text in facts))
    blocks += [_table(table, document.unit) for table in document.tables if table.people]
    blocks += [escape(line) for line in document.result]
    blocks += [_table(table, document.unit) for table in document.extra]
    for note in document.notes:
        blocks.append("\n".join([f"**{escape(note.title)}**", "", *(f"- {escape(line)}" for line in note.lines)]))
    return "\n\n".join(block for block in blocks if block) + "\n"


FORMAT = Format("markdown", (".md", ".markdown"), render)

_MARKS = re.compile(r"([\\`*_\[\]<>|~#&])")
_BEGINS = re.compile(r"^(?:([-+])(?=\s|$)|([-=+])(?=[-=+\s]*$)|(\d+)([.)])(?=\s|$))")
"""How a line begins that Markdown takes for a part of a list, or that is a rule or makes a heading of the line before it."""
_LINKED = re.compile(
    r"@(?=\w)|(?<=#)(?=\d)|(?<=:)(?=//|[\w+-]+:)|(?<=www)(?=\.)|(?<=mailto:)|(?<=xmpp:)|(?<=GH-)(?=\d)", re.IGNORECASE
)
"""Where a mention of a person, a number of an issue, a bare address or the name of a picture (`:name:`) would begin."""
_NOTHING = "&#8203;"
"""A space of no width, as tools that write comments on pull requests put it there."""
_DOLLAR = "<span>&#36;</span>"
"""A dollar that begins no formula, neither in the Markdown nor in the page that is made of it."""


def escape(text: str) -> str:
    """The text with everything that Markdown or HTML would read as a sign made plain; it names, links and computes nothing."""
    whole = clean(text)
    told = whole.lstrip()
    parts = _LINKED.split(told)
    marks = _LINKED.findall(told)
    joined = [_plain(parts[0])]
    for mark, part in zip(marks, parts[1:], strict=True):
        joined.append(f"{mark}{_NOTHING}{_plain(part)}")
    # Plain blanks in front are dropped, or, where there are four, make code of a line.
    return "&nbsp;" * (len(whole) - len(told)) + _BEGINS.sub(_lead, "".join(joined))


def _plain(text: str) -> str:
    return _MARKS.sub(r"\\\1", text).replace("$", _DOLLAR)


def _lead(match: re.Match[str]) -> str:
    sign = match[1] or match[2]
    return f"\\{sign}" if sign else f"{match[3]}\\{match[4]}"


def _in_html(text: str) -> str:
    """The text within a line of HTML, where Markdown's own signs mean nothing."""
    return _LINKED.sub(lambda match: match[0] + _NOTHING, html.escape(clean(text))).replace("$", _DOLLAR)


def _table(table: Table, unit: str) -> str:
    columns = [column for column in table.columns if column.title]
    lines = [f"### {escape(table.title)}\n"] if table.title and not table.folds else []
    lines.append(_line(escape(column.heading or column.title.replace("\n", " ")) for column in columns))
    lines.append(_line("---" if column.words else "---:" for column in columns))
    lines += [_line(_noted(list(_cells(table, row.cells, unit)), row.note)) for row in table.rows]
    if table.last:
        lines.append(_line(f"**{text}**" if text else "" for text in _cells(table, table.last, unit)))
    text = "\n".join(lines)
    return f"<details><summary>{_in_html(table.title)}</summary>\n\n{text}\n\n</details>" if table.folds else text


def _noted(cells: list[str], note: str) -> list[str]:
    return [f"{cells[0]}<br>{escape(note)}", *cells[1:]] if note else cells


def _cells(table: Table, cells: tuple[Cell, ...], unit: str) -> Iterator[str]:
    for column, cell in zip(table.columns, cells, strict=True):
        if column.title:
            yield escape(display(cell, unit))


def _line(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"
