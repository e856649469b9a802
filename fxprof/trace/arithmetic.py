"""Arithmetic on sizes with the rules of torch and Python: exact integers, and IEEE doubles for everything else.

A product of exact fractions (`s77/2`, if torch knows that 2 divides `s77`) stays exact.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import reduce

from fxprof import limits

Number = int | Fraction | float
"""A value; truth values count as integers, like in Python."""

MOST_ELEMENTS = 2**63
"""Elements of a tensor, and the largest number anywhere: torch counts in 64 bits."""
_MOST_BITS = limits.NUMBER_BITS  # computing with longer numbers could take very long
_SHOWN = 30
"""Characters of a number in a message."""


class ArithmeticFault(Exception):  # noqa: N818 - a fault of the values, which callers turn into an error of their own
    """An operation without a value, such as a division by zero."""


def apply(name: str, numbers: Sequence[Number]) -> Number:
    """The value of one operator.

    Args:
        name: one of `FOLDED`, `UNARY` or `FIXED`.
        numbers: its operands.

    Raises:
        ArithmeticFault: the operator is unknown (the error then has no text), or has no value for these operands.
    """
    try:
        return _bounded(_apply(name, numbers))
    except (ValueError, OverflowError, TypeError, ZeroDivisionError) as error:
        raise ArithmeticFault from error


def _apply(name: str, numbers: Sequence[Number]) -> Number:
    if name in FOLDED and numbers:
        combine = FOLDED[name]
        return reduce(lambda left, right: _bounded(combine(left, right)), numbers)
    if name in UNARY and len(numbers) == 1:
        return UNARY[name](numbers[0])
    if name in FIXED and len(numbers) == FIXED[name][0]:
        return FIXED[name][1](*numbers)
    raise ArithmeticFault


def _bounded(number: Number) -> Number:
    if isinstance(number, float):
        return number
    if max(number.numerator.bit_length(), number.denominator.bit_length()) > _MOST_BITS:
        raise ArithmeticFault("a number that is not a size")
    return number


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, float) or isinstance(exponent, float):
        return _float_power(base, exponent)
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if exponent.denominator != 1 or abs(int(exponent)) * bits > _MOST_BITS or (base == 0 and exponent < 0):
        raise ArithmeticFault("a power that is not a size")
    power = Fraction(base) ** int(exponent)
    return int(power) if power.denominator == 1 else power


def _float_power(base: Number, exponent: Number) -> Number:
    power: float | complex = float(base) ** float(exponent)
    if isinstance(power, complex):
        raise ArithmeticFault("a power that is not a size")
    return power


def _ratio(left: Number, right: Number) -> Number:
    """An exact fraction, like sympy's own numbers."""
    _check_divisor(left, right, "/")
    if isinstance(left, float) or isinstance(right, float):
        return left / right
    quotient = Fraction(left) / right
    return int(quotient) if quotient.denominator == 1 else quotient


def _true_divide(left: Number, right: Number) -> Number:
    """Python's division of integers, rounded once, or of floats."""
    _check_divisor(left, right, "/")
    return left / right if isinstance(left, int) and isinstance(right, int) else float(left) / float(right)


def _float_divide(left: Number, right: Number) -> Number:
    _check_divisor(left, right, "/")
    return float(left) / float(right)


def _floor_divide(left: Number, right: Number) -> Number:
    _check_divisor(left, right, "/")
    return left // right


def _modulo(left: Number, right: Number) -> Number:
    _check_divisor(left, right, " % ")
    return left % right


def _check_divisor(left: Number, right: Number, sign: str) -> None:
    if right == 0:
        raise ArithmeticFault(f"{str(left)[:_SHOWN]}{sign}0")


def _shift_left(left: Number, right: Number) -> Number:
    if not -_MOST_BITS < right < _MOST_BITS:
        raise ArithmeticFault("a number that is not a size")
    return _whole(left) << _whole(right)


def _whole(number: Number) -> int:
    """The number as an integer; only integers have bits."""
    if number != int(number):
        raise ArithmeticFault("bits of a number that is not an integer")
    return int(number)


def _of_bits(combine: Callable[[int, int], int]) -> Callable[[Number, Number], Number]:
    return lambda left, right: combine(_whole(left), _whole(right))


FOLDED: Mapping[str, Callable[[Number, Number], Number]] = {
    "add": operator.add,
    "mul": operator.mul,
    "sub": operator.sub,
    "ratio": _ratio,
    "truediv": _true_divide,
    "floatdiv": _float_divide,
    "floordiv": _floor_divide,
    "mod": _modulo,
    "pow": _power,
    "floatpow": _float_power,
    "max": max,
    "min": min,
    "lshift": _shift_left,
    "rshift": _of_bits(operator.rshift),
    "bitand": _of_bits(operator.and_),
    "bitor": _of_bits(operator.or_),
    "bitxor": _of_bits(operator.xor),
    "and": lambda left, right: bool(left) and bool(right),
    "or": lambda left, right: bool(left) or bool(right),
}
"""Operators of two operands or more, applied from the left."""

_IN_DOUBLES = (
    *("sqrt", "cos", "cosh", "sin", "sinh", "tan", "tanh", "asin", "acos", "atan", "asinh", "exp", "log", "log2"),
    *("acosh", "atanh", "log10", "fabs"),
)
"""Functions of Python's `math`; the operand is converted to a double first."""


def _math(name: str) -> Callable[[Number], Number]:
    function: Callable[[float], float] = getattr(math, name)
    return lambda number: function(float(number))


UNARY: Mapping[str, Callable[[Number], Number]] = {
    "floor": math.floor,
    "ceil": math.ceil,
    "trunc": math.trunc,
    "round": round,
    "trunc_to_float": lambda number: float(math.trunc(number)),
    "to_float": float,
    "neg": lambda number: -number,
    "abs": lambda number: -number if number < 0 else number,
    "not": operator.not_,
    "truth": bool,
    **{name: _math(name) for name in _IN_DOUBLES},
}
"""Operators of one operand."""

FIXED: Mapping[str, tuple[int, Callable[..., Number]]] = {
    "eq": (2, operator.eq),
    "ne": (2, operator.ne),
    "lt": (2, operator.lt),
    "le": (2, operator.le),
    "gt": (2, operator.gt),
    "ge": (2, operator.ge),
    "round_to": (2, lambda number, digits: round(float(number), int(digits))),
}
"""Operators of a fixed number of operands."""

INFIX: Mapping[str, str] = {
    "add": " + ",
    "sub": " - ",
    "mul": "*",
    "ratio": "/",
    "truediv": "/",
    "floatdiv": "/",
    "floordiv": "//",
    "mod": " % ",
    "pow": "**",
    "floatpow": "**",
    "lshift": " << ",
    "rshift": " >> ",
    "bitand": " & ",
    "bitor": " | ",
    "bitxor": " ^ ",
    "eq": " == ",
    "ne": " != ",
    "lt": " < ",
    "le": " <= ",
    "gt": " > ",
    "ge": " >= ",
    "and": " and ",
    "or": " or ",
}
"""Operators that are printed between their operands."""
