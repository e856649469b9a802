"""The element types in which values are stored: a graph widens such values, for example 8-bit weights, before it uses them.

The rules are the same for a live graph and for a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fxprof.trace.records import Tensor

_NARROW = ("int8", "uint8", "int4", "uint4", "int2", "uint2", "float8", "float4", "qint", "quint", "bits")
"""Beginnings of the names of types that only store values; operators widen them first."""

_CASTS = frozenset({"to", "_to_copy", "type_as", "convert_element_type", "float", "dequantize"})

_KEEP = frozenset(
    (
        *("add", "sub", "mul", "div", "rsub", "to", "_to_copy", "clone", "contiguous", "detach", "alias", "t", "transpose"),
        *("permute", "view", "reshape", "_unsafe_view", "flatten", "unflatten", "expand", "squeeze", "unsqueeze", "slice"),
        *("select", "narrow"),
    )
)
"""Operators whose result is still the stored value: reshaped, scaled, or shifted."""


def with_stored(target: str, operands: Sequence[Tensor], result: Tensor) -> Tensor:
    """The result of an operator, with the stored type of its values if the operator widens them.

    Args:
        target: the operator, as in `Op.target`.
        operands: its tensors, in the order of its schema.
        result: its first result.
    """
    name = target.split(".")[1] if "." in target else target
    if not operands or result.dtype.startswith(_NARROW):
        return result
    first = operands[0]
    stored = ""
    if name.startswith("dequantize"):
        stored = first.stored or first.dtype
    elif name in _CASTS and first.dtype.startswith(_NARROW):
        stored = first.dtype
    elif name in _KEEP:
        stored = first.stored
    return replace(result, stored=stored) if stored else result
