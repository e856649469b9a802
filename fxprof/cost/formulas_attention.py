"""Formulas of attention, which is dense: a causal or sparse mask saves nothing."""

from __future__ import annotations

from math import prod

from fxprof.cost.registry import Shape, formula


@formula(
    "aten.scaled_dot_product_attention",
    "aten._scaled_dot_product_flash_attention",
    "aten._scaled_dot_product_flash_attention_for_cpu",
    "aten._scaled_dot_product_efficient_attention",
    "aten._scaled_dot_product_cudnn_attention",
    "aten._scaled_dot_product_fused_attention_overrideable",
    "aten._scaled_dot_product_attention_math",
    "aten._scaled_dot_product_attention_math_for_mps",
    "higher_order.flex_attention",
    kind="attention",
)
def attention(query: Shape, key: Shape, value: Shape, out: Shape) -> int:
    """Attention: scores of queries against keys, then a weighted sum of values.

    Shapes: query [B, H, Lq, Dqk], key [B, Hk, Lk, Dqk], value [B, Hk, Lk, Dv] -> out [B, H, Lq, Dv].
    MACs:   B x H x Lq x Lk x (Dqk + Dv), with H the heads of the queries even if they share keys and values.
    Notes:  dense, whatever the mask, and whatever flex_attention's blocks; scaling, mask, softmax and dropout add none.
    """
    return prod(out[:-1]) * key[-2] * (query[-1] + value[-1])


@formula("aten._triton_scaled_dot_attention", kind="attention")
def triton_attention(q: Shape, k: Shape, v: Shape) -> int:
    """Attention by a Triton kernel.

    Shapes: q [B, H, Lq, Dqk], k [B, H, Lk, Dqk], v [B, H, Lk, Dv] -> out [B, H, Lq, Dv].
    MACs:   B x H x Lq x Lk x (Dqk + Dv).
    Notes:  dense; scaling, softmax and dropout add none.
    """
    return prod(q[:-1]) * k[-2] * (q[-1] + v[-1])


@formula(
    "aten._flash_attention_forward",
    "aten._flash_attention_forward_no_dropout_inplace",
    kind="attention",
)
def flash_attention(
    *, query: Shape, key: Shape, value: Shape, cum_seq_q: Shape | None, max_q: int | None, max_k: int | None
) -> int:
    """Attention by the flash kernel itself, which has the heads after the positions.

    Shapes: query [B, Lq, H, Dqk], key [B, Lk, Hk, Dqk], value [B, Lk, Hk, Dv] -> out [B, Lq, H, Dv]; or sequences of
            different length end to end, query [T, H, Dqk], with where each begins in cum_seq_q [B + 1].
    MACs:   B x H x Lq x Lk x (Dqk + Dv).
    Notes:  dense; sequences of different length all count at the longest, an upper bound.
    """
    if cum_seq_q is None:
        return prod(query[:-1]) * key[1] * (query[-1] + value[-1])
    return _ragged(cum_seq_q, max_q, max_k, query[-2], query[-1] + value[-1])


@formula("torch_attn._varlen_attn", "torch_attn._varlen_attn_out", kind="attention")
def varlen_attention(query: Shape, value: Shape, cu_seq_q: Shape, max_q: int, max_k: int) -> int:
    """Attention within sequences of different length that lie end to end.

    Shapes: query [T, H, Dqk], key [S, Hk, Dqk], value [S, Hk, Dv], cu_seq_q [B + 1] -> out [T, H, Dv].
    MACs:   B x H x max_q x max_k x (Dqk + Dv).
    Notes:  all sequences count at the longest, an upper bound.
    """
    return _ragged(cu_seq_q, max_q, max_k, query[-2], query[-1] + value[-1])


@formula("aten._efficient_attention_forward", kind="attention")
def efficient_attention(
    *, query: Shape, key: Shape, value: Shape, cu_seqlens_q: Shape | None, max_seqlen_q: int | None, max_seqlen_k: int | None
) -> int:
    """Attention by the memory-efficient kernel itself, which has the heads after the positions.

    Shapes: query [B, Lq, H, Dqk], key [B, Lk, H, Dqk], value [B, Lk, H, Dv] -> out [B, Lq, H, Dv]; or sequences of
            different length end to end with B = 1, and where each begins in cu_seqlens_q [sequences + 1].
    MACs:   B x H x Lq x Lk x (Dqk + Dv).
    Notes:  dense; sequences of different length all count at the longest, an upper bound.
    """
    if cu_seqlens_q is None:
        return prod(query[:-1]) * key[1] * (query[-1] + value[-1])
    return _ragged(cu_seqlens_q, max_seqlen_q, max_seqlen_k, query[-2], query[-1] + value[-1])


@formula("aten._cudnn_attention_forward", kind="attention")
def cudnn_attention(
    *, query: Shape, key: Shape, value: Shape, cum_seq_q: Shape | None, max_q: int | None, max_k: int | None
) -> int:
    """Attention by the cuDNN kernel itself.

    Shapes: query [B, H, Lq, Dqk], key [B, Hk, Lk, Dqk], value [B, Hk, Lk, Dv] -> out [B, H, Lq, Dv]; or sequences of
            different length end to end, query [T, H, Dqk], with where each begins in cum_seq_q [B + 1].
    MACs:   B x H x Lq x Lk x (Dqk + Dv).
    Notes:  dense; sequences of different length all count at the longest, an upper bound.
    """
    if cum_seq_q is None:
        return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])
    return _ragged(cum_seq_q, max_q, max_k, query[-2], query[-1] + value[-1])


@formula(
    "aten._scaled_dot_product_flash_attention_backward",
    "aten._scaled_dot_product_flash_attention_for_cpu_backward",
    "aten._scaled_dot_product_efficient_attention_backward",
    "aten._scaled_dot_product_cudnn_attention_backward",
    "aten._scaled_dot_product_fused_attention_overrideable_backward",
    kind="attention",
)
def attention_backward(query: Shape, key: Shape, value: Shape) -> int:
    """Gradients of attention.

    Shapes: query [B, H, Lq, Dqk], key [B, Hk, Lk, Dqk], value [B, Hk, Lk, Dv].
    MACs:   B x H x Lq x Lk x (3 Dqk + 2 Dv): the scores again, then the gradients of scores, values, queries and keys.
    Notes:  dense, whatever the mask.
    """
    return prod(query[:-1]) * key[-2] * (3 * query[-1] + 2 * value[-1])


@formula("aten._native_multi_head_attention", "aten._triton_multi_head_attention", kind="attention")
def multi_head_attention(query: Shape, key: Shape, embed_dim: int) -> int:
    """Attention with its projections in one operator.

    Shapes: query [B, Lq, E], key and value [B, Lk, E], qkv_weight [3E, E], proj_weight [E, E] -> out [B, Lq, E].
    MACs:   B x (2 Lq + 2 Lk) x E x E of the projections + 2 x B x Lq x Lk x E of the attention.
    Notes:  dense; biases, scaling, mask and softmax add none.
    """
    batch, queries, keys = query[0], query[1], key[1]
    return batch * (2 * (queries + keys) * embed_dim * embed_dim + 2 * queries * keys * embed_dim)


@formula("aten._transformer_encoder_layer_fwd", kind="attention")
def transformer_encoder_layer(src: Shape, embed_dim: int, ffn_weight_1: Shape, ffn_weight_2: Shape) -> int:
    """A transformer encoder layer in one operator.

    Shapes: src [B, L, E], ffn_weight_1 [F, E], ffn_weight_2 [E, F] -> out [B, L, E].
    MACs:   B x L x (4 E x E + 2 E x F) of the linear layers + 2 x B x L x L x E of the attention.
    Notes:  dense; biases, norms, activation, mask and softmax add none.
    """
    feed_forward = prod(src[:-1]) * (prod(ffn_weight_1) + prod(ffn_weight_2))
    return multi_head_attention(src, src, embed_dim) + feed_forward


def _ragged(starts: Shape, max_q: int | None, max_k: int | None, heads: int, width: int) -> int:
    """MACs of sequences that lie end to end, with all of them counted at the length of the longest."""
    return (starts[0] - 1) * heads * (max_q or 0) * (max_k or 0) * width
