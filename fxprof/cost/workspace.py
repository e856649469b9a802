"""Memory that kernels take for themselves on a CUDA device: estimates by stated rules, from published measurements.

*Convolutions in 16 bits.* cuDNN works on channels-last data: while such a convolution runs, it holds a copy of its input and
one of its result. Torch splits a convolution whose input or result has more than 2**31 - 1 elements along the batch, and the
copies are those of one part. Convolutions in 32 bits, and those whose kernel has one element, take none by this rule.

*Products of matrices.* cuBLAS gets fixed buffers at its first product and keeps them: 8.1 MiB, and 32 MiB on Hopper and later.

No graph shows any of this. `docs/memory.md` compares both rules with published peaks.
"""

from __future__ import annotations

from math import prod

from fxprof.trace import Op, Sizes, Tensor, UnboundSymbolError
from fxprof.trace.element_types import BYTES

CUBLAS = (8_519_680, 33_554_432)
"""Bytes of cuBLAS's buffers: before Hopper, and from there on (`CUBLAS_WORKSPACE_CONFIG` of `:4096:2:16:8` and `:4096:8`)."""

_CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d", "convolution", "_convolution", "conv_transpose2d", "conv_transpose3d"})
_HALF = 2
"""Bytes of an element of the types whose convolutions take copies."""
_MOST_ELEMENTS = 2**31 - 1


def workspace_bytes(op: Op, sizes: Sizes) -> int:
    """Bytes that a convolution is estimated to take beyond its tensors; 0 for every other operator."""
    name = op.target.split(".")[1] if op.target.startswith("aten.") else ""
    operand, weight, result = op.argument("input"), op.argument("weight"), next(iter(op.outputs), None)
    if name not in _CONVOLUTIONS or not (isinstance(operand, Tensor) and isinstance(result, Tensor)):
        return 0
    if not isinstance(weight, Tensor) or BYTES.get(result.dtype) != _HALF:
        return 0
    try:
        given, made, kernel = (tuple(map(sizes.size, tensor.shape)) for tensor in (operand, result, weight))
    except UnboundSymbolError:
        return 0
    if prod(kernel[2:]) == 1 or len(given) != len(kernel):
        return 0
    images = max(given[0], 1)
    largest = max(prod(given), prod(made))
    parts = -(-largest // _MOST_ELEMENTS) if images > 1 else 1
    return (prod(given) + prod(made)) * _HALF * -(-images // parts) // images
