"""The arguments of torch's higher-order operators, which have no schema to bind names from.

A star marks the argument that takes all that follow.
"""

from __future__ import annotations

from collections.abc import Mapping

PREFIX = "higher_order."
"""Higher-order operators have this instead of a namespace of a library."""

PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "cond": ("pred", "true_fn", "false_fn", "operands"),
    "while_loop": ("cond_fn", "body_fn", "carried_inputs", "additional_inputs"),
    "scan": ("combine_fn", "init", "xs", "additional_inputs"),
    "associative_scan": ("combine_fn", "xs", "additional_inputs"),
    "map": ("f", "xs", "pos_args"),
    "map_impl": ("f", "xs", "pos_args"),
    "invoke_subgraph": ("subgraph", "identifier", "*operands"),
    "wrap": ("wrapped_func", "*args"),
    "wrap_with_set_grad_enabled": ("enable_grad", "wrapped_func", "*args"),
    "wrap_with_autocast": ("device_type", "dtype", "enabled", "cache_enabled", "wrapped_func", "*args"),
    "checkpoint": ("wrapped_func", "*args"),
    "tag_activation_checkpoint": ("gmod", "*args"),
    "flex_attention": (
        "query",
        "key",
        "value",
        "score_mod",
        "block_mask",
        "scale",
        "kernel_options",
        "score_mod_other_buffers",
        "mask_mod_other_buffers",
    ),
}
