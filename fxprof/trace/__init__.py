"""What a graph says: operators, shapes, module stacks. Standard library only."""

from fxprof.trace.records import Frame, Op, Subgraph, Tensor, Trace, Value
from fxprof.trace.symbols import Dim, Expr, Sizes, UnboundSymbolError, evaluate

__all__ = [
    "Dim",
    "Expr",
    "Frame",
    "Op",
    "Sizes",
    "Subgraph",
    "Tensor",
    "Trace",
    "UnboundSymbolError",
    "Value",
    "evaluate",
]
