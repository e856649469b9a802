"""Counting with symbols: the cost of every operator as an expression, which can be evaluated for many sets of numbers.

A formula receives `Size`s, which add and multiply like integers. A formula that needs more, for example whether a size is 1,
needs plain numbers: such an operator is counted once numbers are known. So are operators with formulas of users, which need not
support `Size`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from fxprof.cost.count import CountedOp, Pass
from fxprof.cost.registry import BUILT_IN, Formula, Formulas, NoFormulaError
from fxprof.trace import Block, Dim, Expr, Occurrence, Op, Sizes, Tensor, Trace, Value
from fxprof.trace.algebra import normal
from fxprof.trace.collector import uncollected
from fxprof.trace.conditions import at_sizes
from fxprof.trace.higher_order import ENTERED, PREFIX


class NeedsNumbersError(Exception):
    """A formula needs a plain number in place of a size."""


class Size:
    """A size in a formula, as an expression. It supports the arithmetic of integers; any other use needs a number."""

    __slots__ = ("dim",)

    def __init__(self, dim: Dim) -> None:
        """Wrap an expression."""
        self.dim = dim

    def _needs_number(self, *_: object) -> NoReturn:
        raise NeedsNumbersError

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __hash__ = _needs_number
    __int__ = __index__ = __float__ = __truediv__ = __rtruediv__ = __round__ = __format__ = __str__ = _needs_number

    def __add__(self, other: object) -> Size:
        return Size(_dim(self) + _dim(other))

    def __radd__(self, other: object) -> Size:
        return Size(_dim(other) + _dim(self))

    def __sub__(self, other: object) -> Size:
        return Size(_dim(self) - _dim(other))

    def __rsub__(self, other: object) -> Size:
        return Size(_dim(other) - _dim(self))

    def __mul__(self, other: object) -> Size:
        return Size(_dim(self) * _dim(other))

    def __rmul__(self, other: object) -> Size:
        return Size(_dim(other) * _dim(self))

    def __floordiv__(self, other: object) -> Size:
        return Size(_dim(self) // _dim(other))

    def __rfloordiv__(self, other: object) -> Size:
        return Size(_dim(other) // _dim(self))

    def __mod__(self, other: object) -> Size:
        return Size(_dim(self) % _dim(other))

    def __pow__(self, other: object) -> Size:
        return Size(_dim(self) ** _dim(other))


def _dim(value: object) -> Any:
    """The expression of a size, or an integer.

    Raises:
        NeedsNumbersError: the value is neither, so the result would not be an expression.
    """
    if isinstance(value, Size):
        return value.dim
    if type(value) is int:
        return value
    raise NeedsNumbersError


class Forms:
    """The cost of the operators of one trace, as expressions over its symbols.

    Args:
        trace: the trace of one captured graph.
        formulas: the table to count with.
    """

    @uncollected()
    def __init__(self, trace: Trace, formulas: Formulas = BUILT_IN) -> None:
        self._trace, self._formulas = trace, formulas
        self._forms: dict[int, Dim] = {}
        known: dict[Dim, Dim] = {}
        for op in trace.distinct():
            formula = formulas.find(op.target)
            form = _form(op, formula) if formula is not None and formula.origin == "fxprof" else None
            if form is not None:
                self._forms[id(op)] = known.setdefault(form, normal(form))

    def of(self, op: Op) -> Dim | None:
        """MACs of one execution of an operator of the trace; None if they need numbers, or without a formula."""
        return self._forms.get(id(op))

    @uncollected()
    def at(self, symbols: Mapping[str, int]) -> tuple[CountedOp, ...]:
        """Count every operator at these sizes, with the same result as `count` for the trace at these sizes.

        Args:
            symbols: symbol to size.

        Raises:
            FormulaError: a formula does not fit an operator.
        """
        trace = at_sizes(self._trace, symbols)
        return tuple(_Bound(self._formulas, trace.sizes(), self._forms).ops(trace.parts, ()))

    def total(self) -> Dim | None:
        """MACs of the whole graph in normal form; None if those of some operator need numbers.

        Uncounted operators add nothing, as in `count`.
        """
        try:
            return normal(self._sum(self._trace.parts, {}))
        except NeedsNumbersError:
            return None

    def _sum(self, parts: tuple[Op | Occurrence, ...], known: dict[Block, Dim]) -> Dim:
        terms = [self._cost(part, known) for part in parts]
        numbers = sum(term for term in terms if isinstance(term, int))
        symbolic = tuple(term for term in terms if not isinstance(term, int))
        return Expr("add", (*symbolic, numbers)) if symbolic else numbers

    def _cost(self, part: Op | Occurrence, known: dict[Block, Dim]) -> Dim:
        if isinstance(part, Occurrence):
            if part.block not in known:
                known[part.block] = normal(self._sum(part.block.parts, known))
            return known[part.block]
        if id(part) in self._forms:
            return self._forms[id(part)]
        if self._formulas.find(part.target) is not None:
            raise NeedsNumbersError
        if part.target.startswith(PREFIX) and part.subgraphs:
            if part.target.removeprefix(PREFIX) not in ENTERED or len(part.subgraphs) > 1:
                raise NeedsNumbersError
            return self._sum(part.subgraphs[0].parts, known)
        return 0


class _Bound(Pass):
    """A pass at given sizes that already has most costs as expressions."""

    def __init__(self, formulas: Formulas, sizes: Sizes, forms: Mapping[int, Dim]) -> None:
        super().__init__(formulas, sizes)
        self._forms = forms

    def apply(self, op: Op, formula: Formula) -> int:
        form = self._forms.get(id(op))
        if form is None:
            return super().apply(op, formula)
        for size in _symbolic_sizes(op):
            self.sizes.size(size)  # refuses a negative size, as for a formula
        return self.sizes.value(form)


def _symbolic_sizes(op: Op) -> Iterator[Expr]:
    for value in (*(value for _, value in op.args), *op.outputs):
        for tensor in value if isinstance(value, tuple) else (value,):
            if isinstance(tensor, Tensor):
                yield from (size for size in tensor.shape if isinstance(size, Expr))


def _form(op: Op, formula: Formula) -> Dim | None:
    """The cost of an operator as an expression; None if its formula needs numbers, or does not fit."""
    try:
        return _dim(formula.function(**formula.bind(op, _sized)))  # type: ignore[no-any-return]
    except (NeedsNumbersError, NoFormulaError, ArithmeticError, LookupError, TypeError, ValueError):
        return None  # counting with numbers reports an operator that does not fit its formula


def _sized(value: Value, whole: bool) -> object:
    if isinstance(value, Tensor):
        shape: Any = tuple([size if type(size) is int else Size(size) for size in value.shape])
        return Tensor(shape, value.dtype) if whole else shape
    if isinstance(value, tuple):
        return tuple(_sized(item, whole) for item in value)
    return Size(value) if isinstance(value, Expr) else value
