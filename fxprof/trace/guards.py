"""The guards of an exported program: conditions on the sizes of its inputs, as torch writes them in Python.

Guard code is parsed by a small grammar into expressions, and never evaluated as code. Standard library only.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fxprof.trace.records import Tensor, Value
from fxprof.trace.symbols import Dim, Expr

_LONGEST = 20_000
"""Characters of a guard."""
_DEEPEST = 60
"""Levels of nesting in a guard, and of containers in an input."""

Path = tuple[str, ...]
"""Where an input is: the name of the argument, then keys, numbers and fields."""


class GuardError(ValueError):
    """A guard is not of a form that is known here."""


class Inputs:
    """The inputs of a program by the names that its guards give them.

    Args:
        values: of every input in its order, constants included.
        names: of the graph's own inputs, in the same order; "" where there is none.
        paths: in the same order, as `input_paths` gives them; empty where they are not known.
    """

    def __init__(self, values: Sequence[Value], names: Sequence[str], paths: Sequence[Path]) -> None:
        self._values = values
        whole = len(paths) == len(values)
        self._paths = _places(paths if whole else ())
        self._joined = _places(["_".join(path) for path in paths] if whole else ())
        self._names = _places([name.lower() for name in names])

    def find(self, path: Path) -> Value:
        """The value at a path.

        Raises:
            GuardError: there is none, or more than one.
        """
        for table, key in (
            (self._paths, path),
            (self._joined, "_".join(path)),
            (self._paths, path[1:]),  # of `**kwargs`, whose name is part of the path or not
            (self._names, re.sub(r"\W", "_", "_".join(path)).lower()),
        ):
            place = table.get(key)
            if place is not None:
                return self._at(place)
        if len(path) == 2 and path[0] == "flat_args" and path[1].isdecimal():  # noqa: PLR2004 - the list, and the place in it
            return self._at(int(path[1][:9]))
        raise GuardError(f"no input {'.'.join(path)}")

    def _at(self, place: int) -> Value:
        if place < 0 or place >= len(self._values):
            raise GuardError("an input that is not there")
        return self._values[place]


def _places(keys: Sequence[Any]) -> dict[Any, int]:
    """Key to its place, without keys that stand twice."""
    return {key: place for place, key in enumerate(keys) if key and keys.count(key) == 1}


def input_paths(spec: object, names: object) -> list[Path]:
    """The paths of a program's inputs, in order.

    Args:
        spec: how torch writes the containers of the inputs: JSON of `[1, {"type": ..., "children_spec": [...]}]`.
        names: of the arguments of `forward`.

    Empty where they cannot be told.
    """
    if not isinstance(spec, str) or len(spec) > _LONGEST * 50 or not isinstance(names, list):
        return []
    try:
        _, whole = json.loads(spec)
        positional, named = whole["children_spec"]
        keys = [*names[: len(positional["children_spec"])], *json.loads(named["context"])]
        children = [*positional["children_spec"], *named["children_spec"]]
        return [path for key, child in zip(keys, children, strict=True) for path in _leaves(child, (str(key),))]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def _leaves(spec: Any, path: Path) -> Iterator[Path]:
    if len(path) > _DEEPEST:
        raise ValueError("too deep")
    if spec["type"] is None:
        yield path
        return
    children = spec["children_spec"]
    keys = _keys(spec, len(children))
    for key, child in zip(keys, children, strict=True):
        yield from _leaves(child, (*path, key))


def _keys(spec: Any, number: int) -> list[str]:
    """The names of a container's parts: keys of a dictionary, fields of a dataclass, otherwise numbers."""
    context = spec["context"]
    names = json.loads(context) if isinstance(context, str) and context.startswith("[") else None
    if isinstance(names, list) and names and isinstance(names[0], list):
        names = names[0]
    if isinstance(names, list) and len(names) == number:
        return [str(name) for name in names]
    return [str(place) for place in range(number)]


def read_guard(text: str, inputs: Inputs, symbols: bool = False) -> tuple[Dim, str]:  # noqa: FBT001, FBT002 - see below
    """A condition as an expression, and as a person would write it.

    Args:
        text: such as `(L['x'].size()[0] % 4) == 0`.
        inputs: what it names.
        symbols: whether plain names are those of symbols, as in the ranges of a program.

    Raises:
        GuardError: it is not of a form that is known here.
    """
    if len(text) > _LONGEST:
        raise GuardError(f"a guard of {len(text):,} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        return _Reader(inputs, symbols=symbols).value(tree.body, 0), in_words(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise error if isinstance(error, GuardError) else GuardError(f"what is no Python: {text[:60]!r}") from error


def in_words(tree: ast.Expression) -> str:
    """The guard with arguments by their names: `x.size()[0] % 4 == 0`."""
    return ast.unparse(_Named().visit(ast.parse(ast.unparse(tree), mode="eval")))


class _Named(ast.NodeTransformer):
    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:  # noqa: N802 - the name that `ast` asks for
        """Put `x` for `L['x']`."""
        key = node.slice
        if _is_locals(node.value) and isinstance(key, ast.Constant) and isinstance(key.value, str) and key.value.isidentifier():
            return ast.Name(key.value)
        return self.generic_visit(node)


def _is_locals(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "L"


class _Reader:
    """Turns a syntax tree into an expression."""

    def __init__(self, inputs: Inputs, *, symbols: bool) -> None:
        self._inputs = inputs
        self._symbols = symbols

    def value(self, node: ast.AST, depth: int) -> Dim:
        if depth > _DEEPEST:
            raise GuardError("a guard that nests too deeply")
        read = _FORMS.get(type(node))
        if read is None:
            raise GuardError(f"the form {type(node).__name__}")
        return read(self, node, depth + 1)

    def constant(self, node: Any, _depth: int) -> Dim:
        if isinstance(node.value, (bool, int)):
            return int(node.value)
        if isinstance(node.value, float):
            return Expr("float", (repr(node.value),))
        raise GuardError(f"the value {str(node.value)[:40]!r}")

    def name(self, node: Any, _depth: int) -> Dim:
        if self._symbols:
            return Expr("symbol", (node.id,))
        if node.id == "inf":
            return Expr("float", ("inf",))
        raise GuardError(f"the name {node.id[:40]}")

    def unary(self, node: Any, depth: int) -> Dim:
        return Expr(_look_up(_UNARY, node.op), (self.value(node.operand, depth),))

    def binary(self, node: Any, depth: int) -> Dim:
        return Expr(_look_up(_BINARY, node.op), (self.value(node.left, depth), self.value(node.right, depth)))

    def chain(self, node: Any, depth: int) -> Dim:
        return _joined("and" if isinstance(node.op, ast.And) else "or", [self.value(item, depth) for item in node.values])

    def compare(self, node: Any, depth: int) -> Dim:
        sides = [self.value(item, depth) for item in (node.left, *node.comparators)]
        pairs = zip(sides, node.ops, sides[1:], strict=False)
        return _joined("and", [Expr(_look_up(_COMPARE, sign), (left, right)) for left, sign, right in pairs])

    def choice(self, node: Any, depth: int) -> Dim:
        return Expr("where", tuple(self.value(item, depth) for item in (node.test, node.body, node.orelse)))

    def attribute(self, node: Any, _depth: int) -> Dim:
        if isinstance(node.value, ast.Name) and node.value.id == "math" and node.attr in {"inf", "nan"}:
            return Expr("float", (node.attr,))
        return self._number(self._inputs.find(_path(node)))

    def subscript(self, node: Any, depth: int) -> Dim:
        method = node.value
        if _is_method(method, "size") and not method.args:
            return self._size(method, self._place(node.slice))
        if isinstance(method, ast.Attribute) and method.attr == "shape":
            return self._size_at(_path(method.value), self._place(node.slice))
        return self.attribute(node, depth)

    def call(self, node: Any, depth: int) -> Dim:
        if _is_method(node, "size") and len(node.args) == 1:
            return self._size(node, self._place(node.args[0]))
        if node.keywords:
            raise GuardError("named arguments")
        function = ast.unparse(node.func)
        if function not in _FUNCTIONS:
            raise GuardError(f"the function {function[:40]}")
        return Expr(_FUNCTIONS[function], tuple(self.value(item, depth) for item in node.args))

    def _place(self, node: ast.AST) -> int:
        place = node.value if isinstance(node, ast.Constant) else None
        if type(place) is not int:
            raise GuardError("an axis that is no number")
        return place

    def _size(self, method: Any, axis: int) -> Dim:
        return self._size_at(_path(method.func.value), axis)

    def _size_at(self, path: Path, axis: int) -> Dim:
        tensor = self._inputs.find(path)
        if not isinstance(tensor, Tensor) or not 0 <= axis < len(tensor.shape):
            raise GuardError(f"the size {axis} of {'.'.join(path)}")
        return tensor.shape[axis]

    def _number(self, value: Value) -> Dim:
        if isinstance(value, (int, Expr)):
            return value
        if isinstance(value, float):
            return Expr("float", (repr(value),))
        raise GuardError("an input that is no number")


def _joined(operator: str, parts: list[Dim]) -> Dim:
    return parts[0] if len(parts) == 1 else Expr(operator, tuple(parts))


def _look_up(table: Mapping[type, str], sign: ast.AST) -> str:
    if type(sign) not in table:
        raise GuardError(f"the operator {type(sign).__name__}")
    return table[type(sign)]


def _is_method(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name and not node.keywords


def _path(node: ast.AST) -> Path:
    """The keys of `L['x'][0].field`."""
    keys: list[str] = []
    while not _is_locals(node):
        if isinstance(node, ast.Attribute):
            keys.append(node.attr)
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            keys.append(str(node.slice.value))
        else:
            raise GuardError(f"the source {ast.unparse(node)[:40]}")
        node = node.value
    return tuple(reversed(keys))


_FORMS: Mapping[type, Callable[[_Reader, Any, int], Dim]] = {
    ast.Constant: _Reader.constant,
    ast.Name: _Reader.name,
    ast.UnaryOp: _Reader.unary,
    ast.BinOp: _Reader.binary,
    ast.BoolOp: _Reader.chain,
    ast.Compare: _Reader.compare,
    ast.IfExp: _Reader.choice,
    ast.Attribute: _Reader.attribute,
    ast.Subscript: _Reader.subscript,
    ast.Call: _Reader.call,
}

_UNARY: Mapping[type, str] = {ast.USub: "neg", ast.Not: "not"}

_BINARY: Mapping[type, str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "truediv",
    ast.FloorDiv: "floordiv",
    ast.Mod: "mod",
    ast.Pow: "pow",
    ast.LShift: "lshift",
    ast.RShift: "rshift",
    ast.BitAnd: "bitand",
    ast.BitOr: "bitor",
    ast.BitXor: "bitxor",
}

_COMPARE: Mapping[type, str] = {
    ast.Eq: "eq",
    ast.NotEq: "ne",
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Gt: "gt",
    ast.GtE: "ge",
}

_FUNCTIONS: Mapping[str, str] = {
    "abs": "abs",
    "Abs": "abs",
    "bool": "truth",
    "ceiling": "ceil",
    "CeilToInt": "ceil",
    "CleanDiv": "floordiv",
    "Eq": "eq",
    "float": "to_float",
    "FloatPow": "floatpow",
    "FloatTrueDiv": "floatdiv",
    "floor": "floor",
    "FloorDiv": "floordiv",
    "FloorToInt": "floor",
    "int": "trunc",
    "IntTrueDiv": "truediv",
    "Max": "max",
    "max": "max",
    "Min": "min",
    "min": "min",
    "Mod": "mod",
    "Ne": "ne",
    "PowByNatural": "pow",
    "PythonMod": "mod",
    "round": "round",
    "RoundToInt": "round",
    "ToFloat": "to_float",
    "torch._sym_sqrt": "sqrt",
    "torch.sym_float": "to_float",
    "torch.sym_int": "trunc",
    "torch.sym_max": "max",
    "torch.sym_min": "min",
    "torch.sym_not": "not",
    "torch.sym_ite": "where",
    "trunc": "trunc",
    "TruncToFloat": "trunc_to_float",
    "TruncToInt": "trunc",
    "Where": "where",
    **{
        f"math.{name}": name
        for name in (
            *("ceil", "floor", "trunc", "fabs", "sqrt", "cos", "cosh", "sin", "sinh", "tan", "tanh", "asin", "acos"),
            *("atan", "asinh", "acosh", "atanh", "exp", "log", "log2", "log10"),
        )
    },
}
"""Functions of Python, torch and sympy that occur in guards, to what `fxprof.trace.arithmetic` calls them."""
