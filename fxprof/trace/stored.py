"""The element types in which values are stored: a graph widens such values, for example 8-bit weights, before it uses them.

The rules are the same for a live graph and for a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

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
    if not operands:
        return result
    first = operands[0]
    if not first.stored and not _is_narrow(first.dtype) and "dequantize" not in target:
        return result  # the usual case
    if _is_narrow(result.dtype):
        return result
    name, stored = target.split(".")[1] if "." in target else target, ""
    if name.startswith("dequantize"):
        stored = first.stored or first.dtype
    elif name in _CASTS and _is_narrow(first.dtype):
        stored = first.dtype
    elif name in _KEEP:
        stored = first.stored
    return replace(result, stored=stored) if stored else result


@lru_cache(maxsize=256)
def _is_narrow(dtype: str) -> bool:
    return dtype.startswith(_NARROW)
