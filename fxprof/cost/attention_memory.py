"""Bytes that scaled dot-product attention takes for itself, beyond its result.

Fused, a kernel keeps one number in float32 for each query: the logarithm of its sum of exponentials. Computed as products, as
by torch's mathematical back end, it holds the scores twice (before and after the softmax) and scaled operands, and 16-bit
operands become float32 first. A test compares both rules with operators that run.
"""

from __future__ import annotations

from math import prod

from fxprof.trace import Op, Sizes, Tensor
from fxprof.trace.element_types import BYTES, bytes_of

_ATTENTION = "aten.scaled_dot_product_attention.default"
_WIDE = 4
"""Bytes of an element of float32, in which sums of 16-bit elements are computed."""


def attention_bytes(op: Op, sizes: Sizes, attention: str) -> int:
    """Bytes beyond the result at the same time at most; 0 for every other operator.

    Args:
        op: an operator.
        sizes: of the symbols.
        attention: `fused` or `math`.
    """
    if op.target != _ATTENTION:
        return 0
    query, key, value = (op.argument(name) for name in ("query", "key", "value"))
    if not (isinstance(query, Tensor) and isinstance(key, Tensor) and isinstance(value, Tensor)):
        return 0
    q, k, v = ([sizes.size(size) for size in tensor.shape] for tensor in (query, key, value))
    rows = prod(q[:-1])
    return rows * _WIDE if attention == "fused" else _as_products(op, sizes, query, (q, k, v))


def _as_products(op: Op, sizes: Sizes, query: Tensor, shapes: tuple[list[int], list[int], list[int]]) -> int:
    q, k, v = shapes
    own = BYTES[query.dtype]
    wide = max(own, _WIDE)
    heads = prod(q[:-2])
    scores = heads * q[-2] * k[-2]
    repeated = 0
    if op.argument("enable_gqa") and len(q) > 2 and k[-3] != q[-3]:  # noqa: PLR2004 - heads, positions, width
        k, v = [*q[:-2], *k[-2:]], [*q[:-2], *v[-2:]]
        repeated = (prod(k) + prod(v)) * own
    base = repeated + _mask_bytes(op, sizes, own, wide, q[-2] * k[-2])
    if own < wide:
        base += (prod(q) + prod(k) + prod(v)) * wide
    scaled_q, scaled_k, result = prod(q) * wide, prod(k) * wide, heads * q[-2] * v[-1]
    narrowed = (result + scores) * own if own < wide else 0
    most = max(scaled_k + scores * wide, 2 * scores * wide, (scores + result) * wide + narrowed)
    return base + scaled_q + most - result * own


def _mask_bytes(op: Op, sizes: Sizes, own: int, wide: int, square: int) -> int:
    """Bytes of a mask of numbers that is made from a mask of truths, or from the wish for a causal one."""
    mask = op.argument("attn_mask")
    if isinstance(mask, Tensor):
        return bytes_of(mask, sizes) * own if mask.dtype == "bool" else 0
    return square * wide if op.argument("is_causal") is True else 0
