"""The amount that may still be read from one file, or from all files of a captured run.

A bound per graph would not bound anything: a file may hold a thousand graphs, and a run a thousand files.
"""

from __future__ import annotations

from fxprof import limits
from fxprof.trace.fields import fail


class Allowance:
    """Counts the parts of each kind read so far, and refuses a file that exceeds a limit."""

    def __init__(self) -> None:
        self.hints = 0
        """Expressions whose values at the example inputs must be checked."""
        self._values = 0
        self._operators = 0
        self._modules = 0
        self._stacks = 0
        self._expressions = 0
        self._guards = 0

    def values(self, count: int, where: str) -> None:
        """Count the values of one more JSON text.

        Raises:
            FaultError: they are too many, as in all methods below.
        """
        self._values += count
        if self._values > limits.GRAPH_VALUES:
            fail(where, f"holds some {count:,} values, more than {limits.GRAPH_VALUES:,}{_with(self._values - count)}")

    def operator(self, where: str) -> None:
        """Count one more operator."""
        self._operators += 1
        if self._operators > limits.GRAPH_OPERATORS:
            fail(where, f"is one operator too many: a file or a captured run has at most {limits.GRAPH_OPERATORS:,}")

    def stack(self, text: str, where: str) -> None:
        """Count the text of one more module stack."""
        self._stacks += len(text)
        if len(text) > limits.STACK or self._stacks > limits.STACKS:
            fail(where, f"holds {len(text):,} characters, and all such stacks {self._stacks:,}, as no graph does")

    def modules(self, count: int, where: str) -> None:
        """Count the modules of one more stack."""
        self._modules += count
        if count > limits.STACK_MODULES or self._modules > limits.STACKED_MODULES:
            fail(where, f"is of {count:,} modules, each in the one before, and all such stacks of {self._modules:,}")

    def expression(self, text: str, where: str) -> None:
        """Count one more expression."""
        self._expressions += len(text)
        if self._expressions > limits.EXPRESSIONS:
            fail(where, f"holds one expression too many: together they have more than {limits.EXPRESSIONS:,} characters")

    def guards(self, length: int, where: str) -> None:
        """Count the guards, or the ranges, of one more program by their characters."""
        self._guards += length
        if self._guards > limits.GUARDS:
            fail(where, f"holds {length:,} characters, more than {limits.GUARDS:,}{_with(self._guards - length)}")


def _with(before: int) -> str:
    return f" with the {before:,} before it" if before else ""
