"""Nodes of a captured graph that are no operators: marks at both ends of a repeated block, and stand-ins for repeats."""

from __future__ import annotations

import torch
from torch.fx import Node

_LIBRARY = torch.library.Library("fxprof", "DEF")
_LIBRARY.define("begin(int block) -> ()")
_LIBRARY.define("end(int block, Tensor[] inputs, Tensor[] results) -> ()")
_LIBRARY.define("repeat(int block, Tensor[] inputs) -> Tensor[]")
BEGIN = torch.ops.fxprof.begin.default
"""Marks the start of a block's first call in a graph."""
END = torch.ops.fxprof.end.default
"""Marks the end of that call, and lists the inputs and results of a later call in the later call's own order."""
REPEAT = torch.ops.fxprof.repeat.default
"""The stand-in for a later call."""


def number_of(node: Node) -> int:
    """The number of the block that a mark or a stand-in belongs to."""
    return int(node.args[0])  # type: ignore[arg-type]  # as it was made below
