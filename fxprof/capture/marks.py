"""Nodes of a captured graph that are no operators: where a block begins and ends that is repeated, and what stands for it."""

from __future__ import annotations

import torch
from torch.fx import Node

_LIBRARY = torch.library.Library("fxprof", "DEF")
_LIBRARY.define("begin(int block) -> ()")
_LIBRARY.define("end(int block, Tensor[] inputs, Tensor[] results) -> ()")
_LIBRARY.define("repeat(int block, Tensor[] inputs) -> Tensor[]")
BEGIN = torch.ops.fxprof.begin.default
"""Marks where the first call of a block starts in a graph."""
END = torch.ops.fxprof.end.default
"""Marks where it ends, and says what a later call is given and gives, as that has it: in the same order."""
REPEAT = torch.ops.fxprof.repeat.default
"""Stands for a later call."""


def number_of(node: Node) -> int:
    """Which block a mark or a stand-in belongs to."""
    return int(node.args[0])  # type: ignore[arg-type]  # as it was made below
