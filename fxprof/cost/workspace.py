"""Memory that kernels take for themselves on a CUDA device: estimates by stated rules, from published measurements.

*Convolutions.* cuDNN's kernels for tensor cores work on channels-last data. While a convolution in 16 bits runs, it holds a
copy of its input and one of its result. One in float32 runs in TF32, which torch allows by default: these kernels read
channels-last data and write the result as it is wanted, so it holds a copy of its input alone. A convolution whose input or
result has more than 2**31 - 1 elements is split along the batch, and the copies are those of one part. Those whose kernel has
one element take none by this rule.

*Products of matrices.* cuBLAS gets fixed buffers at its first product and keeps them: 8.1 MiB, and 32 MiB on Hopper and later.

*Rounding.* Torch's allocator rounds every tensor up, see `rounded`. The tensors of a peak are round already, but weights are
many.

No graph shows any of this. `docs/memory.md` compares the rules with published peaks.
"""

from __future__ import annotations

from math import prod

from fxprof.trace import Op, Sizes, Tensor, UnboundSymbolError
from fxprof.trace.element_types import BYTES

CUBLAS = (8_519_680, 33_554_432)
"""Bytes of cuBLAS's buffers: before Hopper, and from there on (`CUBLAS_WORKSPACE_CONFIG` of `:4096:2:16:8` and `:4096:8`)."""

_CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d", "convolution", "_convolution", "conv_transpose2d", "conv_transpose3d"})
_HALF, _SINGLE = 2, 4
"""Bytes of an element of the types whose convolutions take copies: of input and result, or of the input alone."""
_MOST_ELEMENTS = 2**31 - 1
_LINE, _MIB, _LARGE, _SEGMENT = 512, 2**20, 10 * 2**20, 2 * 2**20
"""Bytes of torch's allocator: the unit of a size, the most that it leaves with a tensor, the least of a large one, its unit."""


def rounded(size: int) -> int:
    """Bytes that torch's allocator takes for a tensor.

    A size is rounded up to 512 bytes. A tensor of 10 MiB or more gets a segment of its own, in units of 2 MiB, and keeps the
    rest of it if that is 1 MiB or less; a larger rest is free for other tensors.
    """
    lines = -(-size // _LINE) * _LINE
    if lines < _LARGE:
        return lines
    segment = -(-lines // _SEGMENT) * _SEGMENT
    return segment if segment - lines <= _MIB else lines


def workspace_bytes(op: Op, sizes: Sizes) -> int:
    """Bytes that a convolution is estimated to take beyond its tensors; 0 for every other operator."""
    name = op.target.split(".")[1] if op.target.startswith("aten.") else ""
    operand, weight, result = op.argument("input"), op.argument("weight"), next(iter(op.outputs), None)
    if name not in _CONVOLUTIONS or not (isinstance(operand, Tensor) and isinstance(result, Tensor)):
        return 0
    width = BYTES.get(result.dtype)
    if not isinstance(weight, Tensor) or width not in {_HALF, _SINGLE} or not result.dtype.startswith(("float", "bfloat")):
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
    copied = prod(given) + (prod(made) if width == _HALF else 0)
    return copied * width * -(-images // parts) // images
