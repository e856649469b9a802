"""The contents of a captured graph: operators, shapes, module stacks."""

from fxprof.trace.records import (
    UNKNOWN_NNZ,
    Block,
    Frame,
    Occurrence,
    Op,
    Origin,
    Pairs,
    Subgraph,
    Tensor,
    Trace,
    Value,
    contiguous,
)
from fxprof.trace.symbols import Dim, Expr, Sizes, UnboundSymbolError, evaluate

__all__ = [
    "UNKNOWN_NNZ",
    "Block",
    "Dim",
    "Expr",
    "Frame",
    "Occurrence",
    "Op",
    "Origin",
    "Pairs",
    "Sizes",
    "Subgraph",
    "Tensor",
    "Trace",
    "UnboundSymbolError",
    "Value",
    "contiguous",
    "evaluate",
]
