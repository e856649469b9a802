"""Whether a graph agrees with itself: each operator's results are held to what its operands give. Imports no torch.

A graph that was written by torch always does. One that was edited, or damaged, would be counted by sizes that no run has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fxprof.cost import results_contractions, results_views  # noqa: F401 - importing them fills the table
from fxprof.cost.registry import spellings
from fxprof.cost.results import RULES, Arguments, ClashError, Rule, UnknownError, write_shape
from fxprof.errors import TargetError
from fxprof.trace import Op, Sizes, Tensor, Trace, UnboundSymbolError
from fxprof.trace.captured import Capture
from fxprof.trace.shapes import write_shapes


def check_capture(capture: Capture, name: str) -> None:
    """Hold every graph of a capture to itself.

    Args:
        capture: read from files.
        name: what to call it in errors.

    Raises:
        TargetError: the results of an operator are not those that its operands give.
    """
    for component in capture.components:
        for call in component.calls:
            check_trace(call.trace, f"{name}: {component.name}" if len(capture.components) > 1 else name)


def check_trace(trace: Trace, name: str) -> None:
    """As `check_capture`, of one graph."""
    sizes = trace.sizes()
    known: dict[str, Rule | None] = {}
    for op in trace.distinct():
        found = known[op.target] if op.target in known else known.setdefault(op.target, _find(op.target))
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
        outs = [tuple(sizes.size(size) for size in value.shape) for value in op.outputs if isinstance(value, Tensor)]
    except ClashError as error:
        return f"{error} ({write_shapes(op, sizes)})"
    except (UnknownError, UnboundSymbolError):
        return ""
    except (IndexError, ValueError, TypeError, ZeroDivisionError, OverflowError):
        # A rank, or a kind of argument, that the operator cannot have.
        return f"its arguments do not fit it ({write_shapes(op, sizes)})"
    if expected is None or not outs:
        return ""
    wanted = [expected] if _is_shape(expected) else list(expected)
    if outs[: len(wanted)] == wanted:
        return ""
    return f"its operands give {_listed(wanted)}, and it is said to give {_listed(outs)}"


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
