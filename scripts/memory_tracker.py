"""Peak memory as torch's own tracker finds it: components on fake tensors, called with ready-made inputs under `MemTracker`.

It is independent of fxprof on purpose: the yardstick of `scripts/benchmark.py --memory`. It reads the same JSON object as
`plain_counter.py` from standard input, and prints the peak bytes of each call, in order, and the seconds.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

from plain_counter import arguments, build

STARTED = time.perf_counter()


def track(torch: Any, component: Any, call: dict[str, Any]) -> int:
    """The peak of one call, with the component's weights."""
    from torch.distributed._tools.mem_tracker import MemTracker

    module = component.get_submodule(call["entry"])
    keywords = arguments(torch, module, call["inputs"], "cpu")
    tracker = MemTracker()
    tracker.track_external(module)
    with torch.no_grad(), tracker:
        module(**keywords)
    peaks: dict[Any, dict[Any, int]] = tracker.get_tracker_snapshot("peak")
    return max(sum(size for kind, size in sizes.items() if str(kind) == "Total") for sizes in peaks.values())


def main() -> None:
    """Track the components of standard input."""
    spec = json.load(sys.stdin)
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    for home in {entry["library"] for entry in spec["components"]} & {"diffusers", "transformers"}:
        importlib.import_module(home)
    peaks = []
    with FakeTensorMode():
        for entry in spec["components"]:
            component = build(torch, entry, "cpu")
            peaks.append([track(torch, component, call) for call in entry["calls"]])
    print(json.dumps({"peaks": peaks, "seconds": time.perf_counter() - STARTED}))


if __name__ == "__main__":
    main()
