"""Symbolic sizes as torch writes them, in sympy's `srepr` form, read without sympy and without evaluating any code.

`Mul(Integer(8), Symbol('s59', positive=True, integer=True))` becomes `8*s59`. Such a text is a Python call, so Python's own
parser builds the tree; this file defines the allowed nodes.
"""

from __future__ import annotations

import ast
import re
from itertools import accumulate

from fxprof import limits
from fxprof.trace.arithmetic import MOST_ELEMENTS
from fxprof.trace.symbols import Dim, Expr

_MOST_DIGITS = 300
"""Characters of a name or a number."""

_OPERAND = r"[a-z_][\w.]*+|-?\d++|'[^'\\\n]*+'|\"[^\"\\\n]*+\""
_FORM = re.compile(rf"(?:\s*+(?:[(),=]|(?:{_OPERAND})(?=\s*+(?:[(),=]|\Z))))*+\s*+", re.ASCII | re.IGNORECASE)
"""Names, numbers and texts with signs between them: no operator, comment or keyword of Python has this form."""
_WORD = re.compile(r"[\w.]+")
_PLAIN = re.compile(
    r"(?<![\w.'\"])(?:Integer\((-?\d+)\)|Symbol\('([a-z]+\d+)'(?:, [a-z]+=(?:True|False))*\))(?=\s*(?:[),]|\Z))"
)
"""The most common parts of a size. As plain numbers and names they parse in a third of the time."""

_NAMES = {
    "Add": "add",
    "Mul": "mul",
    "FloorDiv": "floordiv",
    "CleanDiv": "floordiv",
    "IntTrueDiv": "truediv",
    "FloatTrueDiv": "floatdiv",
    "Rational": "ratio",
    "Mod": "mod",
    "PythonMod": "mod",
    "Pow": "pow",
    "PowByNatural": "pow",
    "FloatPow": "floatpow",
    "Max": "max",
    "Min": "min",
    "Abs": "abs",
    "CeilToInt": "ceil",
    "ceiling": "ceil",
    "FloorToInt": "floor",
    "floor": "floor",
    "TruncToInt": "trunc",
    "TruncToFloat": "trunc_to_float",
    "RoundToInt": "round",
    "RoundDecimal": "round_to",
    "ToFloat": "to_float",
    "LShift": "lshift",
    "RShift": "rshift",
    "BitwiseFn_bitwise_and": "bitand",
    "BitwiseFn_bitwise_or": "bitor",
    "BitwiseFn_bitwise_xor": "bitxor",
    "Equality": "eq",
    "Unequality": "ne",
    "StrictLessThan": "lt",
    "LessThan": "le",
    "StrictGreaterThan": "gt",
    "GreaterThan": "ge",
    "And": "and",
    "Or": "or",
    "Not": "not",
    "Where": "where",
    "Piecewise": "piecewise",
    "ExprCondPair": "case",
}
"""Functions of sympy and torch to ours; any other function keeps its name, and has no value."""

_OPAQUE = "OpaqueUnaryFn_"
"""The prefix that torch gives to functions of Python's `math`."""
_TRUTHS = {"true": True, "false": False}


class ExpressionError(ValueError):
    """A text is not an expression in this form."""


def parse_expression(text: str) -> Dim:
    """The expression of a text in the form of `sympy.srepr`.

    Raises:
        ExpressionError: the text is not of this form, or is longer or deeper than any size.
    """
    _check_bounds(text)
    if _FORM.fullmatch(text) is None:
        raise _not_understood(text)
    try:
        value = _read(ast.parse(_PLAIN.sub(r"\1\2", text).strip(), mode="eval").body)
    except ExpressionError:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # ValueError: a null character, a lone surrogate
        raise _not_understood(text) from error
    if isinstance(value, str):
        raise ExpressionError(f"{text[:60]!r} is a text, not an expression")
    if isinstance(value, int) and abs(value) > MOST_ELEMENTS:
        raise ExpressionError(f"{text[:60]!r} is not a size")
    return value


def _check_bounds(text: str) -> None:
    """Refuse a text that would keep a parser busy, in one pass over the text."""
    if len(text) > limits.EXPRESSION:
        raise ExpressionError(f"an expression of {len(text):,} characters")
    if len(text) <= min(_MOST_DIGITS, limits.EXPRESSION_LEVELS):
        return
    levels = accumulate((sign == "(") - (sign == ")") for sign in text if sign in "()")
    if max(levels, default=0) > limits.EXPRESSION_LEVELS or max(map(len, _WORD.findall(text)), default=0) > _MOST_DIGITS:
        raise ExpressionError("a symbolic size nests too deeply, or contains a name or number that is too long")


def _not_understood(text: str) -> ExpressionError:
    return ExpressionError(f"{text[:60]!r} is not understood as a symbolic size")


def _read(node: ast.expr) -> Dim | str:
    match node:
        case ast.Call(func=ast.Name(id=name)):  # keywords such as `positive=True` are left out
            return _made(name, [_read(operand) for operand in node.args])
        case ast.Constant(value=int() | str() as value) if type(value) is not bool:
            return value
        case ast.Name(id=name):
            return _TRUTHS[name] if name in _TRUTHS else _symbol(name)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as value)):
            return -value
        case ast.Call(func=ast.Attribute() as function):
            return _made(ast.unparse(function), [_read(operand) for operand in node.args])
        case _:
            raise _not_understood(ast.unparse(node))


def _made(name: str, operands: list[Dim | str]) -> Dim:
    match name, operands:
        case "Integer", [int() as number]:
            return number
        case "Symbol" | "Dummy", [str() as symbol, *_]:
            return _symbol(symbol)
        case "Float", [str() as number, *_]:
            return Expr("float", (repr(float(_checked(number))),))
        case _ if all(isinstance(operand, (int, Expr)) for operand in operands):
            return _applied(name, [operand for operand in operands if not isinstance(operand, str)])
        case _:
            raise ExpressionError(f"{name} of a text in a symbolic size is not understood")


def _symbol(name: str) -> Expr:
    if not name.isidentifier():
        raise ExpressionError(f"{name[:60]!r} is not a name of a symbol")
    return Expr("symbol", (name,))


def _checked(number: str) -> str:
    if not re.fullmatch(r"-?\d{1,300}(\.\d{1,300})?(e[-+]?\d{1,3})?", number):
        raise ExpressionError(f"{number[:60]!r} is not a number")
    return number


def _applied(name: str, operands: list[Dim]) -> Dim:
    if not operands:
        raise ExpressionError(f"{name[:60]} without operands in a symbolic size is not understood")
    if name == "Identity" and len(operands) == 1:
        return operands[0]
    if name == "ModularIndexing" and len(operands) == 3:  # noqa: PLR2004 - base, divisor, modulus
        return Expr("mod", (Expr("floordiv", (operands[0], operands[1])), operands[2]))
    return Expr(_NAMES.get(name, name.removeprefix(_OPAQUE)), tuple(operands))
