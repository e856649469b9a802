"""What a report says, before any format: facts, tables of typed cells, notes. Imports no format.

Numbers stay integers in the cells. `display` is the one place where a cell becomes text for people, `plain` the one where it
becomes values for programs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from fxprof.compare.delta import Delta
from fxprof.result import Profile, Total
from fxprof.units import SIGNS, format_delta, format_growth, format_macs, format_params, format_share


@dataclass(frozen=True, slots=True)
class Params:
    """A number of parameters."""

    count: int


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole, in MACs."""

    part: int
    whole: int
    known: bool = True
    """False where the part is something uncounted and nothing else."""

    @classmethod
    def of(cls, total: Total, whole: int) -> Share:
        """The share of a total that may be uncounted."""
        return cls(total.macs, whole, known=bool(total.macs or not total.uncounted))


@dataclass(frozen=True, slots=True)
class Growth:
    """A difference in percent of what was there before."""

    delta: Delta


Cell = str | int | Total | Params | Share | Delta | Growth | None
"""None is an empty cell; a delta is a signed difference."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    key: str
    """Its name for programs."""
    title: str = ""
    """For people; lines are separated by a newline. Without one, the column is for programs alone."""
    words: bool = False
    """Whether it holds words, which stand on the left and may be shortened, and not numbers."""
    least: int = 16
    """Width that words keep."""
    heading: str = ""
    """The title where it has to be one line and stands by itself; the lines of `title` where it is empty."""
    tail: bool = False
    """Whether words that are too long lose their beginning instead of their middle."""
    programs: bool = True
    """Whether programs get it too."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row."""

    cells: tuple[Cell, ...]
    detail: bool = False
    """Whether it repeats a part of another row, so that programs do without it."""
    note: str = ""
    """A sentence about it for people, on a line of its own."""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows; the rows that are no detail of others add up to the last line."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    title: str = ""
    last: tuple[Cell, ...] = ()
    """The line below, for people."""
    people: bool = True
    """Whether people get it."""
    programs: bool = True
    """Whether programs get it, when it is one of a document's main tables."""
    folds: bool = False
    """Whether it is long, so that a format that can hides it behind its title."""


@dataclass(frozen=True, slots=True)
class Note:
    """Sentences below the tables."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Document:
    """One report."""

    title: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    """(label, text) above the tables."""
    tables: tuple[Table, ...] = ()
    """What programs get; all that they get are of the same columns."""
    result: tuple[str, ...] = ()
    """Lines right below the tables."""
    extra: tuple[Table, ...] = ()
    """Further tables, for people alone."""
    notes: tuple[Note, ...] = ()
    about: Mapping[str, object] = field(default_factory=dict)
    """What programs get besides the rows."""
    told: tuple[str, ...] | None = None
    """Sentences about the whole for a format of rows alone; None where there is nothing to be told, ever."""
    plain_cells: bool = False
    """Whether a spreadsheet may take cells for formulas, because who asked for the report wants all names as they are."""
    saved: Profile | None = None
    """The profile whose saved form is this report as JSON."""
    unit: str = "auto"

    def rows(self) -> list[dict[str, object]]:
        """The rows for programs."""
        return [row for table in self.tables if table.programs for row in plain(table)]


@dataclass(frozen=True, slots=True)
class Format:
    """A way to write a document. Each module of a format exports one as `FORMAT`."""

    name: str
    """What `--format` calls it."""
    suffixes: tuple[str, ...]
    """Names of output files that ask for it."""
    render: Callable[[Document], str]


def display(cell: Cell, unit: str = "auto") -> str:
    """The cell for people."""
    match cell:
        case None:
            return ""
        case str():
            return clean(cell)
        case Total() | Delta():
            return _delta(cell, unit) if isinstance(cell, Delta) else format_macs(cell.macs, unit, cell.sign)
        case Params():
            return format_params(cell.count)
        case Share() | Growth():
            return _growth(cell.delta) if isinstance(cell, Growth) else _share(cell)
        case int():
            return f"{cell:,}"


def _share(cell: Share) -> str:
    return format_share(cell.part, cell.whole) if cell.known else "?"


def _delta(delta: Delta, unit: str) -> str:
    return f"{SIGNS[delta.sign]}0" if delta.old == delta.new else format_delta(delta.macs, unit, delta.sign)


def _growth(delta: Delta) -> str:
    """Of what was counted; where something is not known, "~" in front, and "?" where nothing else is."""
    if delta.sign and not (delta.old.macs and delta.new.macs):
        return "?"
    return ("~" if delta.sign else "") + format_growth(delta.old.macs, delta.new.macs)


def plain(table: Table) -> Iterable[dict[str, object]]:
    """The rows for programs: a total makes three columns, a delta seven, a share is the part in MACs."""
    for row in table.rows:
        if not row.detail:
            yield {
                key: value
                for column, cell in zip(table.columns, row.cells, strict=True)
                if column.programs
                for key, value in _values(column.key, cell)
            }


def _values(key: str, cell: Cell) -> Iterable[tuple[str, object]]:
    match cell:
        case Total():
            return [(key, cell.macs), ("uncounted", cell.uncounted), ("bounded", cell.bounded)]
        case Delta():
            sides = [("old", cell.old), ("new", cell.new)]
            known = [(f"{side}_{name}", value) for side, total in sides for name, value in _values(key, total)]
            return [*known, ("delta", cell.macs)]
        case Params():
            return [(key, cell.count)]
        case Share():
            return [(key, cell.part)]
        case _:
            return [(key, cell)]


LONGEST_FACT = 4_000
"""Characters of a title or a fact for people; what is longer is left out in the middle."""


def clean(text: str) -> str:
    """The text on one line, without characters that steer a terminal."""
    return "".join(char if char.isprintable() else " " if char.isspace() else "�" for char in text)


def shorten(text: str, width: int, *, tail: bool = False) -> str:
    """The text in at most `width` characters, left out in the middle: both ends of a name tell more than its beginning.

    With `tail`, its end is all that is kept.
    """
    if len(text) <= width:
        return text
    if tail:
        return "…" + text[len(text) - width + 1 :].lstrip("….")
    head = width // 2
    return text[:head] + "…" + text[len(text) - (width - head - 1) :]


def dimensions(sizes: Iterable[int]) -> str:
    """Sizes as `1 x 16 x 128 x 128`."""
    return " x ".join(map(str, sizes)) or "scalar"


def plural(count: int, word: str) -> str:
    """`1 call`, `2 calls`."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
