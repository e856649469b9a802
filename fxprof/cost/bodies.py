"""The treatment of operators that contain other operators."""

from __future__ import annotations

from collections.abc import Mapping

from fxprof.trace.higher_order import PREFIX

TREATMENTS: Mapping[str, str] = {
    "enter": "Its body runs once: the operators inside are counted, it costs no MACs itself.",
    "choose": "One of its branches runs: those of the more expensive one are counted, as an upper bound when the costs differ.",
    "repeat": "Its body runs once per leading element of xs: the operators inside are counted that often.",
    "combine": "Its body combines pairs of elements: for n elements the operators inside count 2 n times, an upper bound.",
    "leave": "The number of runs of its body depends on data: it is uncounted, with a note about the cost of one iteration.",
}
"""Treatment to its description."""

TREATMENT_OF: Mapping[str, str] = {
    "associative_scan": "combine",
    "checkpoint": "enter",
    "cond": "choose",
    "dynamo_bypassing_wrapper": "enter",
    "hints_wrapper": "enter",
    "invoke_quant": "enter",
    "invoke_quant_packed": "enter",
    "invoke_subgraph": "enter",
    "map": "repeat",
    "map_impl": "repeat",
    "scan": "repeat",
    "strict_mode": "enter",
    "tag_activation_checkpoint": "enter",
    "while_loop": "leave",
    "while_loop_stack_output": "leave",
    "wrap": "enter",
    "wrap_activation_checkpoint": "enter",
    "wrap_with_autocast": "enter",
    "wrap_with_set_grad_enabled": "enter",
}
"""Higher-order operator to its treatment."""


def treatment_of(target: str) -> str | None:
    """The treatment of a higher-order operator, or None for an unknown one; every `wrap...` is entered."""
    name = target.removeprefix(PREFIX)
    return TREATMENT_OF.get(name, "enter" if name.startswith("wrap") else None)
