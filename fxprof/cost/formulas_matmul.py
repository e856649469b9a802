"""Formulas of matrix products, dense and quantised."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from fxprof import limits
from fxprof.cost.registry import Shape, formula

_MM_FROM_ROWS = 25
"""`cdist` takes a matrix product if either side has more rows than this, and the caller leaves the choice to torch."""


@formula("aten.linear", kind="linear")
def linear(input: Shape, weight: Shape) -> int:
    """Linear layer.

    Shapes: input [*, K], weight [N, K] -> out [*, N]; a weight [K] gives out [*].
    MACs:   prod(*) x K x N.
    Notes:  the bias adds none.
    """
    return prod(input) * prod(weight[:-1])


@formula("aten.mkldnn_linear", kind="linear")
def mkldnn_linear(self: Shape, out: Shape) -> int:
    """Linear layer of the oneDNN library.

    Shapes: self [*, K], weight [N, K] -> out [*, N].
    MACs:   prod(*) x K x N.
    Notes:  the bias adds none.
    """
    return prod(out) * self[-1]


@formula(
    "mkldnn._linear_pointwise",
    "mkl._mkl_linear",
    "quantized.linear",
    "quantized.linear_relu",
    "quantized.linear_leaky_relu",
    "quantized.linear_tanh",
    "quantized.linear_dynamic",
    "quantized.linear_dynamic_fp16",
    "quantized.linear_relu_dynamic",
    "quantized.linear_relu_dynamic_fp16",
    kind="linear",
)
def packed_linear(X: Shape, out: Shape) -> int:  # noqa: N803 - the schema's name
    """Linear layer whose weight is packed for a library.

    Shapes: X [*, K], weight opaque -> out [*, N].
    MACs:   prod(*) x K x N.
    Notes:  bias and activation add none; an integer product counts as one of floating point.
    """
    return prod(out) * X[-1]


@formula("onednn.qlinear_pointwise", kind="linear")
def quantised_linear(qx: Shape, out: Shape) -> int:
    """Quantised linear layer of the oneDNN library.

    Shapes: qx [*, K], weight opaque -> out [*, N].
    MACs:   prod(*) x K x N.
    Notes:  bias, activation and scales add none.
    """
    return prod(out) * qx[-1]


@formula("aten._mixed_dtypes_linear", kind="linear")
def mixed_dtypes_linear(input: Shape, out: Shape) -> int:
    """Linear layer with a weight of narrower type.

    Shapes: input [*, K], weight packed -> out [*, N].
    MACs:   prod(*) x K x N.
    Notes:  bias, activation and scales add none.
    """
    return prod(out) * input[-1]


@formula("aten._dyn_quant_matmul_4bit", kind="linear")
def dyn_quant_matmul_4bit(in_features: int, out: Shape) -> int:
    """Linear layer with a packed 4-bit weight and an input that is quantised on the way.

    Shapes: inp [*, K], packed_weights opaque -> out [*, N].
    MACs:   prod(*) x K x N, with K = in_features.
    Notes:  scales add none.
    """
    return prod(out) * in_features


@formula("aten.matmul", "aten.linalg_matmul", "aten.mm", "aten.bmm", "aten._int_mm", "aten._scaled_mm", kind="matmul")
def matmul(self: Shape, out: Shape) -> int:
    """Matrix product, also batched, of a matrix with a vector, or of two vectors.

    Shapes: self [*, M, K], other [*, K, N] -> out [*, M, N]; a vector has no M or no N; batches broadcast.
    MACs:   prod(out) x K.
    Notes:  scales and bias add none; a product of complex numbers counts as one. torch decomposes a product with a vector
            into an elementwise product and a sum, which are not counted.
    """
    return prod(out) * self[-1]


@formula("aten._scaled_mm_v2", kind="matmul")
def scaled_mm_v2(self: Shape, out: Shape, contraction_dim: Sequence[int] | None = ()) -> int:
    """Matrix product of scaled low-precision operands.

    Shapes: self [M, K], mat2 [K, N] -> out [M, N]; contraction_dim names another axis for K.
    MACs:   M x K x N.
    Notes:  scales and bias add none.
    """
    return prod(out) * self[contraction_dim[0] if contraction_dim else -1]


@formula("aten._weight_int8pack_mm", kind="matmul")
def weight_int8pack_mm(self: Shape, mat2: Shape) -> int:
    """Product with an 8-bit weight.

    Shapes: self [M, K], mat2 [N, K] -> out [M, N].
    MACs:   M x K x N.
    Notes:  scales add none.
    """
    return prod(self) * mat2[0]


@formula(
    "aten._weight_int4pack_mm",
    "aten._weight_int4pack_mm_for_cpu",
    "aten._weight_int4pack_mm_with_scales_and_zeros",
    kind="matmul",
)
def weight_int4pack_mm(self: Shape, out: Shape) -> int:
    """Product with a packed 4-bit weight.

    Shapes: self [M, K], mat2 packed -> out [M, N].
    MACs:   M x K x N.
    Notes:  scales and zero points add none.
    """
    return prod(out) * self[-1]


@formula("aten._grouped_mm", "aten._scaled_grouped_mm", "aten._scaled_grouped_mm_v2", kind="matmul")
def grouped_mm(self: Shape, mat2: Shape) -> int:
    """One matrix product per group, such as the experts of a mixture.

    Shapes: self [M, K] or [G, M, K], mat2 [K, N] or [G, K, N]; an operand without G is cut into groups by offs.
    MACs:   M x K x N, and x G when both operands have G.
    Notes:  groups are taken to fill the operands; rows that no group takes are counted all the same.
    """
    both = len(self) == len(mat2) == 3  # noqa: PLR2004 - group, row, column
    return (self[0] if both else 1) * self[-2] * self[-1] * mat2[-1]


@formula("transformers.grouped_mm_fallback", kind="matmul")
def grouped_mm_fallback(input: Shape, weight: Shape) -> int:
    """One matrix product per expert of a mixture, for transformers without a usable grouped product.

    Shapes: input [M, K], weight [G, K, N] -> out [M, N].
    MACs:   M x K x N.
    Notes:  groups are taken to fill the rows, as in the grouped products of torch.
    """
    return prod(input) * weight[-1]


@formula("aten.addmm", "aten._addmm_activation", kind="matmul")
def addmm(mat1: Shape, mat2: Shape) -> int:
    """Matrix product added to a tensor.

    Shapes: mat1 [M, K], mat2 [K, N] -> out [M, N].
    MACs:   M x K x N.
    Notes:  the added tensor, alpha, beta and an activation add none.
    """
    return prod(mat1) * mat2[-1]


@formula("aten.hspmm", kind="matmul")
def hspmm(mat1: Shape, mat2: Shape) -> int:
    """Product of a sparse matrix with a dense one, as a matrix that stores whole rows.

    Shapes: mat1 [M, K] with S stored elements, mat2 [K, N] -> out [M, N].
    MACs:   S x N; M x K x N where nothing is sparse.
    """
    return prod(mat1) * mat2[-1]


@formula("aten.sparse_sampled_addmm", kind="matmul")
def sparse_sampled_addmm(mat1: Shape, mat2: Shape) -> int:
    """Those elements of a product of dense matrices that a sparse matrix stores.

    Shapes: self [*, M, N] with S stored elements, mat1 [*, M, K], mat2 [*, K, N] -> out [*, M, N].
    MACs:   S x K; M x K x N where nothing is sparse.
    """
    return prod(mat1) * mat2[-1]


@formula("aten._sparse_mm", kind="matmul")
def sparse_mm(sparse: Shape, dense: Shape) -> int:
    """Product of a sparse matrix with a dense one.

    Shapes: sparse [M, K] with S stored elements, dense [K, N] -> out [M, N].
    MACs:   S x N; M x K x N where nothing is sparse.
    Notes:  a product of two sparse matrices is not counted.
    """
    return prod(sparse) * dense[-1]


@formula("aten._sparse_addmm", kind="matmul")
def sparse_addmm(mat1: Shape, mat2: Shape) -> int:
    """Product of a sparse matrix with a dense one, added to a tensor.

    Shapes: mat1 [M, K] with S stored elements, mat2 [K, N] -> out [M, N].
    MACs:   S x N; M x K x N where nothing is sparse.
    Notes:  the added tensor, alpha and beta add none; a product of two sparse matrices is not counted.
    """
    return prod(mat1) * mat2[-1]


@formula("aten.baddbmm", "aten.addbmm", kind="matmul")
def baddbmm(batch1: Shape, batch2: Shape) -> int:
    """Batched matrix product added to a tensor; `addbmm` also sums over the batch.

    Shapes: batch1 [B, M, K], batch2 [B, K, N] -> out [B, M, N], or [M, N].
    MACs:   B x M x K x N.
    Notes:  the added tensor, alpha and beta add none.
    """
    return prod(batch1) * batch2[-1]


@formula("aten.mv", kind="matmul")
def mv(self: Shape) -> int:
    """Matrix times vector.

    Shapes: self [M, K], vec [K] -> out [M].
    MACs:   M x K.
    Notes:  torch decomposes it into an elementwise product and a sum, which are not counted.
    """
    return prod(self)


@formula("aten.addmv", kind="matmul")
def addmv(mat: Shape) -> int:
    """Matrix times vector, added to a vector.

    Shapes: mat [M, K], vec [K] -> out [M].
    MACs:   M x K.
    Notes:  the added vector, alpha and beta add none.
    """
    return prod(mat)


@formula("aten.dot", "aten.vdot", kind="matmul")
def dot(self: Shape) -> int:
    """Product of two vectors.

    Shapes: self [K], other [K] -> a number.
    MACs:   K.
    Notes:  torch decomposes it into an elementwise product and a sum, which are not counted.
    """
    return prod(self)


@formula("aten.inner", kind="matmul")
def inner(self: Shape, other: Shape, out: Shape) -> int:
    """Inner product over the last axes.

    Shapes: self [*A, K], other [*B, K] -> out [*A, *B].
    MACs:   prod(*A) x prod(*B) x K; none when either is a number, which scales the other.
    Notes:  of two vectors, torch decomposes it into an elementwise product and a sum, which are not counted.
    """
    return prod(out) * self[-1] if self and other else 0


@formula("aten.linalg_vecdot", kind="matmul")
def linalg_vecdot(x: Shape, y: Shape) -> int:
    """Products of pairs of vectors along one axis.

    Shapes: x [*, K], y [*, K], which broadcast -> out [*].
    MACs:   prod(*) x K.
    Notes:  torch decomposes it into an elementwise product and a sum, which are not counted.
    """
    return prod(_broadcast(x, y))


@formula("aten.tensordot", kind="matmul")
def tensordot(self: Shape, other: Shape, dims_self: Sequence[int], dims_other: Sequence[int]) -> int:
    """Contraction over any pairs of axes, as one matrix product.

    Shapes: self [*A, *K], other [*B, *K] -> out [*A, *B].
    MACs:   prod(*A) x prod(*B) x prod(*K).
    Notes:  over no axes it is an outer product, which torch runs as a matrix product with K = 1 and which is so counted.
            A pair of axes of which one has size 1 is summed beforehand and counts as size 1.
    """
    inner = prod(min(self[left], other[right]) for left, right in zip(dims_self, dims_other, strict=True))
    return _free(self, dims_self) * _free(other, dims_other) * inner


@formula("aten.chain_matmul", kind="matmul")
def chain_matmul(matrices: Sequence[Shape]) -> int:
    """Product of several matrices in the cheapest order, as torch orders them.

    Shapes: matrices [D0, D1], [D1, D2], ... -> out [D0, Dn].
    MACs:   the least sum of products over all orders.
    """
    return _cheapest_chain([shape[0] for shape in matrices] + [matrices[-1][-1]])


@formula("aten.linalg_multi_dot", kind="matmul")
def linalg_multi_dot(tensors: Sequence[Shape]) -> int:
    """Product of several matrices in the cheapest order, as torch orders them.

    Shapes: tensors [D0, D1], [D1, D2], ... -> out [D0, Dn]; the first and the last may be vectors.
    MACs:   the least sum of products over all orders.
    """
    first, last = tensors[0], tensors[-1]
    rows = [1, first[0]] if len(first) == 1 else list(first)
    middle = [shape[1] for shape in tensors[1:-1]]
    return _cheapest_chain([*rows, *middle, 1 if len(last) == 1 else last[1]])


@formula("aten.cov", "aten.corrcoef", kind="matmul")
def cov(self: Shape) -> int:
    """Covariance or correlation of variables.

    Shapes: self [V, N], or [N] for one variable -> out [V, V].
    MACs:   V x V x N.
    Notes:  means, weights and the scaling add none.
    """
    variables = self[0] if len(self) > 1 else 1
    return variables * prod(self)


@formula("aten.cdist", "aten._cdist_forward", kind="matmul")
def cdist(x1: Shape, x2: Shape, p: float = 2.0, compute_mode: int | None = None) -> int:
    """Distances between all pairs of rows.

    Shapes: x1 [*, P, D], x2 [*, R, D] -> out [*, P, R].
    MACs:   prod(*) x P x R x (D + 2) where torch takes a matrix product: for p = 2, when P or R exceeds 25 or it is asked
            for. Otherwise differences are raised to a power and summed, which contracts nothing: none.
    Notes:  the two extra columns carry the squared lengths.
    """
    rows = max(x1[-2], x2[-2]) > _MM_FROM_ROWS
    as_product = p == 2 and (compute_mode == 1 or (not compute_mode and rows))  # noqa: PLR2004 - the Euclidean norm
    batch = prod(_broadcast(x1[:-2], x2[:-2]))
    return batch * x1[-2] * x2[-2] * (x1[-1] + 2) if as_product and x1[-1] else 0


@formula("aten._euclidean_dist", kind="matmul")
def euclidean_dist(x1: Shape, x2: Shape) -> int:
    """Euclidean distances between all pairs of rows, as a matrix product.

    Shapes: x1 [*, P, D], x2 [*, R, D] -> out [*, P, R].
    MACs:   prod(*) x P x R x (D + 2).
    Notes:  the two extra columns carry the squared lengths.
    """
    return prod(x1[:-1]) * x2[-2] * (x1[-1] + 2)


def _free(shape: Shape, summed: Sequence[int]) -> int:
    """Elements of the axes that are not summed."""
    axes = {axis % len(shape) for axis in summed}
    return prod(size for axis, size in enumerate(shape) if axis not in axes)


def _broadcast(left: Shape, right: Shape) -> Shape:
    """The common shape of two shapes that broadcast."""
    rank = max(len(left), len(right))
    pairs = zip((1,) * (rank - len(left)) + left, (1,) * (rank - len(right)) + right, strict=True)
    return tuple(b if a == 1 else a for a, b in pairs)


def _cheapest_chain(sizes: Sequence[int]) -> int:
    """The least MACs of a chain of matrices `[sizes[0], sizes[1]], [sizes[1], sizes[2]], ...`."""
    if len(sizes) - 1 > limits.CHAIN:
        raise ValueError(f"a product of {len(sizes) - 1:,} matrices; the limit is {limits.CHAIN}")
    best = dict.fromkeys(pairwise(range(len(sizes))), 0)
    for length in range(2, len(sizes)):
        for start in range(len(sizes) - length):
            end = start + length
            best[start, end] = min(
                best[start, cut] + best[cut, end] + sizes[start] * sizes[cut] * sizes[end] for cut in range(start + 1, end)
            )
    return best[0, len(sizes) - 1]
