"""The bytes of a tensor's elements, by element type."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from fxprof.trace.records import Tensor
from fxprof.trace.symbols import Sizes

_BY_SIZE = {
    1: (
        *("bool", "uint8", "int8", "quint8", "qint8", "float4_e2m1fn_x2", "bits8", "bits1x8", "bits2x4", "bits4x2"),
        *("quint4x2", "quint2x4", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"),
        *(f"{sign}int{bits}" for sign in ("", "u") for bits in range(1, 8)),
    ),
    2: ("uint16", "int16", "float16", "bfloat16", "bits16"),
    4: ("uint32", "int32", "float32", "qint32", "complex32"),
    8: ("uint64", "int64", "float64", "complex64"),
    16: ("complex128",),
}
BYTES: Mapping[str, int] = {name: size for size, names in _BY_SIZE.items() for name in names}
"""Element type, as torch prints it without the prefix, to its bytes; an element of a packed type holds several values."""


SHORT_DTYPES: Mapping[str, str] = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
"""Short names that people use for element types of models, to torch's names."""


class UnknownTypeError(Exception):
    """An element type that is not in the table."""


def bytes_of(tensor: Tensor, sizes: Sizes) -> int:
    """Bytes of all elements of a dense tensor.

    Raises:
        UnknownTypeError: its element type is not in the table.
        UnboundSymbolError: a size depends on a symbol without a value.
    """
    size_of_one = BYTES.get(tensor.dtype)
    if size_of_one is None:
        raise UnknownTypeError(tensor.dtype)
    return prod([size if type(size) is int else sizes.size(size) for size in tensor.shape]) * size_of_one
