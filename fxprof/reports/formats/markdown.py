"""Markdown, for pull requests and notes."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator

from fxprof.reports.cells import Cell, display
from fxprof.reports.document import Document, Note, Overview, Section, Table
from fxprof.reports.words import LONGEST_FACT, clean, shorten


def render(document: Document) -> str:
    """The overview and the sections as Markdown with pipe tables."""
    blocks = [*_write_overview(document.overview), *map(_write_section, document.sections)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _write_overview(overview: Overview) -> Iterator[str]:
    if overview.title:
        yield f"## {escape(shorten(overview.title, LONGEST_FACT))}"
    facts = [(label, shorten(text, LONGEST_FACT)) for label, text in overview.facts if text]
    yield "\n".join(f"- {escape(label)}: {escape(text)}" for label, text in facts)


def _write_section(section: Section) -> str:
    """The blocks of a section below its title, or folded behind it."""
    blocks = [*map(_write_table, section.tables), *map(escape, section.lines), *map(_write_note, section.notes)]
    if section.title and not section.folds:
        blocks.insert(0, f"### {escape(section.title)}")
    text = "\n\n".join(block for block in blocks if block)
    return f"<details><summary>{_escape_html(section.title)}</summary>\n\n{text}\n\n</details>" if section.folds else text


def _write_note(note: Note) -> str:
    return "\n".join([f"**{escape(note.title)}**", "", *(f"- {escape(line)}" for line in note.lines)])


_MARKS = re.compile(r"([\\`*_\[\]<>|~#&])")
_BEGINS = re.compile(r"^(?:([-+])(?=\s|$)|([-=+])(?=[-=+\s]*$)|(\d+)([.)])(?=\s|$))")
"""Beginnings of a line that Markdown takes for a list item, a rule, or the underline of a heading."""
_LINKED = re.compile(
    r"@(?=\w)|(?<=#)(?=\d)|(?<=:)(?=//|[\w+-]+:)|(?<=www)(?=\.)|(?<=mailto:)|(?<=xmpp:)|(?<=GH-)(?=\d)", re.IGNORECASE
)
"""Beginnings of a mention, a number of an issue, a bare address or the name of a picture (`:name:`)."""
_NOTHING = "&#8203;"
"""A space of no width, which tools that comment on pull requests use for this purpose."""
_DOLLAR = "<span>&#36;</span>"
"""A dollar that begins no formula, neither in the Markdown nor in the page made of it."""


def escape(text: str) -> str:
    """The text with every sign of Markdown or HTML escaped; it mentions nobody, links nowhere and holds no formula."""
    whole = clean(text)
    line = whole.lstrip()
    parts = _LINKED.split(line)
    marks = _LINKED.findall(line)
    joined = [_escape_marks(parts[0])]
    for mark, part in zip(marks, parts[1:], strict=True):
        joined.append(f"{mark}{_NOTHING}{_escape_marks(part)}")
    # Markdown drops plain blanks in front, and four of them turn a line into code.
    return "&nbsp;" * (len(whole) - len(line)) + _BEGINS.sub(_escape_beginning, "".join(joined))


def _escape_marks(text: str) -> str:
    return _MARKS.sub(r"\\\1", text).replace("$", _DOLLAR)


def _escape_beginning(match: re.Match[str]) -> str:
    sign = match[1] or match[2]
    return f"\\{sign}" if sign else f"{match[3]}\\{match[4]}"


def _escape_html(text: str) -> str:
    """The text for a line of HTML, in which Markdown's own signs have no meaning."""
    return _LINKED.sub(lambda match: match[0] + _NOTHING, html.escape(clean(text))).replace("$", _DOLLAR)


def _write_table(table: Table) -> str:
    lines = [_join_cells(escape(column.heading or column.title.replace("\n", " ")) for column in table.columns)]
    lines.append(_join_cells("---" if column.words else "---:" for column in table.columns))
    lines += [_join_cells(_add_note(_write_cells(row.cells, table.unit), row.note)) for row in table.rows]
    if table.last:
        lines.append(_join_cells(f"**{text}**" if text else "" for text in _write_cells(table.last, table.unit)))
    return "\n".join(lines)


def _add_note(cells: list[str], note: str) -> list[str]:
    return [f"{cells[0]}<br>{escape(note)}", *cells[1:]] if note else cells


def _write_cells(cells: tuple[Cell, ...], unit: str) -> list[str]:
    return [escape(display(cell, unit)) for cell in cells]


def _join_cells(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"
