"""Causal attention: the part of its products that its own mask hides.

An attention says that it is causal by its argument `is_causal`; a mask that is a tensor says nothing. torch aligns the mask at
the top left: the query in row `i` of `Lq` sees the keys `0` to `i` of `Lk`. With `s` the shorter of both lengths that makes
`s (s + 1) / 2 + (Lq - s) Lk` of `Lq Lk` pairs, the lower triangle with its diagonal. Scores, and the weighted sum of values,
take the same MACs for each pair, so that the hidden pairs' share of the MACs is their share of all pairs.

Kernels that are called by themselves align other masks at the bottom right, so those count only where both lengths are equal.
"""

from __future__ import annotations

from collections.abc import Callable

from fxprof.trace import Op, Tensor

KIND = "attention"
"""The kind of operators that may be causal."""


def masked_macs(op: Op, macs: int, shape_of: Callable[[Tensor], tuple[int, ...]]) -> int:
    """MACs of one execution for pairs that its own causal mask hides; 0 for attention that does not say that it is causal.

    Args:
        op: an operator of attention.
        macs: of one execution, with every pair of a query and a key.
        shape_of: gives the sizes of a tensor.
    """
    name = op.target.split(".")[1]
    query, key = op.argument("query"), op.argument("key")
    is_own = name in _KERNELS
    causal = op.argument("custom_mask_type") in (1, 2) if name == _EFFICIENT else op.argument("is_causal") is True
    if not causal or not isinstance(query, Tensor) or not isinstance(key, Tensor):
        return 0
    shapes = shape_of(query), shape_of(key)
    axis = -3 if is_own and name not in _HEADS_FIRST else -2
    if min(map(len, shapes)) < -axis or any(op.argument(name) is not None for name in _RAGGED):
        return 0
    queries, keys = (shape[axis] for shape in shapes)
    if not queries * keys or (is_own and queries != keys):
        return 0
    return macs * (queries * keys - seen_pairs(queries, keys)) // (queries * keys)


def seen_pairs(queries: int, keys: int) -> int:
    """Pairs of a query and a key that a causal mask leaves."""
    least = min(queries, keys)
    return least * (least + 1) // 2 + (queries - least) * keys


_EFFICIENT = "_efficient_attention_forward"
_KERNELS = frozenset(
    (_EFFICIENT, "_flash_attention_forward", "_flash_attention_forward_no_dropout_inplace", "_cudnn_attention_forward")
)
_HEADS_FIRST = frozenset({"_cudnn_attention_forward"})
_RAGGED = ("cum_seq_q", "cu_seqlens_q")
"""Arguments of kernels for sequences of different length that lie end to end."""
