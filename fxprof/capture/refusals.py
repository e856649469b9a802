"""The reason for which torch.export refused a module, in words about the module's work."""

from __future__ import annotations

import re

from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from fxprof.capture.error_causes import describe

_SAID: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), words)
    for pattern, words in (
        (r"__obj_flatten__", "it works with an object of torch's C++ classes, such as packed weights, which no graph can hold"),
        (
            r"Unsupported input type <class '(?:[^']*\.)?(\w+)'>",
            r"it is given an object of the class \1, and an export takes tensors, plain values and containers of them",
        ),
        (r"\.numpy\(\) is not supported for tensor subclasses", "it makes an array of numpy of a tensor"),
        (r"failed to unpack the object", "it computes sizes from the contents of tensors"),
        (r"Could not extract specialized integer from data-dependent", "it takes a number out of a tensor"),
        (r"is not tracked with proxy", "it computes with sizes that torch.export does not follow"),
        (r"Couldn't swap", "it exchanges its own weights while it runs"),
        (r"RuntimeError when making fake tensor call", "it calls an operator that torch.export cannot run on shapes alone"),
        (r"data-dependent expression", "it decides by values of a tensor"),
    )
)
"""Patterns of torch's messages with their meaning; the first that fits counts."""


def refusal(error: BaseException) -> str:
    """The work of a module that torch.export cannot put in a graph; torch's own message where the meaning is unknown."""
    if isinstance(error, DataDependentOutputException):
        return "it takes a number out of a tensor"
    if isinstance(error, DynamicOutputShapeException):
        return "it computes sizes from the contents of tensors"
    text = describe(error)
    for pattern, words in _SAID:
        match = pattern.search(text)
        if match:
            return match.expand(words)
    return "it decides by values of a tensor" if isinstance(error, GuardOnDataDependentSymNode) else text
