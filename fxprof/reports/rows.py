"""Rows for programs: named columns with units, plain values; nothing is scaled or shortened."""

from __future__ import annotations

from dataclasses import dataclass

from fxprof.compare.delta import Delta
from fxprof.result import Total
from fxprof.result.measures import MACS, Measure

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


def name_total(prefix: str = "", measure: Measure = MACS) -> tuple[Field, ...]:
    """The columns of a total, whose values are those of `split_total`."""
    counts = (Field(f"{prefix}{name}", "executions") for name in (measure.unknown, measure.bounded) if name)
    return Field(f"{prefix}{measure.field}", measure.field_unit), *counts


def split_total(total: Total, measure: Measure = MACS) -> tuple[int, ...]:
    """The amount; executions with an unknown amount, and those with an upper bound, if the measure has such."""
    return (total.amount, total.uncounted, total.bounded) if measure.unknown else (total.amount,)


def name_values(total: Total, measure: Measure = MACS) -> dict[str, int]:
    """The columns of a total, and their values."""
    return {field.name: value for field, value in zip(name_total(measure=measure), split_total(total, measure), strict=True)}


def name_delta(measure: Measure = MACS) -> tuple[Field, ...]:
    """The columns of a difference, whose values are those of `split_delta`."""
    return *name_total("old_", measure), *name_total("new_", measure), Field("delta", measure.field_unit)


def split_delta(delta: Delta, measure: Measure = MACS) -> tuple[int, ...]:
    """The old total, the new total, and the signed difference."""
    return *split_total(delta.old, measure), *split_total(delta.new, measure), delta.amount
