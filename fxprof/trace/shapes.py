"""The shapes of an operator's tensors, as one line of text."""

from __future__ import annotations

from collections.abc import Iterator

from fxprof.trace.records import Op, Tensor, tensors_in
from fxprof.trace.symbols import Dim, Sizes, UnboundSymbolError, in_short


def write_shapes(op: Op, sizes: Sizes) -> str:
    """Operands and results: `2x4096x1536, 6144x1536, 6144 -> 2x4096x6144`; only tensors, in the schema's order.

    A size that depends on a symbol without a value is printed as its expression, a tensor without dimensions as `scalar`. A
    text longer than that of any real operator ends in dots.
    """
    operands, results = list(tensors_in([value for _, value in op.args])), list(tensors_in(op.outputs))
    if len(operands) + len(results) <= _FEW:
        given, made = [[_written(tensor, sizes) for tensor in tensors] for tensors in (operands, results)]
        text = f"{', '.join(given)} -> {', '.join(made)}"
    else:
        text = ""
        for piece in _pieces(operands, results, sizes):
            text += piece
            if len(text) > _LONGEST:
                break
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


_FEW = 20
"""Tensors whose text is written at once."""


def _pieces(operands: list[Tensor], results: list[Tensor], sizes: Sizes) -> Iterator[str]:
    """The text from the left: an operator may take a million tensors."""
    for before, tensors in (("", operands), (" -> ", results)):
        yield before
        for place, tensor in enumerate(tensors):
            yield f"{', ' if place else ''}{_written(tensor, sizes)}"


def write_types(op: Op) -> str:
    """The element types of the operands, each once, in the schema's order: `bfloat16`, or `int8 as float32, float32`.

    Truth values, such as masks, are left out if there are other types.
    """
    tensors = tensors_in([value for _, value in op.args])
    types = dict.fromkeys([f"{tensor.stored} as {tensor.dtype}" if tensor.stored else tensor.dtype for tensor in tensors])
    if len(types) == 1:
        return next(iter(types))
    return ", ".join([dtype for dtype in types if dtype != "bool"] or types)


_LONGEST = 2000
"""Characters of the line, enough for some hundred tensors."""


def _written(tensor: Tensor, sizes: Sizes) -> str:
    return "x".join([f"{size}" if type(size) is int else _size(size, sizes) for size in tensor.shape]) or "scalar"


def _size(size: Dim, sizes: Sizes) -> str:
    try:
        return str(sizes.size(size))
    except UnboundSymbolError:
        return in_short(size)
