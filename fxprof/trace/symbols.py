"""Sizes that depend on named symbols, and their evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fxprof.trace.arithmetic import INFIX, MOST_ELEMENTS, ArithmeticFault, Number, apply


@dataclass(frozen=True, slots=True)
class Expr:
    """An expression over named symbols, such as `8*s59` or `max(s31, s87)`; as a size, its value is an integer."""

    operator: str
    """`symbol` or `float` for a leaf, a name that `apply` knows, or torch's name of a function that fxprof cannot evaluate."""
    operands: tuple[Dim | str, ...]
    """For a leaf, its text alone."""
    _hash: int = field(init=False, repr=False, compare=False)

    def __str__(self) -> str:
        """Write the expression in people's notation."""
        return "".join(_written(self))

    def __post_init__(self) -> None:
        """Compute the hash once: an expression may be nested, and each of its parts is looked up.

        Integers are hashed as texts, because Python salts the hashes of texts. The author of a file could choose integers with
        the same hash, and each look-up would then compare an expression with all others.
        """
        parts = tuple([f"{part:d}" if isinstance(part, int) else part for part in self.operands])
        object.__setattr__(self, "_hash", hash((self.operator, parts)))

    def __hash__(self) -> int:
        return self._hash

    def __add__(self, other: Dim) -> Expr:
        """The sum, which is not simplified, like all arithmetic here; see `fxprof.trace.algebra.normal`."""
        return Expr("add", (self, other))

    def __radd__(self, other: Dim) -> Expr:
        return Expr("add", (other, self))

    def __sub__(self, other: Dim) -> Expr:
        return Expr("sub", (self, other))

    def __rsub__(self, other: Dim) -> Expr:
        return Expr("sub", (other, self))

    def __neg__(self) -> Expr:
        return Expr("neg", (self,))

    def __mul__(self, other: Dim) -> Expr:
        return Expr("mul", (self, other))

    def __rmul__(self, other: Dim) -> Expr:
        return Expr("mul", (other, self))

    def __floordiv__(self, other: Dim) -> Expr:
        return Expr("floordiv", (self, other))

    def __rfloordiv__(self, other: Dim) -> Expr:
        return Expr("floordiv", (other, self))

    def __mod__(self, other: Dim) -> Expr:
        return Expr("mod", (self, other))

    def __rmod__(self, other: Dim) -> Expr:
        return Expr("mod", (other, self))

    def __pow__(self, other: Dim) -> Expr:
        return Expr("pow", (self, other))


Dim = int | Expr
"""One size of a shape."""


def _written(dim: Dim) -> Iterator[str]:
    """The text of an expression from the left, piece by piece: a message needs only the first few."""
    waiting: list[Iterator[Dim | str]] = [iter((dim,))]
    while waiting:
        part = next(waiting[-1], None)
        if part is None:
            waiting.pop()
        elif not isinstance(part, Expr):
            yield str(part)
        elif part.operator in _LEAVES:
            yield str(part.operands[0])
        else:
            waiting.append(_pieces(part))


def _pieces(expression: Expr) -> Iterator[Dim | str]:
    """The operands, and the signs around them."""
    infix = INFIX.get(expression.operator) if len(expression.operands) > 1 else None
    if not infix:
        yield f"{expression.operator}("
    for place, operand in enumerate(expression.operands):
        if place:
            yield infix or ", "
        in_parentheses = isinstance(operand, Expr) and operand.operator in INFIX
        yield from ("(", operand, ")") if in_parentheses else (operand,)
    if not infix:
        yield ")"


_LEAVES = ("symbol", "float")

_SHOWN = 60
"""Characters of an expression in a message."""


class UnboundSymbolError(KeyError):
    """An expression has no value: it has an unknown function, or a symbol without one, such as a size that depends on data."""


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
    if not -MOST_ELEMENTS <= number <= MOST_ELEMENTS or number != int(number):  # also refuses NaN
        raise UnboundSymbolError(in_short(dim))
    return int(number)


def compute(dim: Dim, values: Mapping[str, int], known: Mapping[Expr, Number] | None = None) -> Number:
    """The value as torch computes it: integers and their fractions exactly, other numbers in doubles.

    Args:
        dim: an integer or an expression: a size, a truth value or a number that need not be an integer.
        values: symbol to size.
        known: expressions with already known values.

    Raises:
        UnboundSymbolError: a symbol of the expression is not in `values`, or the expression has no value.
    """
    return Sizes(values, known).number(dim)


class Sizes:
    """The values of expressions at given sizes of the symbols; each is computed once, however many operators share it.

    Args:
        symbols: symbol to size.
        known: expressions with already known values. Others may be added later, which does not change computed values.
    """

    def __init__(self, symbols: Mapping[str, int], known: Mapping[Expr, Number] | None = None) -> None:
        self.symbols = symbols
        self._given: Mapping[Expr, Number] = {} if known is None else known
        # Keyed by identity, with the expression to keep it alive: comparing two takes as long as computing one.
        self._known: dict[int, tuple[Expr, int | UnboundSymbolError]] = {}
        self._numbers: dict[int, tuple[Expr, Number | UnboundSymbolError]] = {}

    def value(self, dim: Dim) -> int:
        """The size as an integer, as in `evaluate`."""
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
            return _whole(dim, self.number(dim))
        except UnboundSymbolError as error:
            return UnboundSymbolError(*error.args)

    def number(self, dim: Dim) -> Number:
        """The value as torch computes it, as in `compute`."""
        value = self._found(dim)
        return _or_raise(self._work_out(dim) if value is None else value)

    def size(self, dim: Dim) -> int:
        """The size as an integer, which must not be negative.

        Raises:
            UnboundSymbolError: as `evaluate`; or the value is negative.
        """
        size = self.value(dim)
        if size < 0:
            raise UnboundSymbolError(f"{in_short(dim)} = {size}")
        return size

    def _found(self, dim: Dim) -> Number | UnboundSymbolError | None:
        """The known value of a part of an expression; None if it must be computed first."""
        if isinstance(dim, int):
            return dim
        if self._given and dim in self._given:
            return self._given[dim]
        if dim.operator == "symbol":
            name = str(dim.operands[0])
            return self.symbols[name] if name in self.symbols else UnboundSymbolError(name)
        if dim.operator == "float":
            return float(str(dim.operands[0]))
        entry = self._numbers.get(id(dim))
        return None if entry is None else entry[1]

    def _work_out(self, dim: Dim) -> Number | UnboundSymbolError:
        """Compute the value of an expression, its parts first, without a recursive call for each level."""
        waiting = [dim]
        while waiting:
            part = waiting[-1]
            if not isinstance(part, Expr) or self._found(part) is not None:
                waiting.pop()
                continue
            needed = self._needed(part)
            if not needed:
                self._numbers[id(waiting.pop())] = part, self._combined(part)
            waiting += needed
        return self._of(dim)

    def _needed(self, dim: Expr) -> list[Dim]:
        """The parts to compute before an expression; for a choice all conditions first, then the chosen value."""
        parts: Sequence[Dim | str] = dim.operands
        if dim.operator in _CHOICES:
            cases = _cases(dim)
            parts = [condition for condition, _ in cases]
            if all(self._found(condition) is not None for condition in parts if not isinstance(condition, str)):
                parts = [self._choice(cases)]
        return [part for part in parts if isinstance(part, Expr) and self._found(part) is None]

    def _combined(self, dim: Expr) -> Number | UnboundSymbolError:
        """The value of an expression whose parts are computed."""
        if dim.operator in _CHOICES:
            chosen = self._choice(_cases(dim))
            return UnboundSymbolError(in_short(dim)) if isinstance(chosen, str) else self._of(chosen)
        numbers = []
        for part in dim.operands:
            if not isinstance(part, str):
                number = self._of(part)
                if isinstance(number, UnboundSymbolError):
                    return UnboundSymbolError(*number.args)
                numbers.append(number)
        try:
            return apply(dim.operator, numbers)
        except ArithmeticFault as fault:
            return UnboundSymbolError(str(fault) or in_short(dim))

    def _choice(self, cases: Iterable[tuple[Dim, Dim]]) -> Dim | str:
        """The value that the conditions choose, the first condition without a value, or "" if none holds."""
        for condition, value in cases:
            holds = self._of(condition)
            if isinstance(holds, UnboundSymbolError):
                return condition
            if holds:
                return value
        return ""

    def _of(self, part: Dim) -> Number | UnboundSymbolError:
        value = self._found(part)
        assert value is not None, "parts are computed first"
        return value


def _or_raise(found: Number | UnboundSymbolError) -> Number:
    """The value; a new error each time, because the traceback of an error that is raised again and again keeps growing."""
    if isinstance(found, UnboundSymbolError):
        raise UnboundSymbolError(*found.args)
    return found


_CHOICES = ("where", "piecewise")


def _cases(dim: Expr) -> list[tuple[Dim, Dim]]:
    """Condition and value of each case of a choice, up to the first operand that is not a case."""
    operands = [part for part in dim.operands if not isinstance(part, str)]
    if dim.operator == "where" and len(operands) == 3:  # noqa: PLR2004 - condition, yes, no
        return [(operands[0], operands[1]), (1, operands[2])]
    cases: list[tuple[Dim, Dim]] = []
    for case in operands:
        if not isinstance(case, Expr) or case.operator != "case" or len(case.operands) != 2:  # noqa: PLR2004 - value, condition
            break
        value, condition = case.operands
        if not isinstance(value, str) and not isinstance(condition, str):
            cases.append((condition, value))
    return cases


def in_short(dim: Dim) -> str:
    """The expression for a message."""
    text = ""
    for piece in _written(dim):
        text += piece
        if len(text) > _SHOWN:
            return f"{text[: _SHOWN - 3]}..."
    return text


def symbols_in(dim: object) -> Iterator[str]:
    """The names of an expression's symbols, from the left; none for a value other than an expression."""
    waiting = [dim]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Expr):
            if part.operator == "symbol":
                yield str(part.operands[0])
            elif part.operator != "float":
                waiting.extend(reversed(part.operands))


def solve(dim: Dim, size: int) -> tuple[str, int] | None:
    """The single symbol of an expression, and the value that gives the expression this size.

    None if the expression has several symbols, is not linear in its symbol, or if no integer gives the size.
    """
    names = set(symbols_in(dim))
    if len(names) != 1:
        return None
    (name,) = names
    try:
        start = evaluate(dim, {name: 0})
        step = evaluate(dim, {name: 1}) - start
        value = (size - start) // step if step else 0
        return (name, value) if step and evaluate(dim, {name: value}) == size else None
    except UnboundSymbolError:
        return None
