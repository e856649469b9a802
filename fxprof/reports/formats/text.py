"""Plain text for a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from fxprof.reports.cells import Cell, display
from fxprof.reports.document import Column, Document, Note, Overview, Section, Table
from fxprof.reports.words import LONGEST_FACT, clean, shorten

WIDTH = 80
"""Characters of a line; a table of many or long numbers may reach 100."""
_GAP = 2


def render(document: Document) -> str:
    """The overview and the sections as text, with an empty line between blocks."""
    blocks = [_write_overview(document.overview)]
    for section in document.sections:
        blocks += _write_section(section)
    return "\n\n".join(block for block in blocks if block) + "\n"


def _write_overview(overview: Overview) -> str:
    width = max((len(label) for label, _ in overview.facts), default=0) + _GAP
    lines = textwrap.wrap(clean(shorten(overview.title, LONGEST_FACT)), WIDTH)
    for label, text in overview.facts:
        lines += textwrap.wrap(
            clean(shorten(text, LONGEST_FACT)), WIDTH, initial_indent=clean(label).ljust(width), subsequent_indent=" " * width
        )
    return "\n".join(lines)


def _write_section(section: Section) -> Iterator[str]:
    """The blocks of a section, its title right above the first."""
    title = [clean(section.title)] if section.title else []
    for table in section.tables:
        yield "\n".join([*title, *_write_table(table)])
        title = []
    yield "\n".join([*title, *_wrap_lines(section.lines)])
    for note in section.notes:
        yield _write_note(note)


def _wrap_lines(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield from textwrap.wrap(clean(line), WIDTH, subsequent_indent="    ", break_on_hyphens=False)


def _write_note(note: Note) -> str:
    lines = [
        line for text in note.lines for line in textwrap.wrap(clean(text), WIDTH, initial_indent="  ", subsequent_indent="    ")
    ]
    return "\n".join([f"{clean(note.title)}:", *lines])


def _write_table(table: Table) -> list[str]:
    """The lines of a table."""
    columns = table.columns
    texts = [[display(cell, table.unit) for cell in cells] for cells in _list_cells(table)]
    widths = _fit_widths([(column.title, column.least if column.words else 0) for column in columns], texts)
    rows = [
        [shorten(text, width, tail=column.tail) for text, width, column in zip(row, widths, columns, strict=True)]
        for row in texts
    ]
    lines = [line.rstrip() for line in _draw(columns, rows, last=bool(table.last)).splitlines()]
    if any(row.note for row in table.rows):
        notes = [
            [*(full for full, text, column in zip(whole, cut, columns, strict=True) if column.tail and full != text), row.note]
            for whole, cut, row in zip(texts, rows, table.rows, strict=False)
        ]
        lines = list(_insert_notes(lines, notes, last=bool(table.last)))
    return lines


def _insert_notes(lines: list[str], notes: list[list[str]], *, last: bool) -> Iterator[str]:
    """The drawn lines, with the sentences about a row below it."""
    first = len(lines) - len(notes) - (2 if last else 0)
    yield from lines[:first]
    for line, sentences in zip(lines[first:], notes, strict=False):
        yield line
        for text in sentences:
            yield from textwrap.wrap(clean(text), WIDTH, initial_indent="    ", subsequent_indent="    ")
    yield from lines[first + len(notes) :]


def _draw(columns: Sequence[Column], rows: list[list[str]], *, last: bool) -> str:
    from tabulate import SEPARATING_LINE, DataRow, Line, TableFormat, tabulate  # a top-level import would slow every start

    split = [column.title.split("\n") for column in columns]
    height = max(map(len, split))
    titles = [[""] * (height - len(lines)) + lines for lines in split]
    # The titles are rows too, because tabulate pads a header by two more spaces.
    body: list[list[str] | str] = [*map(list, zip(*titles, strict=True)), SEPARATING_LINE, *rows]
    if last:
        body.insert(len(body) - 1, SEPARATING_LINE)
    row = DataRow("", " " * _GAP, "")
    return tabulate(
        body,
        tablefmt=TableFormat(None, Line("", "-", " " * _GAP, ""), None, None, row, row, 0, None),
        colalign=["left" if column.words else "right" for column in columns],
        disable_numparse=True,
        preserve_whitespace=True,  # modules are indented
    )


def _list_cells(table: Table) -> Iterator[tuple[Cell, ...]]:
    yield from (row.cells for row in table.rows)
    if table.last:
        yield table.last


def _fit_widths(columns: list[tuple[str, int]], texts: list[list[str]]) -> list[int]:
    """Widths of the columns: the widest words shrink until the table fits or all words have their least width."""
    widths = [max(map(len, [*title.split("\n"), *(row[index] for row in texts)])) for index, (title, _) in enumerate(columns)]
    # A name may have thousands of characters, and none is visible beyond this width.
    widths = [min(width, max(least, WIDTH)) if least else width for width, (_, least) in zip(widths, columns, strict=True)]
    while sum(widths) + _GAP * (len(widths) - 1) > WIDTH:
        room = [width - least if least else 0 for width, (_, least) in zip(widths, columns, strict=True)]
        if max(room) <= 0:
            break
        widths[room.index(max(room))] -= 1
    return widths
