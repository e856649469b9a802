"""What a captured graph says, without torch: frozen records that everything behind capture reads.

Imports the standard library only. A trace is made by `fxprof.capture.translate` from a live graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fxprof.trace.symbols import Dim, Expr


@dataclass(frozen=True, slots=True)
class Tensor:
    """The shape and type of a tensor; never its contents."""

    shape: tuple[Dim, ...]
    """Sizes, outermost first; an `Expr` where the graph was exported with dynamic shapes."""
    dtype: str
    """As torch prints it without the prefix: `float32`, `bfloat16`, `int64`."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One level of the module stack of an operator."""

    path: str
    """Dotted path below the component; "" is the component itself."""
    class_name: str
    """Class without its package: `Linear`, `SD3Transformer2DModel`."""
    visit: int = 0
    """0 for the first time that this module was called in the graph, 1 for the second, and so on."""


Value = Tensor | Expr | int | float | complex | bool | str | None | tuple["Value", ...]
"""What an argument can be. Lists become tuples; types, devices and memory formats become their names."""


@dataclass(frozen=True, slots=True)
class Subgraph:
    """The body of a higher-order operator."""

    name: str
    """The operator's argument that holds it: `true_fn`, `combine_fn`, `subgraph`."""
    ops: tuple[Op, ...]


@dataclass(frozen=True, slots=True)
class Op:
    """One node of a graph that computes something."""

    target: str
    """`aten.conv2d.default`; a higher-order operator is `higher_order.cond`, a Python function `operator.mul`."""
    args: tuple[tuple[str, Value], ...]
    """(name in the operator's schema, value), in the schema's order; arguments that the caller left out are not there."""
    outputs: tuple[Value, ...]
    """One entry per result; not a `Tensor` where the operator returns a plain or symbolic number."""
    stack: tuple[Frame, ...] = ()
    """Outermost module first. Empty in some bodies of higher-order operators: they inherit their operator's."""
    source: str | None = None
    """`package/file.py:12`, the innermost line outside torch."""
    subgraphs: tuple[Subgraph, ...] = ()

    def argument(self, name: str) -> Value:
        """The value of the argument called `name`, or None when the operator has no such argument."""
        return next((value for key, value in self.args if key == name), None)


@dataclass(frozen=True, slots=True)
class Trace:
    """One captured graph."""

    ops: tuple[Op, ...]
    inputs: tuple[tuple[str, Value], ...] = ()
    """(name, value) of the graph's inputs as the caller gave them, nested containers flattened to dotted names."""
    symbols: tuple[tuple[str, int], ...] = ()
    """(symbol, its size in the example inputs), for graphs exported with dynamic shapes."""

    def walk(self) -> Iterator[Op]:
        """All operators, those of the bodies of higher-order operators after their operator."""
        yield from _walk(self.ops)


def _walk(ops: tuple[Op, ...]) -> Iterator[Op]:
    for op in ops:
        yield op
        for subgraph in op.subgraphs:
            yield from _walk(subgraph.ops)
