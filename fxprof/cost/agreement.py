"""Whether a graph agrees with itself: each operator's results are held to what its operands give. Imports no torch.

A graph that was written by torch always does. One that was edited, or damaged, would be counted by sizes that no run has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from reprlib import Repr
from typing import Any, NoReturn

from fxprof.cost.registry import Shape, spellings
from fxprof.cost.steps import TOO_MANY, Steps
from fxprof.errors import TargetError
from fxprof.trace import Expr, Op, Sizes, Tensor, Trace, UnboundSymbolError, Value
from fxprof.trace.captured import Capture
from fxprof.trace.shapes import write_shapes
from fxprof.trace.symbols import in_short

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
        return [self._shape(tensor) for value in values for tensor in _tensors(value)]

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


def _tensors(value: Value) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _tensors(item)


def check_capture(capture: Capture, name: str) -> None:
    """Hold every graph of a capture to itself.

    Args:
        capture: read from files.
        name: what to call it in errors.

    Raises:
        TargetError: the results of an operator are not those that its operands give, or weighing the orders of all products
            would take for ever.
    """
    steps = Steps()
    for component in capture.components:
        for call in component.calls:
            check_trace(call.trace, f"{name}: {component.name}" if len(capture.components) > 1 else name, steps)


def check_trace(trace: Trace, name: str, steps: Steps | None = None) -> None:
    """As `check_capture`, of one graph, with the steps that are left for its formulas."""
    _load_rules()
    steps = steps or Steps()
    sizes = trace.sizes()
    known: dict[str, tuple[Rule | None, str]] = {}
    for op in trace.distinct():
        if op.target not in known:
            known[op.target] = _find(op.target), spellings(op.target)[-1]
        found, called = known[op.target]
        if not steps.enough(op, called):
            raise TargetError(f"cannot count {name}: {op.target}: {TOO_MANY}")
        if found is not None:
            fault = _fault(op, found, sizes)
            if fault:
                shown = fault if len(fault) <= _LONGEST else f"{fault[: _LONGEST - 3]}..."
                raise TargetError(f"cannot count {name}: {_place(op)}: {shown}", _REMEDY)


_LONGEST = 300
"""Characters that say what is wrong."""
_REMEDY = "the graph contradicts itself, so no run has these sizes; export the program anew"


def _load_rules() -> None:
    from fxprof.cost import results_contractions, results_views  # noqa: F401 - importing them fills the table


def _find(target: str) -> Rule | None:
    return next((RULES[name] for name in spellings(target) if name in RULES), None)


def _fault(op: Op, found: Rule, sizes: Sizes) -> str:
    """What is wrong with an operator; "" for nothing, or for a size without a value."""
    try:
        expected = found(Arguments(op, sizes))
        wanted = _shapes(expected)
        outs = [tuple(sizes.size(size) for size in value.shape) for value in op.outputs if isinstance(value, Tensor)]
    except ClashError as error:
        return f"{error} ({write_shapes(op, sizes)})"
    except (UnknownError, UnboundSymbolError):
        return ""
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        # A rank, or a kind of argument, that the operator cannot have: rules need not ask for it one by one.
        return f"its arguments do not fit it ({', '.join([*_plain(op), write_shapes(op, sizes)])})"
    if not wanted or not outs:
        return ""
    if outs[: len(wanted)] == wanted:
        return ""
    return f"its operands give {_listed(wanted)}, and it is said to give {_listed(outs)}"


def _shapes(expected: Expected) -> list[Shape]:
    """The shapes that a rule gives; none where it cannot tell.

    Raises:
        TypeError: it gives something else, because an argument is of another kind than the rule takes it for.
    """
    if expected is None:
        return []
    shapes: list[Any] = [expected] if _is_shape(expected) else list(expected)
    if not all(map(_is_shape, shapes)):
        raise TypeError(expected)
    return shapes


def _plain(op: Op) -> Iterator[str]:
    """The first few arguments that are no tensors, in short."""
    named = ((name, value) for name, value in op.args if value is not None and next(_tensors(value), None) is None)
    for name, value in islice(named, _FEW):
        yield f"{name}={_SHORT.repr(in_short(value) if isinstance(value, Expr) else value)}"


_FEW = 4
_SHORT = Repr()
_SHORT.maxtuple = _SHORT.maxlevel = _FEW


def _listed(shapes: Sequence[Any]) -> str:
    """The first few shapes; an operator may have a million results."""
    return ", ".join([*map(_written, shapes[:_SHOWN]), *(["..."] if len(shapes) > _SHOWN else [])])


_SHOWN = 10


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and all(type(size) is int for size in value)


def _written(shape: Any) -> str:
    return "x".join(map(str, shape)) or "a number"


def _place(op: Op) -> str:
    path = op.stack[-1].path if op.stack else ""
    where = f" in {path}" if path else ""
    return f"{op.target}{where}{f' ({op.source})' if op.source else ''}"


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
                need(common[axis] in (1, size), f"{_written(tuple(common))} and {_written(shape)} do not broadcast")
                common[axis] = size
    return tuple(common)


def axis_of(axis: int, rank: int) -> int:
    """An axis that may be counted from the end, from the front."""
    need(-max(rank, 1) <= axis < max(rank, 1), f"axis {axis} of a tensor of {rank} axes")
    return axis % max(rank, 1)


def named(rules: Mapping[str, str], of: Rule) -> None:
    """Declare one rule for operators of several namespaces, each a text of names."""
    for namespace, names in rules.items():
        rule(*(f"{namespace}.{name}" for name in names.split()))(of)
