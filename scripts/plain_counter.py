"""A counter as people write it by hand: components on the meta device, called with ready-made inputs under `FlopCounterMode`.

It is independent of fxprof on purpose: the oracle of the full-size tests and the yardstick of `scripts/benchmark.py`.

It reads from standard input a JSON object with `components`, a list of `name`, `library`, `class`, `values` and `calls`, each
with `entry` and `inputs` (`name`, `shape`, `dtype`, `value`). It prints a JSON object with the FLOPs of each call, in order,
the seconds and the peak memory.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import resource
import sys
import time
from typing import Any

STARTED = time.perf_counter()


def build(torch: Any, entry: dict[str, Any], device: str = "meta") -> Any:
    """A component, as `from_config` makes it."""
    library = entry["library"].removeprefix("diffusers.pipelines.")
    home = library if library in {"diffusers", "transformers"} else f"diffusers.pipelines.{library}"
    class_ = getattr(importlib.import_module(home), entry["class"])
    with torch.device(device):
        if hasattr(class_, "from_config"):
            return class_.from_config(entry["values"]).eval()
        values, config_class = entry["values"], class_.config_class
        inner = getattr(config_class, "base_config_key", "")
        if inner and isinstance(values.get(inner), dict):
            values = values[inner]
        config = config_class.from_dict({key: value for key, value in values.items() if key not in {"dtype", "torch_dtype"}})
        config.use_cache = False
        # ChatGLM makes empty layers on one device to move them to another, which fake tensors refuse.
        whole = {"empty_init": False} if "empty_init" in inspect.signature(class_).parameters else {}
        return class_(config, **whole).eval()


def arguments(torch: Any, module: Any, inputs: list[dict[str, Any]], device: str) -> dict[str, Any]:
    """Keyword arguments with tensors of the right shapes; None for an argument that `module` requires but that is not given."""
    parameters = inspect.signature(module.forward).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    given = {item["name"].partition(".")[0] for item in inputs}
    required = (item.name for item in parameters if item.kind in kinds and item.default is item.empty)
    found: dict[str, Any] = {name: None for name in required if name not in given}
    for item in inputs:
        *outer, last = item["name"].split(".")
        place = found
        for name in outer:
            place[name] = place = place.get(name) or {}
        if item["shape"] is None:
            place[last] = ast.literal_eval(item["value"])
        elif item["name"] != "attention_mask" or device != "meta":  # there a mask has no values to read
            place[last] = torch.zeros(item["shape"], dtype=getattr(torch, item["dtype"]), device=device)
    return {name: nested(value) for name, value in found.items()}


def nested(value: Any) -> Any:
    """The same value with lists for dictionaries whose keys are positions: dotted names make dictionaries of both."""
    if not isinstance(value, dict):
        return value
    inner = {name: nested(item) for name, item in value.items()}
    return list(inner.values()) if all(name.isdigit() for name in inner) else inner


def count(torch: Any, component: Any, call: dict[str, Any], device: str = "meta") -> int:
    """FLOPs of one call according to `FlopCounterMode`."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    module = component.get_submodule(call["entry"])
    keywords = arguments(torch, module, call["inputs"], device)
    # The counter sees attention on the CPU only if it is spelled out as products.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(**keywords)
    return int(counter.get_total_flops())


def count_all(torch: Any, component: Any, entry: dict[str, Any]) -> list[int]:
    """FLOPs of each call of a component."""
    try:
        return [count(torch, component, call) for call in entry["calls"]]
    except (RuntimeError, TypeError) as error:
        if "meta" not in str(error) and "attention_mask" not in str(error):
            raise
    # Some models read their masks, or require one; meta tensors do not allow reading, and fake ones on the CPU do.
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        component = build(torch, entry, "cpu")
        return [count(torch, component, call, "cpu") for call in entry["calls"]]


def main() -> None:
    """Count the components of standard input."""
    spec = json.load(sys.stdin)
    import torch

    for home in {entry["library"] for entry in spec["components"]} & {"diffusers", "transformers"}:
        importlib.import_module(home)
    imported = time.perf_counter()
    built = [build(torch, entry) for entry in spec["components"]]
    ready = time.perf_counter()
    flops = [count_all(torch, component, entry) for component, entry in zip(built, spec["components"], strict=True)]
    done = time.perf_counter()
    result = {
        "flops": flops,
        "import": imported - STARTED,
        "build": ready - imported,
        "count": done - ready,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
