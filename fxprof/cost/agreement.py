"""Whether a graph agrees with itself: each operator's results are held to what its operands give.

A graph that was written by torch always does. One that was edited, or damaged, would be counted by sizes that no run has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from reprlib import Repr
from typing import Any

from fxprof.cost import results_contractions, results_views  # noqa: F401 - importing them fills the table
from fxprof.cost.registry import Shape, spellings
from fxprof.cost.results import RULES, Arguments, ClashError, Expected, Rule, UnknownError, tensors_in, write_shape
from fxprof.cost.steps import TOO_MANY, Steps
from fxprof.errors import TargetError
from fxprof.trace import Expr, Op, Sizes, Tensor, Trace, UnboundSymbolError
from fxprof.trace.captured import Capture
from fxprof.trace.shapes import write_shapes
from fxprof.trace.symbols import in_short


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
    named = ((name, value) for name, value in op.args if value is not None and next(tensors_in(value), None) is None)
    for name, value in islice(named, _FEW):
        yield f"{name}={_SHORT.repr(in_short(value) if isinstance(value, Expr) else value)}"


_FEW = 4
_SHORT = Repr()
_SHORT.maxtuple = _SHORT.maxlevel = _FEW


def _listed(shapes: Sequence[Any]) -> str:
    """The first few shapes; an operator may have a million results."""
    return ", ".join([*map(write_shape, shapes[:_SHOWN]), *(["..."] if len(shapes) > _SHOWN else [])])


_SHOWN = 10


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and all(type(size) is int for size in value)


def _place(op: Op) -> str:
    path = op.stack[-1].path if op.stack else ""
    where = f" in {path}" if path else ""
    return f"{op.target}{where}{f' ({op.source})' if op.source else ''}"
