"""Sizes that depend on named symbols, and their evaluation. Imports the standard library only."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce


@dataclass(frozen=True, slots=True)
class Expr:
    """An expression over named symbols, such as `8*s59` or `max(s31, s87)`; as a size, its value is an integer."""

    operator: str
    """`symbol` or `float` for a leaf, one of `OPERATORS`, or what torch calls a function that is not evaluated here."""
    operands: tuple[Dim | str, ...]
    """For a leaf, its text alone."""

    def __str__(self) -> str:
        """Write the expression as a person would."""
        if self.operator in _LEAVES:
            return str(self.operands[0])
        parts = [f"({part})" if isinstance(part, Expr) and part.operator in _INFIX else str(part) for part in self.operands]
        if self.operator in _INFIX:
            return _INFIX[self.operator].join(parts)
        return f"{self.operator}({', '.join(parts)})"


Dim = int | Expr
"""One size of a shape."""

_LEAVES = ("symbol", "float")
_Number = int | Fraction

_MOST_BITS = 4096
"""Numbers beyond this are no sizes; computing with them could take forever."""
MOST_ELEMENTS = 2**63
"""Of a tensor, and the largest number anywhere: torch counts in 64 bits."""
_SHOWN = 60
"""Characters of an expression in a message."""


class UnboundSymbolError(KeyError):
    """An expression has no value: a symbol lacks one, such as a size that depends on contents, or a function is not known."""


def _power(base: _Number, exponent: _Number) -> _Number:
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if exponent.denominator != 1 or abs(int(exponent)) * bits > _MOST_BITS or (base == 0 and exponent < 0):
        raise UnboundSymbolError("a power that is no size")
    power: _Number = Fraction(base) ** int(exponent)
    return power


def _divide(left: _Number, right: _Number) -> _Number:
    if right == 0:
        raise UnboundSymbolError(f"{_cut(str(left))}/0")
    return Fraction(left) / right


def _floordiv(left: _Number, right: _Number) -> _Number:
    return math.floor(_divide(left, right))


def _modulo(left: _Number, right: _Number) -> _Number:
    if right == 0:
        raise UnboundSymbolError(f"{_cut(str(left))} % 0")
    return left % right


OPERATORS: Mapping[str, Callable[[_Number, _Number], _Number]] = {
    "add": operator.add,
    "mul": operator.mul,
    "truediv": _divide,
    "floordiv": _floordiv,
    "mod": _modulo,
    "pow": _power,
    "max": max,
    "min": min,
}
"""Of two operands or more, from the left."""

ROUNDINGS: Mapping[str, Callable[[_Number], int]] = {
    "floor": math.floor,
    "ceil": math.ceil,
    "trunc": math.trunc,
    "round": round,
}
"""Of one operand."""

_INFIX = {"add": " + ", "mul": "*", "truediv": "/", "floordiv": "//", "mod": " % ", "pow": "**"}


def evaluate(dim: Dim, values: Mapping[str, int]) -> int:
    """The size as an integer.

    Args:
        dim: an integer, which is its own value, or an expression.
        values: symbol to size.

    Raises:
        UnboundSymbolError: a symbol of the expression is not in `values`, or the expression has no integer value.
    """
    if isinstance(dim, int):
        return dim
    number = _number(dim, values)
    if number.denominator != 1 or not -MOST_ELEMENTS <= number <= MOST_ELEMENTS:
        raise UnboundSymbolError(in_short(dim))
    return int(number)


class Sizes:
    """The values of expressions where symbols have these sizes; each is worked out once, however many operators share it."""

    def __init__(self, symbols: Mapping[str, int]) -> None:
        self.symbols = symbols
        self._known: dict[int, tuple[Expr, int | UnboundSymbolError]] = {}

    def value(self, dim: Dim) -> int:
        """As `evaluate`."""
        if isinstance(dim, int):
            return dim
        known = self._known.get(id(dim))
        if known is None:
            known = self._known[id(dim)] = dim, self._evaluate(dim)
        if isinstance(known[1], UnboundSymbolError):
            raise UnboundSymbolError(*known[1].args)
        return known[1]

    def _evaluate(self, dim: Expr) -> int | UnboundSymbolError:
        try:
            return evaluate(dim, self.symbols)
        except UnboundSymbolError as error:
            return error

    def size(self, dim: Dim) -> int:
        """As `value`, of a size, which is never negative.

        Raises:
            UnboundSymbolError: as `evaluate`; or the value is negative.
        """
        size = self.value(dim)
        if size < 0:
            raise UnboundSymbolError(f"{in_short(dim)} = {size}")
        return size


def in_short(dim: Dim) -> str:
    """The expression for a message."""
    return _cut(str(dim))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _number(dim: Dim | str, values: Mapping[str, int]) -> _Number:
    if isinstance(dim, int):
        return dim
    assert isinstance(dim, Expr), "texts are operands of leaves alone"
    if dim.operator == "symbol":
        name = str(dim.operands[0])
        if name not in values:
            raise UnboundSymbolError(name)
        return values[name]
    if dim.operator == "float":
        return _bounded(Fraction(str(dim.operands[0])))
    numbers = [_number(part, values) for part in dim.operands]
    if dim.operator in OPERATORS and numbers:
        combine = OPERATORS[dim.operator]
        return reduce(lambda left, right: _bounded(combine(left, right)), numbers)
    if dim.operator in ROUNDINGS and len(numbers) == 1:
        return ROUNDINGS[dim.operator](numbers[0])
    raise UnboundSymbolError(in_short(dim))


def _bounded(number: _Number) -> _Number:
    if max(number.numerator.bit_length(), number.denominator.bit_length()) > _MOST_BITS:
        raise UnboundSymbolError("a number that is no size")
    return number


def symbols_in(dim: object) -> Iterator[str]:
    """The names of an expression's symbols, from the left; none for anything that is no expression."""
    if isinstance(dim, Expr):
        if dim.operator == "symbol":
            yield str(dim.operands[0])
        elif dim.operator != "float":
            for part in dim.operands:
                yield from symbols_in(part)


def solve(dim: Dim, size: int) -> tuple[str, int] | None:
    """The symbol of an expression in one unknown, and the value that gives the expression this size.

    None where the expression has several unknowns, is not linear in its one, or no integer gives the size.
    """
    names = set(symbols_in(dim))
    if len(names) != 1:
        return None
    (name,) = names
    try:
        start, step = evaluate(dim, {name: 0}), evaluate(dim, {name: 1}) - evaluate(dim, {name: 0})
        value = (size - start) // step if step else 0
        return (name, value) if step and evaluate(dim, {name: value}) == size else None
    except UnboundSymbolError:
        return None
