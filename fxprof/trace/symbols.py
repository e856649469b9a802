"""Sizes that depend on named symbols, and their evaluation. Imports the standard library only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fxprof.trace.arithmetic import INFIX, MOST_ELEMENTS, ArithmeticFault, Number, apply


@dataclass(frozen=True, slots=True)
class Expr:
    """An expression over named symbols, such as `8*s59` or `max(s31, s87)`; as a size, its value is an integer."""

    operator: str
    """`symbol` or `float` for a leaf, a name that `apply` knows, or what torch calls a function that is not evaluated here."""
    operands: tuple[Dim | str, ...]
    """For a leaf, its text alone."""
    _hash: int = field(init=False, repr=False, compare=False)

    def __str__(self) -> str:
        """Write the expression as a person would."""
        return "".join(_written(self))

    def __post_init__(self) -> None:
        """Hash once: an expression may be nested, and each of its parts is looked up."""
        object.__setattr__(self, "_hash", hash((self.operator, self.operands)))

    def __hash__(self) -> int:
        return self._hash


Dim = int | Expr
"""One size of a shape."""


def _written(dim: Dim) -> Iterator[str]:
    """The text of an expression from the left, piece by piece: a message needs the first few alone."""
    waiting: list[Dim | str] = [dim]
    while waiting:
        part = waiting.pop()
        if not isinstance(part, Expr):
            yield str(part)
        elif part.operator in _LEAVES:
            yield str(part.operands[0])
        else:
            waiting.extend(reversed(_pieces(part)))


def _pieces(expression: Expr) -> list[Dim | str]:
    """The operands with the signs around them."""
    infix = INFIX.get(expression.operator) if len(expression.operands) > 1 else None
    pieces: list[Dim | str] = [] if infix else [f"{expression.operator}("]
    for place, operand in enumerate(expression.operands):
        if place:
            pieces.append(infix or ", ")
        in_parentheses = isinstance(operand, Expr) and operand.operator in INFIX
        pieces += ["(", operand, ")"] if in_parentheses else [operand]
    return pieces if infix else [*pieces, ")"]


_LEAVES = ("symbol", "float")

_SHOWN = 60
"""Characters of an expression in a message."""


class UnboundSymbolError(KeyError):
    """An expression has no value: a symbol lacks one, such as a size that depends on contents, or a function is not known."""


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
    return _whole(dim, compute(dim, values))


def _whole(dim: Dim, number: Number) -> int:
    if not -MOST_ELEMENTS <= number <= MOST_ELEMENTS or number != int(number):  # false for what is no number, too
        raise UnboundSymbolError(in_short(dim))
    return int(number)


def compute(dim: Dim, values: Mapping[str, int], known: Mapping[Expr, Number] | None = None) -> Number:
    """The value as torch computes it: integers and their fractions exactly, anything else in doubles.

    Args:
        dim: an integer or an expression, of a size, a truth value or a number that is no integer.
        values: symbol to size.
        known: expressions whose values are known already.

    Raises:
        UnboundSymbolError: a symbol of the expression is not in `values`, or the expression has no value.
    """
    if isinstance(dim, int):
        return dim
    if known and dim in known:
        return known[dim]
    if dim.operator == "symbol":
        name = str(dim.operands[0])
        if name not in values:
            raise UnboundSymbolError(name)
        return values[name]
    if dim.operator == "float":
        return float(str(dim.operands[0]))
    if dim.operator in _CHOICES:
        return compute(_chosen(dim, values, known), values, known)
    numbers = [compute(part, values, known) for part in dim.operands if isinstance(part, (int, Expr))]
    try:
        return apply(dim.operator, numbers)
    except ArithmeticFault as fault:
        raise UnboundSymbolError(str(fault) or in_short(dim)) from fault


_CHOICES = ("where", "piecewise")


def _chosen(dim: Expr, values: Mapping[str, int], known: Mapping[Expr, Number] | None) -> Dim:
    """The operand that a condition chooses; the others need no value."""
    operands = [part for part in dim.operands if not isinstance(part, str)]
    if dim.operator == "where" and len(operands) == 3:  # noqa: PLR2004 - condition, yes, no
        return operands[1] if compute(operands[0], values, known) else operands[2]
    for case in operands:
        if not isinstance(case, Expr) or case.operator != "case" or len(case.operands) != 2:  # noqa: PLR2004 - value, condition
            break
        value, condition = case.operands
        if not isinstance(value, str) and not isinstance(condition, str) and compute(condition, values, known):
            return value
    raise UnboundSymbolError(in_short(dim))


class Sizes:
    """The values of expressions where symbols have these sizes; each is worked out once, however many operators share it."""

    def __init__(self, symbols: Mapping[str, int], known: Mapping[Expr, Number] | None = None) -> None:
        self.symbols = symbols
        self._given = known or {}
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
            return _whole(dim, compute(dim, self.symbols, self._given))
        except UnboundSymbolError as error:
            return error

    def number(self, dim: Dim) -> Number:
        """As `compute`."""
        return compute(dim, self.symbols, self._given)

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
    text = ""
    for piece in _written(dim):
        text += piece
        if len(text) > _SHOWN:
            return f"{text[: _SHOWN - 3]}..."
    return text


def symbols_in(dim: object) -> Iterator[str]:
    """The names of an expression's symbols, from the left; none for anything that is no expression."""
    waiting = [dim]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Expr):
            if part.operator == "symbol":
                yield str(part.operands[0])
            elif part.operator != "float":
                waiting.extend(reversed(part.operands))


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
