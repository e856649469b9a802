"""Symbolic sizes as torch writes them, in sympy's `srepr` form, read without sympy and without evaluating any code.

`Mul(Integer(8), Symbol('s59', positive=True, integer=True))` becomes `8*s59`. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fxprof import limits
from fxprof.trace.arithmetic import MOST_ELEMENTS
from fxprof.trace.symbols import Dim, Expr

_TOKEN = re.compile(
    r"\s*(?:(?P<word>[A-Za-z_][\w.]*)|(?P<number>-?\d+)|(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")|(?P<sign>[(),=]))"
)
_LONGEST = limits.EXPRESSION
_DEEPEST = limits.EXPRESSION_LEVELS
_MOST_DIGITS = 300

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
"""Functions of sympy and torch to ours; any other keeps its name, and has no value."""

_OPAQUE = "OpaqueUnaryFn_"
"""What torch puts before the names of functions of Python's `math`."""
_TRUTHS = {"true": True, "false": False}


class ExpressionError(ValueError):
    """A text is not an expression in this form."""


def parse_expression(text: str) -> Dim:
    """The expression of a text in the form of `sympy.srepr`.

    Raises:
        ExpressionError: the text is not of this form, or longer or deeper than any size is.
    """
    if len(text) > _LONGEST:
        raise ExpressionError(f"an expression of {len(text):,} characters")
    reader = _Reader(text)
    value = reader.value(0)
    reader.end()
    if isinstance(value, str):
        raise ExpressionError(f"{text[:60]!r} is a text, not an expression")
    if isinstance(value, int) and abs(value) > MOST_ELEMENTS:
        raise ExpressionError(f"{text[:60]!r} is no size")
    return value


class _Reader:
    """Reads one text from the left."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._split()
        self._next = next(self._tokens)

    def _split(self) -> Iterator[tuple[str, str]]:
        place, end = 0, len(self._text.rstrip())
        while place < end:
            match = _TOKEN.match(self._text, place)
            if match is None:
                raise ExpressionError(f"{self._text[place : place + 20]!r} in a symbolic size is not understood")
            yield str(match.lastgroup), match[str(match.lastgroup)]
            place = match.end()
        while True:
            yield "end", ""

    def _take(self) -> tuple[str, str]:
        token, self._next = self._next, next(self._tokens)
        return token

    def _expect(self, sign: str) -> None:
        if self._take()[1] != sign:
            raise ExpressionError(f"{sign!r} is missing in the symbolic size {self._text[:60]!r}")

    def end(self) -> None:
        if self._next[0] != "end":
            raise ExpressionError(f"{self._text[:60]!r} goes on after a symbolic size")

    def value(self, depth: int) -> Dim | str:
        kind, text = self._take()
        if depth > _DEEPEST or len(text) > _MOST_DIGITS:
            raise ExpressionError("a symbolic size nests too deeply, or holds too long a name or number")
        if kind == "number":
            return int(text)
        if kind == "text":
            return re.sub(r"\\(.)", r"\1", text[1:-1])
        if kind != "word":
            raise ExpressionError(f"a symbolic size is cut short: {self._text[:60]!r}")
        if self._next[1] == "(":
            return _made(text, self._operands(depth))
        return _TRUTHS[text] if text in _TRUTHS else _symbol(text)

    def _operands(self, depth: int) -> list[Dim | str]:
        """What stands between parentheses; assumptions such as `positive=True` are left out."""
        self._expect("(")
        operands: list[Dim | str] = []
        while self._next[1] != ")":
            value = self.value(depth + 1)
            if self._next[1] == "=":
                self._take()
                self.value(depth + 1)
            else:
                operands.append(value)
            if self._next[1] != ")":
                self._expect(",")
        self._take()
        return operands


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
        raise ExpressionError(f"{name[:60]!r} is no name of a symbol")
    return Expr("symbol", (name,))


def _checked(number: str) -> str:
    if not re.fullmatch(r"-?\d{1,300}(\.\d{1,300})?(e[-+]?\d{1,3})?", number):
        raise ExpressionError(f"{number[:60]!r} is not a number")
    return number


def _applied(name: str, operands: list[Dim]) -> Dim:
    if not operands:
        raise ExpressionError(f"{name[:60]} of nothing in a symbolic size is not understood")
    if name == "Identity" and len(operands) == 1:
        return operands[0]
    if name == "ModularIndexing" and len(operands) == 3:  # noqa: PLR2004 - base, divisor, modulus
        return Expr("mod", (Expr("floordiv", (operands[0], operands[1])), operands[2]))
    return Expr(_NAMES.get(name, name.removeprefix(_OPAQUE)), tuple(operands))
