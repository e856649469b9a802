"""A program's conditions on its sizes (guards, assertions and ranges), and the numbers that it computes from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fxprof.trace.arithmetic import ArithmeticFault, Number, apply
from fxprof.trace.guards import GuardError, Inputs, read_guard
from fxprof.trace.higher_order import PREFIX
from fxprof.trace.records import Op, Trace, Value
from fxprof.trace.symbols import Dim, Expr, Sizes, UnboundSymbolError, in_short

Ranges = Mapping[str, tuple[int | None, int | None]]
"""Symbol, or expression, to its least and largest size; None for no bound."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition; the program refuses to run if it does not hold."""

    holds: Dim
    """The condition as an expression, true or false once the symbols have sizes."""
    words: str
    """`its guard x.size()[0] % 4 == 0`"""


@dataclass(frozen=True, slots=True)
class Conditions:
    """All conditions of a program on its sizes."""

    known: tuple[Condition, ...] = ()
    unread: tuple[str, ...] = ()
    """Guards of a form that fxprof does not know."""

    def violated(self, symbols: Mapping[str, int], computed: Mapping[Expr, Number]) -> Condition | None:
        """The first condition that does not hold at these sizes; a condition with a symbol without a size is skipped."""
        sizes = Sizes(symbols, computed)
        return next((item for item in self.known if _is_false(item.holds, sizes)), None)


def _is_false(holds: Dim, sizes: Sizes) -> bool:
    try:
        return not sizes.number(holds)
    except UnboundSymbolError:
        return False


def conditions_of(trace: Trace, guards: Iterable[str], inputs: Inputs, ranges: Ranges) -> Conditions:
    """Collect the conditions of a program on its sizes.

    Args:
        trace: the program's trace.
        guards: its guard code.
        inputs: the inputs that the guard code names.
        ranges: the ranges of its symbols and expressions.
    """
    known, unread = [], []
    for text in dict.fromkeys(guards):
        try:
            holds, words = read_guard(text, inputs)
            known.append(Condition(holds, f"its guard {words}"))
        except GuardError:
            unread.append(text)
    return Conditions((*known, *_asserted(trace.ops), *_ranged(ranges)), tuple(unread))


_ENTERED = ("wrap", "invoke_subgraph", "checkpoint", "tag_activation_checkpoint", "strict_mode", "hints_wrapper")
"""Higher-order operators whose body always runs. The body of any other may not run, and then asserts nothing."""


def _asserted(ops: Iterable[Op]) -> Iterator[Condition]:
    """The conditions that the operators of a graph assert."""
    for op in ops:
        if op.target.startswith(_ASSERTIONS):
            condition = op.argument("self")
            if isinstance(condition, (int, Expr)):
                yield Condition(condition, f"its assertion {in_short(condition)}")
        elif op.target.startswith(_CONSTRAINTS):
            yield from _constrained(op)
        elif op.subgraphs and op.target.removeprefix(PREFIX).startswith(_ENTERED):
            for body in op.subgraphs:
                yield from _asserted(body.ops)


_ASSERTIONS = ("aten._assert_scalar", "aten._functional_assert_scalar")
_CONSTRAINTS = (
    *("aten.sym_constrain_range", "aten._functional_sym_constrain_range"),
    *("torch.sym_constrain_range", "aten.sym_constrain_range_for_size"),
)


def _constrained(op: Op) -> Iterator[Condition]:
    """The least and the largest size that an operator allows."""
    size = op.argument("size") if op.argument("size") is not None else op.argument("arg0")
    for bound, sign in (("min", "ge"), ("max", "le")):
        limit = op.argument(bound)
        if isinstance(size, Expr) and type(limit) is int:
            yield _bounded(size, sign, limit)


def _bounded(size: Dim, sign: str, limit: int) -> Condition:
    holds = Expr(sign, (size, limit))
    return Condition(holds, f"its range {in_short(holds)}")


def _ranged(ranges: Ranges) -> Iterator[Condition]:
    """The ranges that torch checks on a program's inputs. A least size of two says nothing: every dynamic size has it."""
    for text, (least, largest) in ranges.items():
        try:
            size, _ = read_guard(text, Inputs((), (), ()), symbols=True)
        except GuardError:
            continue  # torch derives it from the ranges of the symbols, which are checked
        if least is not None and least > 2:  # noqa: PLR2004 - as the docstring says
            yield _bounded(size, "ge", least)
        if largest is not None:
            yield _bounded(size, "le", largest)


def at_sizes(trace: Trace, symbols: Mapping[str, int]) -> Trace:
    """The trace with these sizes of its symbols, and with the numbers that it computes from them."""
    computed = tuple(computed_values(trace, symbols).items())
    return replace(trace, symbols=tuple(sorted(symbols.items())), computed=computed)


def computed_values(trace: Trace, symbols: Mapping[str, int]) -> dict[Expr, Number]:
    """Expressions for which the program computes another value than the expression itself gives.

    In an expression, sympy merges `0.1*n*3` to `0.3*n`; the program multiplies twice, and rounds each time.
    """
    values: dict[Expr, Number] = {}
    plain, computed = Sizes(symbols), Sizes(symbols, values)  # the second one reads `values` while it grows
    if symbols:
        for op in trace.walk():
            if op.target in _APPLIED and len(op.outputs) == 1 and isinstance(op.outputs[0], Expr):
                _note(op, op.outputs[0], (plain, computed), values)
    return values


def _note(op: Op, result: Expr, sizes: tuple[Sizes, Sizes], values: dict[Expr, Number]) -> None:
    plain, computed = sizes
    try:
        operands = [_operand(value, computed) for value in _flat(op)]
        value = apply(_APPLIED[op.target], operands)
        if value != plain.number(result):
            values[result] = value
    except (ArithmeticFault, UnboundSymbolError):
        return


def _flat(op: Op) -> Sequence[Value]:
    """The operands; a sum has them in a list."""
    values = [value for _, value in op.args]
    return values[0] if len(values) == 1 and isinstance(values[0], tuple) else values


def _operand(value: Value, sizes: Sizes) -> Number:
    if isinstance(value, (int, Expr)):
        return sizes.number(value)
    if isinstance(value, float):
        return value
    raise ArithmeticFault


_APPLIED: Mapping[str, str] = {
    "operator.add": "add",
    "operator.sub": "sub",
    "operator.mul": "mul",
    "operator.truediv": "truediv",
    "operator.floordiv": "floordiv",
    "operator.mod": "mod",
    "operator.pow": "pow",
    "operator.neg": "neg",
    "operator.abs": "abs",
    "builtins.abs": "abs",
    "builtins.round": "round",
    "math.ceil": "ceil",
    "math.floor": "floor",
    "math.trunc": "trunc",
    "torch.sym_float": "to_float",
    "torch.sym_int": "trunc",
    "torch.sym_max": "max",
    "torch.sym_min": "min",
    "torch.sym_sum": "add",
    "torch._sym_sqrt": "sqrt",
}
"""Operators on numbers to their names in `fxprof.trace.arithmetic`."""
