"""Where a run of a pipeline broke off: in which component's Python, called with what, and why."""

from __future__ import annotations

from dataclasses import dataclass

from fxprof.trace import Frame, Op, Trace, Value
from fxprof.trace.captured import NOT_CAPTURED


@dataclass(frozen=True, slots=True)
class Failure:
    """A call of a component that could be neither exported nor run."""

    component: str
    entry: str
    """Path of the module that the pipeline had called, below the component."""
    inputs: tuple[tuple[str, Value], ...]
    """What it was called with; empty when it was called through a method of its own."""
    stack: tuple[Frame, ...]
    """Down to the innermost module in whose Python the error was raised."""
    reason: str

    @property
    def trace(self) -> Trace:
        """What stands for the call: one operator that nothing counts."""
        reason = f"{self.reason}; the rehearsal ended here, and what the pipeline computes later is not in the totals"
        return Trace((Op(NOT_CAPTURED, (("reason", reason),), (), self.stack),), self.inputs)

    @property
    def place(self) -> tuple[str, str]:
        """Component and path of the innermost module."""
        return self.component, self.stack[-1].path
