"""The guards of an exported program: conditions on the sizes of its inputs, as torch writes them in Python.

A small grammar reads guard code into expressions. The code is neither compiled nor evaluated.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fxprof import limits
from fxprof.strict_json import read_json
from fxprof.trace.records import Tensor, Value
from fxprof.trace.symbols import Dim, Expr

_LONGEST = limits.EXPRESSION
_DEEPEST = 40
"""Nested parentheses in a guard, and nested containers in an input."""
_MOST_LEVELS = limits.EXPRESSION_LEVELS
_WORDS = 1_000
"""Characters of a guard in people's notation, which may repeat long names of inputs many times."""

Path = tuple[str, ...]
"""The path of an input: the name of the argument, then keys, numbers and fields."""


class GuardError(ValueError):
    """A guard has a form that fxprof does not know."""


class Inputs:
    """The inputs of a program by the names that its guards give them.

    Args:
        values: the values of all inputs in order, including constants.
        names: the names of the graph's own inputs, in the same order; "" for an input without one.
        paths: the paths from `input_paths`, in the same order; empty if unknown.
    """

    def __init__(self, values: Sequence[Value], names: Sequence[str], paths: Sequence[Path]) -> None:
        self._values = values
        self._listed = list(names)
        whole = len(paths) == len(values)
        self._paths = _places(paths if whole else ())
        self._joined = _places(["_".join(path) for path in paths] if whole else ())
        self._names = _places([name.lower() for name in names])

    def find(self, path: Path) -> Value:
        """The value at a path.

        Raises:
            GuardError: the path matches no input, or more than one.
        """
        for table, key in (
            (self._paths, path),
            (self._joined, "_".join(path)),
            (self._paths, path[1:]),  # for `**kwargs`, whose name may be missing in the path
            (self._names, re.sub(r"\W", "_", "_".join(path)).lower()),
        ):
            place = table.get(key)
            if place is not None:
                return self._at(place)
        if len(path) == 2 and path[0] == _FLAT and path[1].isdecimal():  # noqa: PLR2004 - the list, and the position in it
            return self._at(int(path[1][:9]))
        raise GuardError(f"no input {'.'.join(path)}")

    def words(self, path: Path, words: str) -> str:
        """The words for an input in a message: its name, also where a strict export has only a number."""
        number = int(path[1][:9]) if len(path) > 1 and path[0] == _FLAT and path[1].isdecimal() else len(self._listed)
        return self._listed[number] if number < len(self._listed) and self._listed[number] else words

    def _at(self, place: int) -> Value:
        if place < 0 or place >= len(self._values):
            raise GuardError("an input that does not exist")
        return self._values[place]


_FLAT = "flat_args"
"""The list that holds all inputs of a strict export."""


def _places(keys: Sequence[Any]) -> dict[Any, int]:
    """Key to its position, without repeated keys."""
    times = Counter(keys)
    return {key: place for place, key in enumerate(keys) if key and times[key] == 1}


def input_paths(spec: object, names: object) -> list[Path]:
    """The paths of a program's inputs, in order; empty if the spec cannot be read.

    Args:
        spec: the containers of the inputs as torch writes them: JSON of `[1, {"type": ..., "children_spec": [...]}]`.
        names: the names of the arguments of `forward`.
    """
    if not isinstance(spec, str) or len(spec) > _LONGEST * 50 or not isinstance(names, list):
        return []
    try:
        _, whole = _read_json(spec)
        positional, named = whole["children_spec"]
        keys = [*names[: len(positional["children_spec"])], *_read_json(named["context"])]
        children = [*positional["children_spec"], *named["children_spec"]]
        return [path for key, child in zip(keys, children, strict=True) for path in _leaves(child, (str(key),))]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def _read_json(text: object) -> Any:
    if not isinstance(text, str):
        raise TypeError
    return read_json(text, values=limits.GRAPH_VALUES, repeats=True)


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
    names = _read_json(context) if isinstance(context, str) and context.startswith("[") else None
    if isinstance(names, list) and names and isinstance(names[0], list):
        names = names[0]
    if isinstance(names, list) and len(names) == number:
        return [str(name) for name in names]
    return [str(place) for place in range(number)]


def read_guard(text: str, inputs: Inputs, *, symbols: bool = False) -> tuple[Dim, str]:
    """A condition as an expression, and in people's notation: `x.size()[0] % 4 == 0`.

    Args:
        text: such as `(L['x'].size()[0] % 4) == 0`.
        inputs: the inputs that it names.
        symbols: whether plain names are symbols, as in the ranges of a program.

    Raises:
        GuardError: it has a form that fxprof does not know.
    """
    if len(text) > _LONGEST:
        raise GuardError(f"a guard of {len(text):,} characters")
    reader = _Reader(_split(text), inputs, symbols=symbols)
    part = reader.choice(0)
    reader.end()
    return part.value, part.words


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a guard, already read."""

    value: Dim
    words: str
    level: int
    """The precedence of its outermost operator; see `_LEVELS`."""
    deep: int = 0
    """The number of nested expressions, without those of the inputs' sizes."""

    def within(self, level: int) -> str:
        """Its words as an operand, in parentheses if needed."""
        return self.words if self.level >= level else f"({self.words})"


def _made(operator: str, parts: Sequence[_Part], words: str, level: int) -> _Part:
    """Combine parts into an expression.

    Raises:
        GuardError: it is deeper than any real guard. The depth of a chain such as `a + b - c + d` equals its length.
    """
    deep = 1 + max((part.deep for part in parts), default=0)
    if deep > _MOST_LEVELS:
        raise GuardError("a guard with too many levels")
    return _Part(Expr(operator, tuple([part.value for part in parts])), _cut(words), level, deep)


def _cut(words: str) -> str:
    return words if len(words) <= _WORDS else f"{words[: _WORDS - 3]}..."


_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d*)?(?:[eE][-+]?\d{1,3})?)|(?P<word>[A-Za-z_]\w*)|(?P<text>'[^'\\]*'|\"[^\"\\]*\")"
    r"|(?P<sign>\*\*|//|<<|>>|<=|>=|==|!=|[-+*/%&|^<>()\[\].,]))"
)
_MOST_DIGITS = 300


def _split(text: str) -> list[tuple[str, str]]:
    tokens, place, end = [], 0, len(text.rstrip())
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None:
            raise GuardError(f"the sign {text[place : place + 10]!r}")
        tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
        place = match.end()
    return [*tokens, ("end", "")]


_LEVELS: tuple[Mapping[str, str], ...] = (
    {"or": "or"},
    {"and": "and"},
    {},  # not
    {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"},
    {"|": "bitor"},
    {"^": "bitxor"},
    {"&": "bitand"},
    {"<<": "lshift", ">>": "rshift"},
    {"+": "add", "-": "sub"},
    {"*": "mul", "/": "truediv", "//": "floordiv", "%": "mod"},
)
"""Operators between two operands, lowest precedence first, to their names in `fxprof.trace.arithmetic`."""
_NOT, _COMPARED, _SIGNED, _RAISED, _WHOLE = 2, 3, len(_LEVELS), len(_LEVELS) + 1, len(_LEVELS) + 2


class _Reader:
    """Reads one guard from the left, with the precedences of Python."""

    def __init__(self, tokens: list[tuple[str, str]], inputs: Inputs, *, symbols: bool) -> None:
        self._tokens = tokens
        self._place = 0
        self._depth = 0
        self._inputs = inputs
        self._symbols = symbols

    def _next(self) -> str:
        return self._tokens[self._place][1]

    def _take(self) -> tuple[str, str]:
        token = self._tokens[self._place]
        self._place += token[0] != "end"
        return token

    def _accept(self, sign: str) -> bool:
        matches = self._next() == sign and self._tokens[self._place][0] in {"sign", "word"}
        self._place += matches
        return matches

    def _expect(self, sign: str) -> None:
        if not self._accept(sign):
            raise GuardError(f"{self._next()[:20]!r} instead of {sign!r}")

    def end(self) -> None:
        if self._tokens[self._place][0] != "end":
            raise GuardError(f"a rest after the condition: {self._next()[:20]!r}")

    def choice(self, level: int) -> _Part:
        """An expression; at the lowest precedence, `yes if condition else no`."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise GuardError("a guard that nests too deeply")
        part = self._binary(level)
        if level == 0 and self._accept("if"):
            condition = self._binary(0)
            self._expect("else")
            other = self.choice(0)
            words = f"{part.within(0)} if {condition.within(0)} else {other.words}"
            part = _made("where", (condition, part, other), words, -1)
        self._depth -= 1
        return part

    def _binary(self, level: int) -> _Part:
        if level == _NOT:
            return self._negated()
        if level == _SIGNED:
            return self._signed()
        if level == _COMPARED:
            return self._compared()
        part = self._binary(level + 1)
        while self._is_between(level):
            sign = self._next()
            parts, words = [part], part.within(level)
            # A chain of one sign becomes one expression of many operands, also applied from the left.
            while self._is_between(level) and self._next() == sign:
                self._take()
                parts.append(self._binary(level + 1))
                words = _cut(f"{words} {sign} {parts[-1].within(level + 1)}")
            part = _made(_LEVELS[level][sign], parts, words, level)
        return part

    def _is_between(self, level: int) -> bool:
        """Whether the next token is an operator between two operands."""
        return self._next() in _LEVELS[level] and self._tokens[self._place][0] != "text"

    def _negated(self) -> _Part:
        if not self._accept("not"):
            return self._binary(_NOT + 1)
        part = self.choice(_NOT)
        return _made("not", (part,), f"not {part.within(_NOT)}", _NOT)

    def _compared(self) -> _Part:
        """A chain of comparisons, which must all hold."""
        first = self._binary(_COMPARED + 1)
        words, comparisons, left = first.within(_COMPARED + 1), list[_Part](), first
        while self._next() in _LEVELS[_COMPARED]:
            sign = self._take()[1]
            right = self._binary(_COMPARED + 1)
            words = _cut(f"{words} {sign} {right.within(_COMPARED + 1)}")
            comparisons.append(_made(_LEVELS[_COMPARED][sign], (left, right), words, _COMPARED))
            left = right
        if not comparisons:
            return first
        return comparisons[0] if len(comparisons) == 1 else _made("and", comparisons, words, _COMPARED)

    def _signed(self) -> _Part:
        if self._accept("-"):
            part = self.choice(_SIGNED)
            return _made("neg", (part,), f"-{part.within(_SIGNED)}", _SIGNED)
        if self._accept("+"):
            return self.choice(_SIGNED)
        base = self._atom()
        if not self._accept("**"):
            return base
        exponent = self.choice(_SIGNED)
        words = f"{base.within(_WHOLE)} ** {exponent.within(_SIGNED)}"
        return _made("pow", (base, exponent), words, _RAISED)

    def _atom(self) -> _Part:
        kind, text = self._take()
        if text == "(" and kind == "sign":
            part = self.choice(0)
            self._expect(")")
            return part
        if kind == "number" and len(text) <= _MOST_DIGITS:
            return _Part(int(text) if text.isdecimal() else Expr("float", (repr(float(text)),)), text, _WHOLE)
        if kind == "word":
            return self._named(text)
        raise GuardError(f"{text[:20]!r} instead of an operand")

    def _named(self, name: str) -> _Part:
        if name in _CONSTANTS:
            return _Part(_CONSTANTS[name], name, _WHOLE)
        if name == "L":
            return self._source()
        while self._accept("."):
            name += f".{self._take()[1]}"
        if name in _CONSTANTS:
            return _Part(_CONSTANTS[name], name, _WHOLE)
        if self._accept("("):
            return self._call(name)
        if self._symbols and name.isidentifier():
            return _Part(Expr("symbol", (name,)), name, _WHOLE)
        raise GuardError(f"the name {name[:40]}")

    def _call(self, name: str) -> _Part:
        if name not in _FUNCTIONS:
            raise GuardError(f"the function {name[:40]}")
        parts = []
        while not self._accept(")"):
            parts.append(self.choice(0))
            if self._next() != ")":
                self._expect(",")
        words = f"{name}({', '.join(part.words for part in parts[:_WORDS])})"
        return _made(_FUNCTIONS[name], parts, words, _WHOLE)

    def _source(self) -> _Part:
        """An input, or a size of one: `L['x'][0].size()[1]`."""
        keys: list[str] = []
        words: list[str] = []
        while True:
            if self._accept("["):
                kind, text = self._take()
                self._expect("]")
                keys.append(_key(kind, text))
                words.append(keys[0] if len(keys) == 1 and keys[0].isidentifier() else f"[{text}]")
            elif self._next() == "." and self._tokens[self._place + 1][1] in {"size", "shape"}:
                return self._sized(tuple(keys), "".join(words))
            elif self._accept("."):
                keys.append(self._take()[1])
                words.append(f".{keys[-1]}")
            else:
                value = _number(self._inputs.find(tuple(keys)))
                return _Part(value, self._inputs.words(tuple(keys), "".join(words)), _WHOLE)

    def _sized(self, path: Path, words: str) -> _Part:
        self._expect(".")
        method = self._take()[1]
        if method == "size":
            self._expect("(")
        inside = method == "size" and not self._accept(")")
        if not inside:
            self._expect("[")
        kind, axis = self._take()
        self._expect(")" if inside else "]")
        if kind != "number" or not axis.isdecimal() or len(axis) > 2:  # noqa: PLR2004 - no tensor has a hundred axes
            raise GuardError("an axis that is not a number")
        tensor = self._inputs.find(path)
        if not isinstance(tensor, Tensor) or int(axis) >= len(tensor.shape):
            raise GuardError(f"the size {axis} of {'.'.join(path)[:40]}")
        return _Part(tensor.shape[int(axis)], f"{self._inputs.words(path, words)}.size()[{axis}]", _WHOLE)


def _key(kind: str, text: str) -> str:
    if kind not in {"text", "number"}:
        raise GuardError(f"the key {text[:40]}")
    return text[1:-1] if kind == "text" else text


def _number(value: Value) -> Dim:
    if isinstance(value, (int, Expr)):
        return value
    if isinstance(value, float):
        return Expr("float", (repr(value),))
    raise GuardError("an input that is not a number")


_CONSTANTS: Mapping[str, Dim] = {
    "True": 1,
    "False": 0,
    "inf": Expr("float", ("inf",)),
    "math.inf": Expr("float", ("inf",)),
    "math.nan": Expr("float", ("nan",)),
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
"""Functions of Python, torch and sympy that occur in guards, to their names in `fxprof.trace.arithmetic`."""
