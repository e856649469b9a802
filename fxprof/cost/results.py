"""What operators give: the table of rules, and what a rule is written with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from fxprof.cost.registry import Shape
from fxprof.trace import Expr, Op, Sizes, Tensor, Value

Expected = Shape | Sequence[Shape] | None
"""The shape of the one result, or of each; None where it cannot be told."""
Rule = Callable[["Arguments"], Expected]

RULES: dict[str, Rule] = {}
"""Operator, as `fxprof.cost.registry` names it, to what its results are."""


class ClashError(Exception):
    """Two operands that do not fit together; the text says how."""


def clash(text: str) -> NoReturn:
    """Refuse the operator."""
    raise ClashError(text)


def need(condition: bool, text: str) -> None:
    """Refuse the operator unless the condition holds."""
    if not condition:
        clash(text)


def rule(*targets: str) -> Callable[[Rule], Rule]:
    """Declare what the results of operators are."""

    def declare(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(targets, function))
        return function

    return declare


def named(rules: Mapping[str, str], of: Rule) -> None:
    """Declare one rule for operators of several namespaces, each a text of names."""
    for namespace, names in rules.items():
        rule(*(f"{namespace}.{name}" for name in names.split()))(of)


class Arguments:
    """The arguments of one operator, sizes evaluated: tensors as shapes, lists as tuples."""

    def __init__(self, op: Op, sizes: Sizes) -> None:
        self._given = dict(op.args)
        self._sizes = sizes
        self.target = op.target

    def __contains__(self, name: str) -> bool:
        """Whether the caller gave it, and not as None."""
        return self._given.get(name) is not None

    def value(self, name: str, default: Any = None) -> Any:
        """A plain value, or a list of them."""
        found = self._given.get(name)
        return default if found is None else self._plain(found)

    def shape(self, *names: str) -> Shape:
        """The shape of the first of these that is a tensor; there has to be one."""
        for name in names:
            found = self._given.get(name)
            if isinstance(found, Tensor):
                return self._shape(found)
        raise UnknownError

    def optional(self, name: str) -> Shape | None:
        """The shape of a tensor that may be missing."""
        found = self._given.get(name)
        return self._shape(found) if isinstance(found, Tensor) else None

    def shapes(self, *names: str) -> list[Shape]:
        """The shapes of the tensors in lists, or of all arguments; what is no tensor is left out."""
        values = [self._given.get(name) for name in names] if names else list(self._given.values())
        return [self._shape(tensor) for value in values for tensor in tensors_in(value)]

    def sizes(self, name: str, rank: int, default: int = 1) -> tuple[int, ...]:
        """One number for each of the axes; one for all of them stands for each."""
        found = self.value(name, default)
        values = tuple(found) if isinstance(found, tuple) else (found,)
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
    """An operator in a form for which there is no rule."""


def tensors_in(value: Value) -> Iterator[Tensor]:
    """The tensors in an argument, and in lists of them."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from tensors_in(item)


def broadcast(*shapes: Shape) -> Shape:
    """The common shape of tensors that broadcast.

    Raises:
        ClashError: they do not.
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
    """An axis that may be counted from the end, from the front."""
    need(-max(rank, 1) <= axis < max(rank, 1), f"axis {axis} of a tensor of {rank} axes")
    return axis % max(rank, 1)


def write_shape(shape: Any) -> str:
    """`2x77x768`, for people."""
    return "x".join(map(str, shape)) or "a number"
