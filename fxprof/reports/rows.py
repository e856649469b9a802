"""Rows for programs: named columns with units, plain values; nothing is scaled or shortened."""

from __future__ import annotations

from dataclasses import dataclass

from fxprof.compare.delta import Delta
from fxprof.result import Total

Value = str | int | float | None
"""None is an empty value."""


@dataclass(frozen=True, slots=True)
class Field:
    """A column."""

    name: str
    unit: str = ""
    """Unit of its numbers: `MACs`, `parameters`, `calls`, `executions`, `modules`, `seconds` ...; "" for words and ranks."""


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows of a document for programs."""

    fields: tuple[Field, ...] = ()
    """The columns, each name once."""
    values: tuple[tuple[Value, ...], ...] = ()
    """Row by row, one value for each field."""
    plain_cells: bool = False
    """Whether the user wants all names unchanged, even those that a spreadsheet takes for formulas."""

    def pair_up(self) -> list[dict[str, Value]]:
        """Each row as a dictionary from column to value."""
        names = [field.name for field in self.fields]
        return [dict(zip(names, row, strict=True)) for row in self.values]


def name_total(prefix: str = "") -> tuple[Field, ...]:
    """The columns of a total, whose values are those of `split_total`."""
    return Field(f"{prefix}macs", "MACs"), Field(f"{prefix}uncounted", "executions"), Field(f"{prefix}bounded", "executions")


def split_total(total: Total) -> tuple[int, int, int]:
    """MACs, uncounted executions, executions with an upper bound."""
    return total.macs, total.uncounted, total.bounded


DELTA_FIELDS = (*name_total("old_"), *name_total("new_"), Field("delta", "MACs"))
"""The columns of a difference, whose values are those of `split_delta`."""


def split_delta(delta: Delta) -> tuple[int, ...]:
    """The old total, the new total, and the signed difference in MACs."""
    return *split_total(delta.old), *split_total(delta.new), delta.macs
