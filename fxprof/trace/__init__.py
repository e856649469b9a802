"""What a graph says: operators, shapes, module stacks. Standard library only."""

from fxprof.trace.records import Frame, Op, Subgraph, Tensor, Trace, Value
from fxprof.trace.symbols import Dim, Expr, UnboundSymbolError, evaluate, evaluate_size

__all__ = [
    "Dim",
    "Expr",
    "Frame",
    "Op",
    "Subgraph",
    "Tensor",
    "Trace",
    "UnboundSymbolError",
    "Value",
    "evaluate",
    "evaluate_size",
]
