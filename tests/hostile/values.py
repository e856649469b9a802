"""Numbers, types and expressions in a graph that torch cannot have written."""

from __future__ import annotations

import archives
from archives import symbolic

from hostile.case import SIZES, TENSORS, Case, Change, Make, in_turn, program, put
from hostile.graphs import argument

X_TYPE = (*TENSORS, "x", "dtype")
CODE = "__import__('os').system('exit 1')"
SYMBOL = "Symbol('s1', positive=True, integer=True)"


def size(expression: str, hint: int | None = 2) -> Make:
    """An archive in which the first size of the input is an expression."""
    return program(put(*SIZES, 0, to=symbolic(expression, hint)))


def everywhere(expression: str) -> Change:
    """The expression in place of every first size but that of a weight."""

    def change(whole: archives.Json) -> None:
        tensors = whole["graph_module"]["graph"]["tensor_values"]
        for name in ("x", "conv2d", "mean", "cond"):
            tensors[name]["sizes"][0] = symbolic(expression)

    return change


def _second(expression: str, first: int = 2) -> Make:
    """An archive in which the second size of the input is an expression of the first."""
    return program(in_turn(put(*SIZES, 0, to=symbolic(SYMBOL, first)), put(*SIZES, 1, to=symbolic(expression, None))))


_BIG = 2**62

CASES: dict[str, Case] = {
    # --- enumerations
    "type 0": (program(put(*X_TYPE, to=0)), "dtype is 0, which is not a type of torch"),
    "type 999": (program(put(*X_TYPE, to=999)), "dtype is 999, which is not a type of torch"),
    "type true": (program(put(*X_TYPE, to=True)), "dtype is True, which is not a type of torch"),
    "type 7.0": (program(put(*X_TYPE, to=7.0)), "dtype is 7.0, which is not a type of torch"),
    "type null": (program(put(*X_TYPE, to=None)), "dtype is None, which is not a type of torch"),
    "type a list": (program(put(*X_TYPE, to=[7])), "dtype is a list, which is not a type of torch"),
    "argument of type 999": (program(argument({"as_scalar_type": 999})), "is 999, which is not a type of torch"),
    "layout 99": (program(argument({"as_layout": 99})), "is 99, which is not a layout of torch"),
    "memory format 99": (program(argument({"as_memory_format": 99})), "is 99, which is not a memory format of torch"),
    "device a text": (program(argument({"as_device": "cpu"})), "is 'cpu', not an object"),
    "device index a text": (program(argument({"as_device": {"type": "cpu", "index": "0"}})), "is '0', not an integer"),
    # --- plain values
    "integer true": (program(argument({"as_int": True})), "is True, not an integer of 64 bits"),
    "integer 1.0": (program(argument({"as_int": 1.0})), "is 1.0, not an integer of 64 bits"),
    "integer of 4,000 digits": (program(argument({"as_int": 10**4000})), "is 1000000"),
    "integer beyond 64 bits": (program(argument({"as_int": 2**64})), "not an integer of 64 bits"),
    "integers a text": (program(argument({"as_ints": "12"})), "is '12', not a list"),
    "integers with null": (program(argument({"as_ints": [1, None]})), "is None, not an integer of 64 bits"),
    "float a text": (program(argument({"as_float": "one"})), "is 'one', not a number"),
    "float of 1,000 digits": (program(argument({"as_float": 10**1000})), "is a number beyond all floats"),
    "float 1e309": (program(argument({"as_float": 10**309})), "is a number beyond all floats"),
    "float a list": (program(argument({"as_float": [1.0]})), "is a list, not a number"),
    "truth 1": (program(argument({"as_bool": 1})), "is 1, not true or false"),
    "text null": (program(argument({"as_string": None})), "is None, not a text"),
    "complex a number": (program(argument({"as_complex": 1.0})), "is 1.0, not an object"),
    "none of a value": (program(argument({"as_tensors": None})), "is None, not a list"),
    "objects without a class": (program(argument({"as_custom_obj": {"name": "a"}})), "is None, not a name"),
    "operator a number": (program(argument({"as_operator": 3})), "is 3, not a name"),
    # --- expressions
    "code": (size(CODE), "has an expression that cannot be read: "),
    "code as an argument": (size(f"Integer({CODE})"), "has an expression that cannot be read: "),
    "code as a symbol": (size(f'Symbol("{CODE}")', None), "is not a name of a symbol"),
    "attribute": (size("s1.__class__.__mro__[1]"), "has an expression that cannot be read: "),
    "lambda": (size("lambda: 1"), "has an expression that cannot be read: "),
    "operators of Python": (size("s1 * 2"), "has an expression that cannot be read: "),
    "text": (size("'two'"), "has an expression that cannot be read: "),
    "empty expression": (size(""), "has an expression that cannot be read: "),
    "unbalanced": (size("Add(Integer(1), Integer(2)"), "has an expression that cannot be read: "),
    "goes on": (size("Integer(1) Integer(2)"), "has an expression that cannot be read: "),
    "expression of a megabyte": (size("Add(" + "1, " * 2**19 + "1)"), "together they have more than 1,000,000 characters"),
    "10,000 levels": (size("A(" * 6_000 + "1" + ")" * 6_000), "nests too deeply"),
    "integer of 1,000 digits": (size("Integer(" + "9" * 1000 + ")"), "a name or number that is too long"),
    "expression a list": (program(put(*SIZES, 0, to={"as_expr": {"expr_str": [], "hint": None}})), "which is not a text"),
    "expression null": (program(put(*SIZES, 0, to={"as_expr": None})), "is None, not an object"),
    "hint a text": (program(put(*SIZES, 0, to={"as_expr": {"expr_str": SYMBOL, "hint": "2"}})), "hint is '2', not an object"),
    "hint beyond 64 bits": (size(SYMBOL, 2**64), "hint is 18446744073709551616, not an integer of 64 bits"),
    "negative hint": (size(SYMBOL, -5), "-5"),
    "no hint": (size(SYMBOL, None), "x.pt2 does not give the size of s1"),
    "symbol that steers": (size("Symbol('\x1b[31mred')", None), "'\\x1b[31mred' is not a name of a symbol"),
    "negative size by expression": (size(f"Add({SYMBOL}, Integer(-9))", -7), "x.pt2 has the size x.0: s1 + -9 = -7, which"),
    "half a size": (size(f"Mul(Rational(1, 2), {SYMBOL})", None), "x.pt2 does not give the size of s1"),
    "half of an odd size": (_second(f"Mul(Rational(1, 2), {SYMBOL})", 3), "x.pt2 has the size x.1: (1/2)*s1"),
    "division by zero": (_second(f"FloorDiv({SYMBOL}, Integer(0))"), "x.pt2 has the size x.1: 2/0"),
    "remainder of zero": (_second(f"Mod({SYMBOL}, Integer(0))"), "x.pt2 has the size x.1: 2 % 0"),
    "tower of powers": (size("Pow(Integer(10), Pow(Integer(10), Pow(Integer(10), Integer(10))))"), "x.0"),
    "10**10**10": (size("Pow(Integer(10), Integer(10000000000))"), "x.0"),
    "power of a symbol": (program(everywhere(f"Pow({SYMBOL}, Integer(4000))")), "x.pt2 does not give the size of s1"),
    "products of powers": (size("Mul(" + "Pow(2, 4000), " * 1400 + "1)"), "x.0"),
    "floats of a thousand digits": (size("Mul(" + "Float('1e999'), " * 1200 + "1)"), "x.0"),
    "unknown function": (size(f"Evil({SYMBOL})"), "x.pt2 does not give the size of s1"),
    "unknown function of a number": (size("Evil(Integer(2))"), "x.pt2 has the size x.0: Evil(2), which is not a size"),
    "huge symbol": (program(everywhere(f"Mul({SYMBOL}, Integer({_BIG}))")), "x.pt2 does not give the size of s1"),
    "size beyond 64 bits": (size(f"Mul(Integer({_BIG}), Integer(2), Integer(2))"), "x.pt2 has the size x.0: "),
}
