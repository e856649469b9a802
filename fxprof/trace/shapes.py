"""The shapes that an operator works on, as one line of text. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from fxprof.trace.records import Op, Tensor, Value
from fxprof.trace.symbols import Dim, UnboundSymbolError, evaluate_size, in_short


def write_shapes(op: Op, symbols: Mapping[str, int]) -> str:
    """Operands and results: `2x4096x1536, 6144x1536, 6144 -> 2x4096x6144`; of tensors alone, in the schema's order.

    A size that depends on a symbol without a value reads as its expression, a tensor of no dimensions as `scalar`.
    """
    operands = ", ".join(_written(tensor, symbols) for tensor in _tensors(value for _, value in op.args))
    results = ", ".join(_written(tensor, symbols) for tensor in _tensors(op.outputs))
    return f"{operands} -> {results}"


def _tensors(values: Iterable[Value]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple):
            yield from _tensors(value)


def _written(tensor: Tensor, symbols: Mapping[str, int]) -> str:
    return "x".join([str(size) if type(size) is int else _size(size, symbols) for size in tensor.shape]) or "scalar"


def _size(size: Dim, symbols: Mapping[str, int]) -> str:
    try:
        return str(evaluate_size(size, symbols))
    except UnboundSymbolError:
        return in_short(size)
