"""The results of operators: the table of rules, and the tools for writing rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from fxprof.cost.registry import Shape
from fxprof.trace import Expr, Op, Sizes, Tensor, Value

Expected = Shape | Sequence[Shape] | None
"""The shape of a single result, or those of all results; None if unknown."""
Rule = Callable[["Arguments"], Expected]

RULES: dict[str, Rule] = {}
"""Operator, as `fxprof.cost.registry` names it, to the rule for its results."""


class ClashError(Exception):
    """Two operands do not fit together; the text says how."""


def clash(text: str) -> NoReturn:
    """Refuse the operator."""
    raise ClashError(text)


def need(condition: bool, text: str) -> None:
    """Refuse the operator unless the condition holds."""
    if not condition:
        clash(text)


def rule(*targets: str) -> Callable[[Rule], Rule]:
    """Declare the decorated function as the rule for the results of operators."""

    def declare(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(targets, function))
        return function

    return declare


def named(rules: Mapping[str, str], of: Rule) -> None:
    """Declare one rule for operators of several namespaces; each namespace has a text of names."""
    for namespace, names in rules.items():
        rule(*(f"{namespace}.{name}" for name in names.split()))(of)


class Arguments:
    """The arguments of one operator with evaluated sizes: tensors as shapes, lists as tuples."""

    def __init__(self, op: Op, sizes: Sizes) -> None:
        self._given = dict(op.args)
        self._sizes = sizes
        self.target = op.target

    def __contains__(self, name: str) -> bool:
        """Whether the caller gave the argument, with a value other than None."""
        return self._given.get(name) is not None

    def value(self, name: str, default: Any = None) -> Any:
        """A plain value, or a list of plain values."""
        given = self._given.get(name)
        return default if given is None else self._plain(given)

    def shape(self, *names: str) -> Shape:
        """The shape of the first of these arguments that is a tensor; one of them must be."""
        for name in names:
            given = self._given.get(name)
            if isinstance(given, Tensor):
                return self._shape(given)
        raise UnknownError

    def optional(self, name: str) -> Shape | None:
        """The shape of a tensor that may be missing."""
        given = self._given.get(name)
        return self._shape(given) if isinstance(given, Tensor) else None

    def shapes(self, *names: str) -> list[Shape]:
        """The shapes of the tensors in these arguments or lists, or in all arguments; other values are left out."""
        values = [self._given.get(name) for name in names] if names else list(self._given.values())
        return [self._shape(tensor) for value in values for tensor in tensors_in(value)]

    def sizes(self, name: str, rank: int, default: int = 1) -> tuple[int, ...]:
        """One number for each of `rank` axes; a single number applies to all axes."""
        value = self.value(name, default)
        values = tuple(value) if isinstance(value, tuple) else (value,)
        if any(type(value) is not int for value in values):
            raise UnknownError
        return values * rank if len(values) == 1 else values

    def _shape(self, tensor: Tensor) -> Shape:
        return tuple([size if type(size) is int else self._sizes.size(size) for size in tensor.shape])

    def _plain(self, value: Value) -> Any:
        if isinstance(value, Tensor):
            return self._shape(value)
        if isinstance(value, tuple):
            return tuple(self._plain(item) for item in value)
        return self._number(value) if isinstance(value, Expr) else value

    def _number(self, value: Expr) -> int | float:
        number = self._sizes.number(value)
        return int(number) if number == int(number) and not isinstance(number, float) else float(number)


class UnknownError(Exception):
    """No rule knows this form of an operator."""


def tensors_in(value: Value) -> Iterator[Tensor]:
    """The tensors in an argument or in its lists."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from tensors_in(item)


def broadcast(*shapes: Shape) -> Shape:
    """The common shape of tensors that broadcast.

    Raises:
        ClashError: the shapes do not broadcast.
    """
    rank = max(map(len, shapes), default=0)
    common = [1] * rank
    for shape in shapes:
        for axis, size in enumerate(shape, rank - len(shape)):
            if size != 1:
                need(common[axis] in (1, size), f"{write_shape(tuple(common))} and {write_shape(shape)} do not broadcast")
                common[axis] = size
    return tuple(common)


def axis_of(axis: int, rank: int) -> int:
    """The axis counted from the front; a negative one counts from the end."""
    need(-max(rank, 1) <= axis < max(rank, 1), f"axis {axis} of a tensor of {rank} axes")
    return axis % max(rank, 1)


def write_shape(shape: Any) -> str:
    """A shape for people: `2x77x768`."""
    return "x".join(map(str, shape)) or "a number"
