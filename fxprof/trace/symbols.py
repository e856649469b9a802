"""Sizes that depend on named symbols, and their evaluation. Imports the standard library only."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce


@dataclass(frozen=True, slots=True)
class Expr:
    """An integer expression over named symbols, such as `8*s59` or `max(s31, s87)`."""

    operator: str
    """`symbol` for a leaf; otherwise one of `OPERATORS`."""
    operands: tuple[Dim | str, ...]
    """For a symbol, its name alone."""

    def __str__(self) -> str:
        """Write the expression as a person would."""
        if self.operator == "symbol":
            return str(self.operands[0])
        parts = [f"({part})" if isinstance(part, Expr) and part.operator in _INFIX else str(part) for part in self.operands]
        if self.operator in _INFIX:
            return _INFIX[self.operator].join(parts)
        return f"{self.operator}({', '.join(parts)})"


Dim = int | Expr
"""One size of a shape."""

OPERATORS: Mapping[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "pow": operator.pow,
    "max": max,
    "min": min,
}

_INFIX = {"add": " + ", "mul": "*", "floordiv": "//", "mod": " % ", "pow": "**"}


class UnboundSymbolError(KeyError):
    """An expression mentions a symbol that has no value, such as a size that depends on a tensor's contents."""


def evaluate(dim: Dim, values: Mapping[str, int]) -> int:
    """The size as an integer.

    Args:
        dim: an integer, which is its own value, or an expression.
        values: symbol to size.

    Raises:
        UnboundSymbolError: a symbol of the expression is not in `values`.
    """
    if isinstance(dim, int):
        return dim
    if dim.operator == "symbol":
        name = str(dim.operands[0])
        if name not in values:
            raise UnboundSymbolError(name)
        return values[name]
    numbers = [evaluate(part, values) for part in dim.operands if not isinstance(part, str)]
    return reduce(OPERATORS[dim.operator], numbers)
