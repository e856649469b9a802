"""What the reader knows of torch's schema and of its symbolic functions, against the installed torch."""

from __future__ import annotations

import dataclasses
import importlib
import random
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import pytest
import sympy
import torch
from torch._export.serde import schema, serialize

from fxprof.trace import Expr, UnboundSymbolError, evaluate
from fxprof.trace.expressions import ExpressionError, parse_expression
from fxprof.trace.graph import _ARGUMENTS
from fxprof.trace.schema import DTYPES, LAYOUTS, MEMORY_FORMATS, NEWEST_MAJOR, READ_MAJORS
from fxprof.trace.symbols import compute

# --- tables

TABLES: list[tuple[Mapping[int, str], Any, type[IntEnum]]] = [
    (DTYPES, serialize._TORCH_TO_SERIALIZE_DTYPE, schema.ScalarType),
    (LAYOUTS, serialize._TORCH_TO_SERIALIZE_LAYOUT, schema.Layout),
    (MEMORY_FORMATS, serialize._TORCH_TO_SERIALIZE_MEMORY_FORMAT, schema.MemoryFormat),
]


@pytest.mark.parametrize(("table", "theirs", "numbers"), TABLES, ids=lambda item: getattr(item, "__name__", ""))
def test_numbers_and_names_are_those_of_torch(table: Mapping[int, str], theirs: Any, numbers: type[IntEnum]) -> None:
    assert table == {int(number): str(meant).removeprefix("torch.") for meant, number in theirs.items()}
    assert {int(number) for number in numbers if number.name.lower() != "unknown"} == set(table)


def test_every_type_of_torch_that_a_graph_can_hold_is_known() -> None:
    ours = {getattr(torch, name) for name in DTYPES.values()}
    assert ours == set(serialize._TORCH_TO_SERIALIZE_DTYPE)


def alternatives(union: type) -> set[str]:
    return {field.name for field in dataclasses.fields(union)} - {"type"}


def test_every_alternative_of_an_argument_is_read() -> None:
    written = alternatives(schema.Argument)
    assert written <= _ARGUMENTS.keys()
    assert _ARGUMENTS.keys() - written == {"as_token"}, "of effects, in the tables of inputs and outputs"


def test_majors_are_those_that_torch_accepts() -> None:
    major, _ = schema.SCHEMA_VERSION
    assert major == NEWEST_MAJOR
    accepted = []
    for candidate in range(1, major + 2):
        program = schema.ExportedProgram(
            graph_module=None,  # type: ignore[arg-type]  # looked at after the version
            opset_version={},
            range_constraints={},
            schema_version=schema.SchemaVersion(candidate, 0),
        )
        try:
            serialize.ExportedProgramDeserializer().deserialize(program, {}, {}, None)
        except Exception as error:  # noqa: BLE001 - whatever it is that an empty program raises
            if "does not match our current schema version" not in str(error):
                accepted.append(candidate)
    assert tuple(accepted) == READ_MAJORS


# --- symbolic functions

functions: Any = importlib.import_module("torch.utils._sympy.functions")  # annotated in part only
A, B = sympy.Symbol("a", positive=True, integer=True), sympy.Symbol("b", positive=True, integer=True)
EVALUATED: dict[str, Any] = {
    "FloorDiv": lambda: functions.FloorDiv(A, B),
    "ModularIndexing": lambda: functions.ModularIndexing(A, 3, 5),
    "PythonMod": lambda: functions.PythonMod(A, B),
    "Mod": lambda: functions.Mod(A, B),
    "CleanDiv": lambda: functions.CleanDiv(A, B),
    "CeilDiv": lambda: functions.CeilDiv(A, B),
    "CeilToInt": lambda: functions.CeilToInt(functions.IntTrueDiv(A, B)),
    "FloorToInt": lambda: functions.FloorToInt(functions.IntTrueDiv(A, B)),
    "TruncToInt": lambda: functions.TruncToInt(functions.IntTrueDiv(A, B)),
    "RoundToInt": lambda: functions.RoundToInt(functions.IntTrueDiv(A, B)),
    "IntTrueDiv": lambda: functions.FloorToInt(functions.IntTrueDiv(A * 7, B)),
    "FloatTrueDiv": lambda: functions.FloorToInt(functions.FloatTrueDiv(functions.ToFloat(A), functions.ToFloat(B))),
    "LShift": lambda: functions.LShift(A, B),
    "RShift": lambda: functions.RShift(A, B),
    "TruncToFloat": lambda: functions.TruncToFloat(functions.IntTrueDiv(A, B)),
    "ToFloat": lambda: functions.FloorToInt(functions.ToFloat(A)),
    "FloatPow": lambda: functions.FloorToInt(functions.FloatPow(functions.ToFloat(A), 2)),
    "PowByNatural": lambda: functions.PowByNatural(A, 3),
    "Identity": lambda: functions.Identity(A) + B,
    "Max": lambda: functions.Max(A, B, 7),
    "Min": lambda: functions.Min(A, B, 7),
    "sums and products": lambda: 3 * A + 2 * B - 5 + A * B,
    "powers": lambda: A**2 + B**3,
    "fractions": lambda: functions.FloorToInt(A * sympy.Rational(3, 2)),
    "floats": lambda: functions.FloorToInt(functions.ToFloat(A) * sympy.Float(1.5)),
    "Where": lambda: functions.Where(A < B, A, B),
    "RoundDecimal": lambda: functions.FloorToInt(functions.RoundDecimal(functions.ToFloat(A), 2)),
    "BitwiseFn_bitwise_and": lambda: functions.BitwiseFn_bitwise_and(A, B),
    "BitwiseFn_bitwise_or": lambda: functions.BitwiseFn_bitwise_or(A, B),
    "BitwiseFn_bitwise_xor": lambda: functions.BitwiseFn_bitwise_xor(A, B),
    "square roots": lambda: functions.FloorToInt(functions.OpaqueUnaryFn_sqrt(functions.ToFloat(A))),
    "products in doubles": lambda: functions.TruncToInt(functions.ToFloat(A) * sympy.Float(0.7)),
    "all together": lambda: functions.Max(1, functions.FloorDiv(A + functions.Mod(B, 4) - 1, 2) * functions.CeilToInt(A / 3)),
}
"""Functions with integer values, by their name where torch exports them."""
KEPT: dict[str, Any] = {
    "IsNonOverlappingAndDenseIndicator": lambda: functions.IsNonOverlappingAndDenseIndicator(A, B, B, 1),
}
"""Functions that no size is made of: they are kept, and have no value."""


def test_every_function_that_torch_exports_is_tried() -> None:
    assert set(functions.__all__) <= EVALUATED.keys() | KEPT.keys()


@pytest.mark.parametrize("name", EVALUATED)
def test_a_symbolic_function_has_sympy_s_own_value(name: str) -> None:
    expression = EVALUATED[name]()
    parsed = parse_expression(sympy.srepr(expression))
    assert isinstance(parsed, Expr)
    draw = random.Random(name)
    for _ in range(60):
        values = {"a": draw.randint(1, 10 ** draw.randint(1, 6)), "b": draw.randint(1, 40)}
        expected = expression.subs({A: values["a"], B: values["b"]}).expand(identity=True)
        assert not expected - int(expected)
        assert evaluate(parsed, values) == int(expected), (str(parsed), values)


@pytest.mark.parametrize("name", KEPT)
def test_other_functions_are_kept_and_have_no_value(name: str) -> None:
    parsed = parse_expression(sympy.srepr(KEPT[name]()))
    assert isinstance(parsed, Expr)
    assert parsed.operator == name
    with pytest.raises(UnboundSymbolError):
        evaluate(parsed, {"a": 3, "b": 5})


@pytest.mark.parametrize(
    "expression",
    [A < B, sympy.Eq(A, B), sympy.Ne(A, B), sympy.And(A < B, A > 2), sympy.Or(A < B, A > 2), sympy.Not(sympy.Eq(A, 2))],
    ids=str,
)
def test_conditions_are_true_where_sympy_says_so(expression: Any) -> None:
    parsed = parse_expression(sympy.srepr(expression))
    assert isinstance(parsed, Expr)
    for values in ({"a": 3, "b": 5}, {"a": 5, "b": 5}, {"a": 2, "b": 1}, {"a": 1, "b": 9}):
        assert compute(parsed, values) == bool(expression.subs({A: values["a"], B: values["b"]})), values


def test_a_number_that_is_no_size_is_refused() -> None:
    assert parse_expression(f"Integer({2**63})") == 2**63
    with pytest.raises(ExpressionError, match="is not a size"):
        parse_expression(f"Integer({2**63 + 1})")
    for function in ("Mod", "FloorDiv"):
        with pytest.raises(UnboundSymbolError) as caught:
            evaluate(parse_expression(f"{function}(Pow(Integer(10), Integer(1000)), Integer(0))"), {})
        assert len(caught.value.args[0]) < 70
