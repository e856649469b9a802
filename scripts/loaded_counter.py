"""Count a `.pt2` file without fxprof: `torch.export.load`, then a run under `FlopCounterMode`.

    python scripts/loaded_counter.py FILE.pt2

The run is on fake tensors, so it computes nothing; attention is forced to its mathematical form, because the counter counts the
fused one on the CPU as zero.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Interpreter
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def flops(path: str) -> int:
    """FLOPs of one call of the program in a file."""
    program = torch.export.load(path)
    values = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"]
    mode = next((value.fake_mode for value in values if hasattr(value, "fake_mode")), None) or FakeTensorMode()
    counter: Any = FlopCounterMode(display=False)
    with torch.no_grad(), mode, sdpa_kernel(SDPBackend.MATH), counter:
        Interpreter(program.graph_module).run(*values)
    return int(counter.get_total_flops())


if __name__ == "__main__":
    print(json.dumps({"flops": flops(sys.argv[1])}))
