"""The steps that formulas with a search over orders of products may take together."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fxprof import limits
from fxprof.trace import Op


class Steps:
    """The remaining steps for one target or one graph."""

    def __init__(self) -> None:
        self._left = limits.FORMULA_STEPS

    def enough(self, op: Op, target: str) -> bool:
        """Spend the steps for one more operator, and return whether there were enough.

        Args:
            op: the operator.
            target: the name of its formula, such as `aten.einsum`.
        """
        steps = _STEPS.get(target)
        if steps is not None:
            operands = max((len(value) for _, value in op.args if isinstance(value, tuple)), default=0)
            # A formula refuses too many operands itself, at once.
            self._left -= steps(operands) if operands <= limits.EINSUM_OPERANDS else 0
        return self._left >= 0


_STEPS: Mapping[str, Callable[[int], int]] = {
    "aten.chain_matmul": lambda operands: operands**3 if operands <= limits.CHAIN else 0,
    "aten.linalg_multi_dot": lambda operands: operands**3 if operands <= limits.CHAIN else 0,
    "aten.einsum": lambda operands: 100 * operands,
}
"""Operators whose formulas take many steps, to the number of steps by the number of operands."""

TOO_MANY = "the graph has too many products of many operands, and finding the cheapest order of each takes too long"
