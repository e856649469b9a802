"""A consistency check of graphs: each operator's results must fit its operands.

A graph that torch wrote always passes. An edited or damaged one would be counted at sizes that no run can have.
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
    """Check every graph of a capture.

    Args:
        capture: a capture that was read from files.
        name: its name in errors.

    Raises:
        TargetError: the results of an operator do not fit its operands, or the search for the cheapest orders of all products
            would take too long.
    """
    steps = Steps()
    for component in capture.components:
        for call in component.calls:
            check_trace(call.trace, f"{name}: {component.name}" if len(capture.components) > 1 else name, steps)


def check_trace(trace: Trace, name: str, steps: Steps | None = None) -> None:
    """Check one graph, as in `check_capture`, with the remaining steps for its formulas."""
    steps = steps or Steps()
    sizes = trace.sizes()
    known: dict[str, tuple[Rule | None, str]] = {}
    for op in trace.distinct():
        if op.target not in known:
            known[op.target] = _find(op.target), spellings(op.target)[-1]
        rule, called = known[op.target]
        if not steps.enough(op, called):
            raise TargetError(f"cannot count {name}: {op.target}: {TOO_MANY}")
        if rule is not None:
            fault = _fault(op, rule, sizes)
            if fault:
                shown = fault if len(fault) <= _LONGEST else f"{fault[: _LONGEST - 3]}..."
                raise TargetError(f"cannot count {name}: {_place(op)}: {shown}", _REMEDY)


_LONGEST = 300
"""Characters of a fault in a message."""
_REMEDY = "the graph contradicts itself, so no run has these sizes; export the program again"


def _find(target: str) -> Rule | None:
    return next((RULES[name] for name in spellings(target) if name in RULES), None)


def _fault(op: Op, rule: Rule, sizes: Sizes) -> str:
    """The fault of an operator; "" for none, or for a size without a value."""
    try:
        expected = rule(Arguments(op, sizes))
        wanted = _shapes(expected)
        outs = [tuple(sizes.size(size) for size in value.shape) for value in op.outputs if isinstance(value, Tensor)]
    except ClashError as error:
        return f"{error} ({write_shapes(op, sizes)})"
    except (UnknownError, UnboundSymbolError):
        return ""
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        # The operator cannot have such a rank or kind of argument: rules need not check each one.
        return f"its arguments do not fit it ({', '.join([*_plain(op), write_shapes(op, sizes)])})"
    if not wanted or not outs:
        return ""
    if outs[: len(wanted)] == wanted:
        return ""
    return f"its operands give {_listed(wanted)}, but the graph says {_listed(outs)}"


def _shapes(expected: Expected) -> list[Shape]:
    """The shapes from a rule; none if the rule does not know them.

    Raises:
        TypeError: the rule gave something else, because an argument is not of the kind that it expects.
    """
    if expected is None:
        return []
    shapes: list[Any] = [expected] if _is_shape(expected) else list(expected)
    if not all(map(_is_shape, shapes)):
        raise TypeError(expected)
    return shapes


def _plain(op: Op) -> Iterator[str]:
    """The first few arguments other than tensors, in short."""
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
