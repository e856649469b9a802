"""The names of operators, and the argument names of operators without a schema.

A star marks an argument that takes all following values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

PREFIX = "higher_order."
"""The namespace of higher-order operators, in place of a library's."""

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

ENTERED = frozenset(
    (
        *("wrap", "wrap_activation_checkpoint", "wrap_with_autocast", "wrap_with_set_grad_enabled", "invoke_subgraph"),
        *("checkpoint", "tag_activation_checkpoint", "strict_mode", "hints_wrapper", "dynamo_bypassing_wrapper"),
    )
)
"""Operators that run their single body once, and return its results."""

_Item = TypeVar("_Item")


def bind_by_table(target: str, args: Sequence[_Item]) -> list[tuple[str, _Item | tuple[_Item, ...]]]:
    """Name positional arguments by `PARAMETERS`; for operators without an entry by position, `arg0`, `arg1` ..."""
    names = PARAMETERS.get(target.removeprefix(PREFIX), ())
    named: list[tuple[str, _Item | tuple[_Item, ...]]] = []
    for position, value in enumerate(args):
        if position < len(names) and names[position].startswith("*"):
            return [*named, (names[position][1:], tuple(args[position:]))]
        named.append((names[position] if position < len(names) else f"arg{position}", value))
    return named


def function_name(module: str, name: str) -> str:
    """The name of a Python function that a graph calls, as in `Op.target`: `operator.mul`, `torch.sym_max`."""
    home = (module or "python").lstrip("_").removeprefix("torch.fx.experimental.")
    return f"{'torch' if home.startswith(('torch', 'symbolic')) else home}.{name}"
