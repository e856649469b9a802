"""Every formula against products written out by hand. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fxprof.cost.count import count
from fxprof.cost.explain import explain, formula_table
from fxprof.cost.kinds import KIND_OF, REASONS
from fxprof.cost.registry import BUILT_IN, KINDS, Formulas, Shape
from fxprof.errors import FormulaError, UsageError
from fxprof.trace import Op, Tensor, Trace, Value


class Sizes(tuple[int, ...]):
    """A plain tuple argument, as opposed to a shape."""

    __slots__ = ()


def value(given: Any) -> Value:
    """Tuples of integers are tensors, lists are lists of tensors, the rest is as it is."""
    if isinstance(given, list):
        return tuple(value(item) for item in given)
    if isinstance(given, tuple) and not isinstance(given, Sizes):
        return Tensor(given, "float32")
    result: Value = tuple(given) if isinstance(given, Sizes) else given
    return result


def macs(target: str, args: dict[str, Any], out: Any) -> int | None:
    op = Op(target, tuple((name, value(given)) for name, given in args.items()), (value(out),))
    (counted,) = count(Trace((op,)))
    return counted.macs


Q, K, V = (2, 8, 10, 16), (2, 8, 12, 16), (2, 8, 12, 24)
GROUPED_K, GROUPED_V = (2, 2, 12, 16), (2, 2, 12, 24)
ATTENTION = {"query": Q, "key": K, "value": V}
LSTM = [(20, 4), (20, 5), (20,), (20,)]

CASES: list[tuple[str, str, dict[str, Any], Any, int]] = [
    ("linear", "aten.linear.default", {"input": (2, 16, 30), "weight": (7, 30), "bias": (7,)}, (2, 16, 7), 2 * 16 * 30 * 7),
    ("linear, vector weight", "aten.linear.default", {"input": (16, 30), "weight": (30,)}, (16,), 16 * 30),
    ("linear, vector input", "aten.linear.default", {"input": (30,), "weight": (7, 30)}, (7,), 30 * 7),
    ("mkldnn_linear", "aten.mkldnn_linear.default", {"self": (16, 30), "weight": (7, 30)}, (16, 7), 16 * 30 * 7),
    ("packed linear", "mkldnn._linear_pointwise.default", {"X": (2, 16, 30), "W": (1, 1)}, (2, 16, 7), 2 * 16 * 30 * 7),
    ("qlinear", "onednn.qlinear_pointwise.default", {"qx": (16, 30), "qw": (1, 1)}, (16, 7), 16 * 30 * 7),
    (
        "quantised convolution",
        "quantized.conv2d.new",
        {"qx": (2, 6, 9, 9), "packed_weight": [(8, 3, 3, 3), (8,)]},
        (2, 8, 7, 7),
        2 * 8 * 7 * 7 * 3 * 9,
    ),
    (
        "quantised transposed",
        "quantized.conv_transpose2d.default",
        {"qx": (2, 6, 4, 4), "packed_weight": [(6, 8, 3, 3)]},
        (2, 8, 9, 9),
        2 * 6 * 16 * 8 * 9,
    ),
    (
        "bitsandbytes 4 bit",
        "bitsandbytes.gemv_4bit.default",
        {"A": (2, 1, 30), "B": (105, 1), "shapeB": Sizes((7, 30))},
        (2, 1, 7),
        2 * 30 * 7,
    ),
    (
        "bitsandbytes 8 bit",
        "bitsandbytes.int8_linear_matmul.default",
        {"A": (2, 16, 30), "B": (7, 30)},
        (2, 16, 7),
        2 * 16 * 30 * 7,
    ),
    (
        "bitsandbytes mixed",
        "bitsandbytes.int8_mixed_scaled_mm.default",
        {"A": (16, 30), "CA": (16, 30), "CB": (7, 30), "outlier_cols": (2,)},
        (16, 7),
        16 * (30 + 2) * 7,
    ),
    ("sparse, nothing sparse", "aten._sparse_mm.default", {"sparse": (6, 5), "dense": (5, 4)}, (6, 4), 6 * 5 * 4),
    ("sparse added", "aten._sparse_addmm.default", {"self": (6, 4), "mat1": (6, 5), "mat2": (5, 4)}, (6, 4), 6 * 5 * 4),
    ("mixed types", "aten._mixed_dtypes_linear.default", {"input": (16, 30), "weight": (1,)}, (16, 7), 16 * 30 * 7),
    ("4 bit", "aten._dyn_quant_matmul_4bit.default", {"inp": (16, 30), "in_features": 30}, (16, 7), 16 * 30 * 7),
    ("matmul 1 1", "aten.matmul.default", {"self": (5,), "other": (5,)}, (), 5),
    ("matmul 2 1", "aten.matmul.default", {"self": (3, 5), "other": (5,)}, (3,), 3 * 5),
    ("matmul 1 2", "aten.matmul.default", {"self": (5,), "other": (5, 4)}, (4,), 5 * 4),
    ("matmul 4 3", "aten.matmul.default", {"self": (6, 1, 3, 5), "other": (2, 5, 4)}, (6, 2, 3, 4), 6 * 2 * 3 * 5 * 4),
    ("mm", "aten.mm.default", {"self": (3, 5), "mat2": (5, 4)}, (3, 4), 3 * 5 * 4),
    ("mm of nothing", "aten.mm.default", {"self": (3, 0), "mat2": (0, 4)}, (3, 4), 0),
    ("bmm", "aten.bmm.default", {"self": (2, 3, 5), "mat2": (2, 5, 4)}, (2, 3, 4), 2 * 3 * 5 * 4),
    ("scaled_mm", "aten._scaled_mm.default", {"self": (16, 32), "mat2": (32, 8)}, (16, 8), 16 * 32 * 8),
    (
        "scaled_mm_v2",
        "aten._scaled_mm_v2.default",
        {"self": (16, 32), "mat2": (32, 8), "contraction_dim": Sizes()},
        (16, 8),
        16 * 32 * 8,
    ),
    (
        "scaled_mm_v2, other axis",
        "aten._scaled_mm_v2.default",
        {"self": (32, 16), "mat2": (32, 8), "contraction_dim": Sizes((0, 0))},
        (16, 8),
        16 * 32 * 8,
    ),
    ("int8", "aten._weight_int8pack_mm.default", {"self": (16, 32), "mat2": (8, 32)}, (16, 8), 16 * 32 * 8),
    ("int4", "aten._weight_int4pack_mm.default", {"self": (16, 32), "mat2": (1, 2, 32, 4)}, (16, 8), 16 * 32 * 8),
    ("experts", "transformers.grouped_mm_fallback.default", {"input": (20, 6), "weight": (4, 6, 5)}, (20, 5), 20 * 6 * 5),
    ("experts 2 3", "aten._grouped_mm.default", {"self": (20, 6), "mat2": (4, 6, 5)}, (20, 5), 20 * 6 * 5),
    ("experts 3 2", "aten._grouped_mm.default", {"self": (4, 3, 6), "mat2": (6, 20)}, (3, 20), 3 * 6 * 20),
    ("experts 3 3", "aten._grouped_mm.default", {"self": (4, 3, 6), "mat2": (4, 6, 5)}, (4, 3, 5), 4 * 3 * 6 * 5),
    ("experts 2 2", "aten._grouped_mm.default", {"self": (3, 20), "mat2": (20, 5)}, (4, 3, 5), 3 * 20 * 5),
    ("addmm", "aten.addmm.default", {"self": (4,), "mat1": (3, 5), "mat2": (5, 4)}, (3, 4), 3 * 5 * 4),
    ("addmm in place", "aten.addmm_.default", {"self": (3, 4), "mat1": (3, 5), "mat2": (5, 4)}, (3, 4), 3 * 5 * 4),
    ("baddbmm", "aten.baddbmm.default", {"batch1": (2, 3, 5), "batch2": (2, 5, 4)}, (2, 3, 4), 2 * 3 * 5 * 4),
    ("addbmm", "aten.addbmm.default", {"batch1": (2, 3, 5), "batch2": (2, 5, 4)}, (3, 4), 2 * 3 * 5 * 4),
    ("mv", "aten.mv.default", {"self": (3, 5), "vec": (5,)}, (3,), 3 * 5),
    ("addmv", "aten.addmv.default", {"self": (3,), "mat": (3, 5), "vec": (5,)}, (3,), 3 * 5),
    ("dot", "aten.dot.default", {"self": (5,), "tensor": (5,)}, (), 5),
    ("vdot", "aten.vdot.default", {"self": (5,), "other": (5,)}, (), 5),
    ("inner", "aten.inner.default", {"self": (2, 3, 5), "other": (4, 5)}, (2, 3, 4), 2 * 3 * 4 * 5),
    ("inner with a number", "aten.inner.default", {"self": (3, 5), "other": ()}, (3, 5), 0),
    ("vecdot", "aten.linalg_vecdot.default", {"x": (3, 1, 5), "y": (4, 5), "dim": -1}, (3, 4), 3 * 4 * 5),
    (
        "tensordot",
        "aten.tensordot.default",
        {"self": (3, 4, 5), "other": (5, 4, 6), "dims_self": Sizes((1, -1)), "dims_other": Sizes((1, 0))},
        (3, 6),
        3 * 6 * 4 * 5,
    ),
    (
        "tensordot over nothing",
        "aten.tensordot.default",
        {"self": (3, 4), "other": (5,), "dims_self": Sizes(), "dims_other": Sizes()},
        (3, 4, 5),
        3 * 4 * 5,
    ),
    ("chain", "aten.chain_matmul.default", {"matrices": [(10, 3), (3, 5), (5, 6)]}, (10, 6), 3 * 5 * 6 + 10 * 3 * 6),
    ("chain of one", "aten.chain_matmul.default", {"matrices": [(10, 3)]}, (10, 3), 0),
    ("multi_dot", "aten.linalg_multi_dot.default", {"tensors": [(10, 30), (30, 5), (5,)]}, (10,), 30 * 5 + 10 * 30),
    ("multi_dot, vectors", "aten.linalg_multi_dot.default", {"tensors": [(3,), (3, 5), (5,)]}, (), 3 * 5 + 3),
    ("cov", "aten.cov.default", {"self": (4, 9)}, (4, 4), 4 * 4 * 9),
    ("cov of one", "aten.cov.default", {"self": (9,)}, (), 9),
    ("cdist, few rows", "aten.cdist.default", {"x1": (2, 25, 7), "x2": (3, 7), "p": 2.0}, (2, 25, 3), 0),
    ("cdist, many rows", "aten.cdist.default", {"x1": (2, 26, 7), "x2": (3, 7), "p": 2.0}, (2, 26, 3), 2 * 26 * 3 * (7 + 2)),
    (
        "cdist, product wanted",
        "aten._cdist_forward.default",
        {"x1": (4, 7), "x2": (3, 7), "p": 2.0, "compute_mode": 1},
        (4, 3),
        4 * 3 * (7 + 2),
    ),
    (
        "cdist, product refused",
        "aten._cdist_forward.default",
        {"x1": (40, 7), "x2": (3, 7), "p": 2.0, "compute_mode": 2},
        (40, 3),
        0,
    ),
    ("cdist, other norm", "aten.cdist.default", {"x1": (40, 7), "x2": (3, 7), "p": 1.0}, (40, 3), 0),
    ("euclidean", "aten._euclidean_dist.default", {"x1": (4, 7), "x2": (3, 7)}, (4, 3), 4 * 3 * (7 + 2)),
    (
        "einsum",
        "aten.einsum.default",
        {"equation": "bij, bjk -> bik", "tensors": [(2, 3, 4), (2, 4, 5)]},
        (2, 3, 5),
        2 * 3 * 4 * 5,
    ),
    ("einsum, no arrow", "aten.einsum.default", {"equation": "ij,jk", "tensors": [(3, 4), (4, 5)]}, (3, 5), 3 * 4 * 5),
    (
        "einsum, dots",
        "aten.einsum.default",
        {"equation": "...ij,jk->...ik", "tensors": [(2, 7, 3, 4), (4, 5)]},
        (),
        2 * 7 * 3 * 4 * 5,
    ),
    ("einsum, dots summed", "aten.einsum.default", {"equation": "...i,...i->i", "tensors": [(2, 3), (2, 3)]}, (3,), 2 * 3),
    (
        "einsum, dots broadcast",
        "aten.einsum.default",
        {"equation": "...i,...i", "tensors": [(7, 1, 3), (2, 3)]},
        (7, 2),
        7 * 2 * 3,
    ),
    ("einsum, diagonal", "aten.einsum.default", {"equation": "iij,j->i", "tensors": [(3, 3, 4), (4,)]}, (3,), 3 * 4),
    (
        "einsum, three",
        "aten.einsum.default",
        {"equation": "ij,jk,kl->il", "tensors": [(3, 4), (4, 5), (5, 6)]},
        (3, 6),
        3 * 4 * 5 + 3 * 5 * 6,
    ),
    (
        "einsum, three by path",
        "aten.einsum.default",
        {"equation": "ij,jk,kl->il", "tensors": [(3, 4), (4, 5), (5, 6)], "path": Sizes((1, 2, 0, 1))},
        (3, 6),
        4 * 5 * 6 + 3 * 4 * 6,
    ),
    ("einsum, outer", "aten.einsum.default", {"equation": "i,j->ij", "tensors": [(3,), (4,)]}, (3, 4), 0),
    ("einsum, elementwise", "aten.einsum.default", {"equation": "ij,ij->ij", "tensors": [(3, 4), (3, 4)]}, (3, 4), 0),
    ("einsum, alone", "aten.einsum.default", {"equation": "ij->i", "tensors": [(3, 4)]}, (3,), 0),
    (
        "einsum, summed before",
        "aten.einsum.default",
        {"equation": "ijk,jl->il", "tensors": [(3, 4, 5), (4, 6)]},
        (3, 6),
        3 * 4 * 6,
    ),
    ("einsum, size 1", "aten.einsum.default", {"equation": "ij,jk->ik", "tensors": [(3, 1), (4, 5)]}, (3, 5), 0),
    (
        "bilinear",
        "aten.bilinear.default",
        {"input1": (2, 7, 3), "input2": (2, 7, 4), "weight": (5, 3, 4)},
        (2, 7, 5),
        14 * 5 * 4 * (3 + 1),
    ),
    (
        "trilinear",
        "aten._trilinear.default",
        {
            "i1": (7, 3),
            "i2": (5, 3, 4),
            "i3": (7, 4),
            "expand1": Sizes((1, 3)),
            "expand2": Sizes((0,)),
            "expand3": Sizes((1, 2)),
            "sumdim": Sizes((2, 3)),
            "unroll_dim": 1,
        },
        (7, 5),
        5 * (7 * 3 * 4 + 7 * 4),
    ),
    ("conv1d", "aten.conv1d.default", {"input": (2, 6, 32), "weight": (16, 6, 3)}, (2, 16, 30), 2 * 16 * 30 * 6 * 3),
    (
        "conv2d, groups",
        "aten.conv2d.default",
        {"input": (2, 6, 9, 9), "weight": (16, 3, 3, 3)},
        (2, 16, 7, 7),
        2 * 16 * 7 * 7 * 3 * 3 * 3,
    ),
    (
        "conv2d, padding by name",
        "aten.conv2d.padding",
        {"input": (2, 6, 9, 9), "weight": (4, 6, 3, 3)},
        (2, 4, 9, 9),
        2 * 4 * 9 * 9 * 6 * 9,
    ),
    (
        "conv3d, no batch",
        "aten.conv3d.default",
        {"input": (3, 4, 5, 6), "weight": (8, 3, 1, 2, 3)},
        (8, 4, 4, 4),
        8 * 4 * 4 * 4 * 3 * 6,
    ),
    (
        "conv_transpose2d",
        "aten.conv_transpose2d.input",
        {"input": (2, 8, 5, 6), "weight": (8, 4, 2, 2)},
        (2, 4, 10, 12),
        2 * 8 * 5 * 6 * 4 * 2 * 2,
    ),
    (
        "cudnn_convolution_transpose",
        "aten.cudnn_convolution_transpose.default",
        {"self": (2, 8, 5, 6), "weight": (8, 4, 2, 2)},
        (2, 4, 10, 12),
        2 * 8 * 5 * 6 * 4 * 2 * 2,
    ),
    (
        "convolution",
        "aten.convolution.default",
        {"input": (2, 6, 9, 9), "weight": (16, 3, 3, 3), "transposed": False},
        (2, 16, 7, 7),
        2 * 16 * 7 * 7 * 3 * 3 * 3,
    ),
    (
        "convolution, transposed",
        "aten.convolution.default",
        {"input": (2, 8, 5, 6), "weight": (8, 4, 2, 2), "transposed": True},
        (2, 4, 10, 12),
        2 * 8 * 5 * 6 * 4 * 2 * 2,
    ),
    (
        "convolution_backward",
        "aten.convolution_backward.default",
        {
            "grad_output": (2, 16, 30),
            "input": (2, 6, 32),
            "weight": (16, 6, 3),
            "transposed": False,
            "output_mask": Sizes((True, True, True)),
        },
        (2, 6, 32),
        2 * (2 * 16 * 30 * 6 * 3),
    ),
    (
        "deformable convolution",
        "torchvision.deform_conv2d.default",
        {"input": (2, 4, 10, 12), "weight": (6, 2, 3, 3), "offset": (2, 18, 10, 12)},
        (2, 6, 10, 12),
        2 * 6 * 10 * 12 * 2 * 9,
    ),
    ("conv_tbc", "aten.conv_tbc.default", {"self": (32, 2, 6), "weight": (3, 6, 16)}, (30, 2, 16), 30 * 2 * 16 * 3 * 6),
    (
        "pointwise",
        "mkldnn._convolution_pointwise.default",
        {"X": (2, 6, 32), "W": (16, 6, 3)},
        (2, 16, 30),
        2 * 16 * 30 * 6 * 3,
    ),
    (
        "pointwise, transposed",
        "mkldnn._convolution_transpose_pointwise.default",
        {"X": (2, 8, 5, 6), "W": (4, 8, 2, 2)},
        (2, 4, 10, 12),
        2 * 8 * 5 * 6 * 4 * 2 * 2,
    ),
    ("qconv", "onednn.qconv2d_pointwise.default", {"qx": (2, 6, 32), "qw": (16, 6, 3)}, (2, 16, 30), 2 * 16 * 30 * 6 * 3),
    ("attention", "aten.scaled_dot_product_attention.default", ATTENTION, (2, 8, 10, 24), 2 * 8 * 10 * 12 * (16 + 24)),
    (
        "attention, grouped queries",
        "aten.scaled_dot_product_attention.default",
        {"query": Q, "key": GROUPED_K, "value": GROUPED_V, "enable_gqa": True},
        (2, 8, 10, 24),
        2 * 8 * 10 * 12 * (16 + 24),
    ),
    ("flex_attention", "higher_order.flex_attention", ATTENTION, (2, 8, 10, 24), 2 * 8 * 10 * 12 * (16 + 24)),
    ("triton", "aten._triton_scaled_dot_attention.default", {"q": Q, "k": K, "v": V}, Q, 2 * 8 * 10 * 12 * (16 + 24)),
    (
        "flash kernel",
        "aten._flash_attention_forward.default",
        {"query": (2, 10, 8, 16), "key": (2, 12, 2, 16), "value": (2, 12, 2, 24), "cum_seq_q": None, "max_q": 10, "max_k": 12},
        (2, 10, 8, 24),
        2 * 8 * 10 * 12 * (16 + 24),
    ),
    (
        "flash kernel, ragged",
        "aten._flash_attention_forward.default",
        {"query": (15, 8, 16), "key": (18, 8, 16), "value": (18, 8, 24), "cum_seq_q": (3,), "max_q": 10, "max_k": 12},
        (15, 8, 24),
        2 * 8 * 10 * 12 * (16 + 24),
    ),
    (
        "varlen",
        "torch_attn._varlen_attn.default",
        {"query": (15, 8, 16), "value": (18, 8, 24), "cu_seq_q": (3,), "max_q": 10, "max_k": 12},
        (15, 8, 24),
        2 * 8 * 10 * 12 * (16 + 24),
    ),
    (
        "efficient kernel",
        "aten._efficient_attention_forward.default",
        {"query": (2, 10, 8, 16), "key": (2, 12, 8, 16), "value": (2, 12, 8, 24), "cu_seqlens_q": None},
        (2, 10, 8, 24),
        2 * 8 * 10 * 12 * (16 + 24),
    ),
    (
        "efficient kernel, ragged",
        "aten._efficient_attention_forward.default",
        {
            "query": (1, 15, 8, 16),
            "key": (1, 18, 8, 16),
            "value": (1, 18, 8, 24),
            "cu_seqlens_q": (3,),
            "max_seqlen_q": 10,
            "max_seqlen_k": 12,
        },
        (1, 15, 8, 24),
        2 * 8 * 10 * 12 * (16 + 24),
    ),
    (
        "cudnn kernel",
        "aten._cudnn_attention_forward.default",
        ATTENTION | {"cum_seq_q": None},
        (2, 8, 10, 24),
        2 * 8 * 10 * 12 * (16 + 24),
    ),
    (
        "cudnn kernel, ragged",
        "aten._cudnn_attention_forward.default",
        {"query": (15, 8, 16), "key": (18, 8, 16), "value": (18, 8, 24), "cum_seq_q": (3,), "max_q": 10, "max_k": 12},
        (15, 8, 24),
        2 * 8 * 10 * 12 * (16 + 24),
    ),
    (
        "attention_backward",
        "aten._scaled_dot_product_flash_attention_backward.default",
        ATTENTION | {"grad_out": (2, 8, 10, 24)},
        Q,
        2 * 8 * 10 * 12 * (16 + 24 + 24 + 16 + 16),
    ),
    (
        "multi-head attention",
        "aten._native_multi_head_attention.default",
        {"query": (2, 10, 16), "key": (2, 12, 16), "value": (2, 12, 16), "embed_dim": 16},
        (2, 10, 16),
        2 * (10 + 12 + 12 + 10) * 16 * 16 + 2 * 2 * 10 * 12 * 16,
    ),
    (
        "encoder layer",
        "aten._transformer_encoder_layer_fwd.default",
        {"src": (2, 10, 16), "embed_dim": 16, "ffn_weight_1": (64, 16), "ffn_weight_2": (16, 64)},
        (2, 10, 16),
        2 * 10 * (4 * 16 * 16 + 2 * 16 * 64) + 2 * 2 * 10 * 10 * 16,
    ),
    ("lstm", "aten.lstm.input", {"input": (3, 2, 4), "params": LSTM}, (3, 2, 5), 3 * 2 * 4 * 5 * (4 + 5)),
    (
        "lstm, two layers, both ways",
        "aten.lstm.input",
        {"input": (3, 2, 4), "params": [*LSTM, *LSTM, (20, 10), (20, 5), (20, 10), (20, 5)]},
        (3, 2, 10),
        3 * 2 * 4 * 5 * (2 * (4 + 5) + 2 * (10 + 5)),
    ),
    (
        "lstm, projected",
        "aten.lstm.input",
        {"input": (3, 2, 4), "params": [(20, 4), (20, 2), (20,), (20,), (2, 5)]},
        (3, 2, 2),
        3 * 2 * (4 * 5 * (4 + 2) + 2 * 5),
    ),
    ("gru, packed", "aten.gru.data", {"data": (11, 4), "params": [(15, 4), (15, 5)]}, (11, 5), 11 * 3 * 5 * (4 + 5)),
    ("cudnn_rnn", "aten._cudnn_rnn.default", {"input": (3, 2, 4), "weight": LSTM}, (3, 2, 5), 3 * 2 * 4 * 5 * (4 + 5)),
    (
        "mkldnn_rnn_layer",
        "aten.mkldnn_rnn_layer.default",
        {"input": (3, 2, 4), "weight0": (20, 4), "weight1": (20, 5)},
        (3, 2, 5),
        3 * 2 * 20 * (4 + 5),
    ),
    ("solve", "aten.linalg_solve.default", {"A": (2, 6, 6), "B": (2, 6, 4)}, (2, 6, 4), 2 * (6**3 // 3 + 6**2 * 4)),
    ("solve, one vector", "aten._linalg_solve_ex.default", {"A": (6, 6), "B": (6,)}, (6,), 6**3 // 3 + 6**2),
    ("inverse", "aten.linalg_inv.default", {"A": (2, 6, 6)}, (2, 6, 6), 2 * (6**3 // 3 + 6**3)),
    ("LU", "aten.linalg_lu_factor.default", {"A": (2, 6, 6)}, (2, 6, 6), 2 * 6**3 // 3),
    ("LU, tall", "aten.linalg_lu_factor.default", {"A": (9, 6)}, (9, 6), 6**2 * (3 * 9 - 6) // 6),
    ("LU solve", "aten.linalg_lu_solve.default", {"LU": (6, 6), "B": (6, 4)}, (6, 4), 6**2 * 4),
    ("LU solve, right", "aten.linalg_lu_solve.default", {"LU": (6, 6), "B": (4, 6), "left": False}, (4, 6), 6**2 * 4),
    ("triangular", "aten.linalg_solve_triangular.default", {"self": (6, 6), "B": (6, 4)}, (6, 4), 6**2 * 4 // 2),
    ("triangular, older", "aten.triangular_solve.default", {"self": (6, 4), "A": (6, 6)}, (6, 4), 6**2 * 4 // 2),
    ("Cholesky", "aten.linalg_cholesky.default", {"self": (2, 6, 6)}, (2, 6, 6), 2 * 6**3 // 6),
    ("Cholesky solve", "aten.cholesky_solve.default", {"self": (6, 4), "input2": (6, 6)}, (6, 4), 6**2 * 4),
    ("Cholesky inverse", "aten.cholesky_inverse.default", {"self": (6, 6)}, (6, 6), 6**3 // 3),
    ("determinant", "aten.linalg_det.default", {"A": (2, 6, 6)}, (2,), 2 * 6**3 // 3),
    ("determinant, older", "aten.logdet.default", {"self": (6, 6)}, (), 6**3 // 3),
    ("slogdet", "aten.linalg_slogdet.default", {"A": (2, 6, 6)}, (2,), 2 * 6**3 // 3),
    (
        "least squares",
        "aten.linalg_lstsq.default",
        {"self": (2, 9, 6), "b": (2, 9, 4)},
        (2, 6, 4),
        2 * (6**2 * (9 - 2) + (2 * 9 * 6 - 6**2 // 2) * 4),
    ),
    ("least squares, wide", "aten.linalg_lstsq.default", {"self": (6, 9), "b": (6, 1)}, (9, 1), 6**2 * 7 + 2 * 9 * 6 - 18),
    ("power", "aten.linalg_matrix_power.default", {"self": (2, 6, 6), "n": 5}, (2, 6, 6), 2 * 6**3 * 3),
    ("power, none", "aten.linalg_matrix_power.default", {"self": (6, 6), "n": 0}, (6, 6), 0),
    ("power, negative", "aten.linalg_matrix_power.default", {"self": (6, 6), "n": -1}, (6, 6), 6**3 // 3 + 6**3),
    ("norm", "aten.linalg_norm.default", {"self": (6, 6), "ord": 1}, (), 0),
    ("hspmm", "aten.hspmm.default", {"mat1": (6, 4), "mat2": (4, 5)}, (6, 5), 6 * 4 * 5),
    (
        "sampled addmm",
        "aten.sparse_sampled_addmm.default",
        {"self": (6, 5), "mat1": (6, 4), "mat2": (4, 5)},
        (6, 5),
        6 * 4 * 5,
    ),
    ("gru_cell", "aten.gru_cell.default", {"input": (2, 4), "w_ih": (15, 4), "w_hh": (15, 5)}, (2, 5), 2 * 15 * (4 + 5)),
]


@pytest.mark.parametrize(("target", "args", "out", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_formula(target: str, args: dict[str, Any], out: Any, expected: int) -> None:
    assert macs(target, args, out) == expected


@pytest.mark.parametrize("order", ["nuc", 2, -2])
def test_a_norm_by_singular_values_is_not_counted(order: object) -> None:
    assert macs("aten.linalg_norm.default", {"self": (6, 6), "ord": order}, ()) is None


def test_every_formula_has_a_case() -> None:
    tested = {BUILT_IN.find(case[1]) for case in CASES}
    assert {made.function.__name__ for made in BUILT_IN.table.values() if made not in tested} == set()


def test_every_formula_says_what_it_computes() -> None:
    for made in BUILT_IN.table.values():
        assert all(f"{section}:" in made.doc for section in ("Shapes", "MACs")), made.function.__name__
        assert made.origin == "fxprof"


# --- the table


def doubled(self: Shape) -> int:
    """Twice the elements."""
    return 2 * self[0]


def test_two_formulas_for_one_operator_are_refused() -> None:
    table = Formulas(BUILT_IN.table)
    with pytest.raises(FormulaError, match=r"two formulas for aten\.mm: matmul and doubled"):
        table.formula("mylib.op", "aten.mm")(doubled)
    assert "mylib.op" not in table.table


def test_a_formula_replaces_another_on_purpose() -> None:
    table = Formulas(BUILT_IN.table)
    table.formula("aten.mm", override=True)(doubled)
    assert table.table["aten.mm"].function is doubled
    assert BUILT_IN.table["aten.mm"].function is not doubled


@pytest.mark.parametrize("targets", [(), ("mm",), (".mm",), (3,)])
def test_operators_without_a_namespace_are_refused(targets: tuple[Any, ...]) -> None:
    with pytest.raises(FormulaError, match=r"namespace\.name"):
        Formulas().formula(*targets)(doubled)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(FormulaError, match="'fancy' is not a kind"):
        Formulas().formula("mylib.op", kind="fancy")(doubled)


def test_parameters_without_a_name_are_refused() -> None:
    def nameless(*args: Shape) -> int:
        return len(args)

    with pytest.raises(FormulaError, match=r"\*args and \*\*kwargs"):
        Formulas().formula("mylib.op")(nameless)


def test_the_overload_comes_before_the_name_and_the_name_before_its_functional_form() -> None:
    table = Formulas()
    table.formula("mylib.op")(doubled)
    assert table.find("mylib.op_.default") is table.find("mylib.op.default") is table.table["mylib.op"]
    table.formula("mylib.op.out", "mylib.op_")(lambda out: out[0])
    assert table.find("mylib.op.out") is table.find("mylib.op_.default") is table.table["mylib.op_"]
    assert table.find("mylib.op.default") is table.table["mylib.op"]
    assert table.find("mylib.other") is None


# --- explain


@pytest.mark.parametrize("name", ["conv2d", "aten.conv2d", "aten::conv2d", "aten.conv2d.default", "torch.ops.aten.conv2d"])
def test_explain_knows_every_spelling(name: str) -> None:
    text = explain(name)
    assert text == explain("aten.conv2d")
    assert text.startswith("aten.conv1d, aten.conv2d, ")
    assert "kind:  convolution" in text
    assert "reads: weight, out" in text
    assert text.endswith("taps on zero padding are counted.")


def test_explain_finds_the_formula_of_overloads() -> None:
    assert explain("lstm").startswith("aten.lstm.input, ")


def test_explain_says_why_an_operator_is_free() -> None:
    assert explain("relu_") == f"aten.relu_\n  kind:  elementwise\n\nIt costs no MACs. {REASONS['elementwise']}"


def test_explain_says_how_bodies_are_treated() -> None:
    assert "the more expensive one" in explain("cond")
    assert "once per leading element" in explain("higher_order.scan")


def test_explain_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'conv2dd' is known.*did you mean aten\.conv2d"):
        explain("conv2dd")
    with pytest.raises(UsageError, match="write names as"):
        explain("mylib.zzzzzzzzz")


def test_the_formula_table_has_a_row_per_formula_and_every_operator() -> None:
    lines = formula_table().splitlines()
    assert len(lines) == 2 + len({id(made) for made in BUILT_IN.table.values()})
    assert all(f"`{target}`" in "".join(lines) for target in BUILT_IN)
    assert all(line.count("|") == 4 and not line.endswith("|  |") for line in lines[2:])


def test_the_document_holds_the_formula_table() -> None:
    text = (Path(__file__).parents[1] / "docs/counting.md").read_text(encoding="utf-8")
    begin, end = "<!-- formulas: begin -->\n", "\n<!-- formulas: end -->"
    assert text.partition(begin)[2].partition(end)[0] == formula_table(), "paste what formula_table() gives"


def test_kinds_and_formulas_do_not_overlap() -> None:
    assert not set(KIND_OF) & set(BUILT_IN.table)
    assert set(KIND_OF.values()) == set(REASONS) <= set(KINDS)
