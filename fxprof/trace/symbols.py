"""Sizes that depend on named symbols, and their evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
        """Hash once: an expression may be nested, and each of its parts is looked up.

        Integers are hashed as texts, for which Python draws a secret: whoever writes a file could choose integers of one hash,
        and each look-up would then compare an expression with all others.
        """
        parts = tuple([f"{part:d}" if isinstance(part, int) else part for part in self.operands])
        object.__setattr__(self, "_hash", hash((self.operator, parts)))

    def __hash__(self) -> int:
        return self._hash

    def __add__(self, other: Dim) -> Expr:
        """The sum; as all arithmetic here, not simplified: see `fxprof.trace.algebra.normal`."""
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
    """The text of an expression from the left, piece by piece: a message needs the first few alone."""
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
    """The operands with the signs around them."""
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
    return Sizes(values, known).number(dim)


class Sizes:
    """The values of expressions where symbols have these sizes; each is worked out once, however many operators share it.

    Args:
        symbols: symbol to size.
        known: expressions whose values are known already. Some may be added later: what was worked out by then stays.
    """

    def __init__(self, symbols: Mapping[str, int], known: Mapping[Expr, Number] | None = None) -> None:
        self.symbols = symbols
        self._given: Mapping[Expr, Number] = {} if known is None else known
        # By identity, each beside its expression, which has to live on: comparing two takes as long as working one out.
        self._known: dict[int, tuple[Expr, int | UnboundSymbolError]] = {}
        self._numbers: dict[int, tuple[Expr, Number | UnboundSymbolError]] = {}

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
            return _whole(dim, self.number(dim))
        except UnboundSymbolError as error:
            return UnboundSymbolError(*error.args)

    def number(self, dim: Dim) -> Number:
        """As `compute`."""
        found = self._found(dim)
        return _or_raise(self._work_out(dim) if found is None else found)

    def size(self, dim: Dim) -> int:
        """As `value`, of a size, which is never negative.

        Raises:
            UnboundSymbolError: as `evaluate`; or the value is negative.
        """
        size = self.value(dim)
        if size < 0:
            raise UnboundSymbolError(f"{in_short(dim)} = {size}")
        return size

    def _found(self, dim: Dim) -> Number | UnboundSymbolError | None:
        """What is known of a part of an expression; None where it has to be worked out first."""
        if isinstance(dim, int):
            return dim
        if self._given and dim in self._given:
            return self._given[dim]
        if dim.operator == "symbol":
            name = str(dim.operands[0])
            return self.symbols[name] if name in self.symbols else UnboundSymbolError(name)
        if dim.operator == "float":
            return float(str(dim.operands[0]))
        found = self._numbers.get(id(dim))
        return None if found is None else found[1]

    def _work_out(self, dim: Dim) -> Number | UnboundSymbolError:
        """The value of an expression: those of its parts first, without a call inside of a call for each level."""
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
        """The parts that have to be worked out before an expression: of a choice all conditions, then what they choose."""
        parts: Sequence[Dim | str] = dim.operands
        if dim.operator in _CHOICES:
            cases = _cases(dim)
            parts = [condition for condition, _ in cases]
            if all(self._found(condition) is not None for condition in parts if not isinstance(condition, str)):
                parts = [self._choice(cases)]
        return [part for part in parts if isinstance(part, Expr) and self._found(part) is None]

    def _combined(self, dim: Expr) -> Number | UnboundSymbolError:
        """The value of an expression whose parts have theirs."""
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
        """What conditions choose, the first of them that has no value, or "" where none holds."""
        for condition, value in cases:
            holds = self._of(condition)
            if isinstance(holds, UnboundSymbolError):
                return condition
            if holds:
                return value
        return ""

    def _of(self, part: Dim) -> Number | UnboundSymbolError:
        found = self._found(part)
        assert found is not None, "parts are worked out first"
        return found


def _or_raise(found: Number | UnboundSymbolError) -> Number:
    """The value; the error anew, for one that is raised again and again would grow a traceback without end."""
    if isinstance(found, UnboundSymbolError):
        raise UnboundSymbolError(*found.args)
    return found


_CHOICES = ("where", "piecewise")


def _cases(dim: Expr) -> list[tuple[Dim, Dim]]:
    """Condition and value of each case of a choice, up to the first operand that is none."""
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
        start = evaluate(dim, {name: 0})
        step = evaluate(dim, {name: 1}) - start
        value = (size - start) // step if step else 0
        return (name, value) if step and evaluate(dim, {name: value}) == size else None
    except UnboundSymbolError:
        return None
