"""Formulas of products with packed weights of other libraries or of torch's own quantised modules."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from fxprof.cost.registry import Shape, formula
from fxprof.trace.symbols import UnboundSymbolError


@formula("bitsandbytes.gemv_4bit", "bitsandbytes.gemm_4bit", kind="linear")
def product_with_4bit(A: Shape, shapeB: Sequence[int]) -> int:  # noqa: N803 - the schema's names
    """Linear layer of bitsandbytes with a 4-bit weight.

    Shapes: A [*, K], B packed, shapeB (N, K) -> out [*, N].
    MACs:   prod(*) x K x N.
    Notes:  unpacking, scales and the bias add none.
    """
    return prod(A) * shapeB[0]


@formula("bitsandbytes.int8_linear_matmul", "bitsandbytes.int8_scaled_mm", kind="linear")
def product_of_int8(A: Shape, B: Shape) -> int:  # noqa: N803 - as above
    """Linear layer of bitsandbytes in 8-bit integers.

    Shapes: A [*, K], B [N, K] -> out [*, N].
    MACs:   prod(*) x K x N.
    Notes:  scales and the bias add none.
    """
    return prod(A) * B[0]


@formula("bitsandbytes.int8_mixed_scaled_mm", kind="linear")
def mixed_product_of_int8(
    A: Shape,  # noqa: N803 - as above
    CB: Shape,  # noqa: N803 - as above
    outlier_cols: Shape | None = None,
) -> int:
    """Linear layer of bitsandbytes in 8-bit integers, with some columns in floating point.

    Shapes: A [*, K], CB [N, K], outlier_cols [J] -> out [*, N].
    MACs:   prod(*) x (K + J) x N: the columns are computed a second time.
    Notes:  scales and the bias add none.
    """
    return prod(A[:-1]) * (A[-1] + (outlier_cols[0] if outlier_cols else 0)) * CB[0]


@formula(
    "quantized.conv1d",
    "quantized.conv1d_relu",
    "quantized.conv2d.new",
    "quantized.conv2d_relu.new",
    "quantized.conv3d.new",
    "quantized.conv3d_relu.new",
    "quantized.conv1d_dynamic",
    "quantized.conv2d_dynamic",
    "quantized.conv3d_dynamic",
    kind="convolution",
)
def packed_convolution(packed_weight: object, out: Shape) -> int:
    """Convolution of torch's quantised modules.

    Shapes: qx [B, C, *in], packed_weight of [O, C / groups, *kernel] -> out [B, O, *out].
    MACs:   prod(out) x C / groups x prod(kernel).
    Notes:  bias and activation add none. A file does not say the shape of a packed weight: there it is uncounted.
    """
    return prod(out) * prod(_weight(packed_weight)[1:])


@formula("quantized.conv_transpose1d", "quantized.conv_transpose2d", "quantized.conv_transpose3d", kind="convolution")
def packed_transposed_convolution(qx: Shape, packed_weight: object) -> int:
    """Transposed convolution of torch's quantised modules.

    Shapes: qx [B, C, *in], packed_weight of [C, O / groups, *kernel] -> out [B, O, *out].
    MACs:   prod(qx) x O / groups x prod(kernel).
    Notes:  as for `quantized.conv2d`.
    """
    return prod(qx) * prod(_weight(packed_weight)[1:])


def _weight(packed: object) -> Sequence[int]:
    """The shape of the weight in a packed parameter, which is its first item."""
    if not isinstance(packed, tuple) or not packed or not isinstance(packed[0], tuple):
        raise UnboundSymbolError("a packed weight")
    return packed[0]
