"""Measure the memory of bundled models on a CUDA device, beside what fxprof expects.

    python scripts/measure_memory.py [MODEL ...] [--dtype bfloat16] [--height N] [--width N] [--images N] [-o FILE.json]

The pipeline is built from the bundled configuration with random weights on the device; nothing is downloaded. For every call
of a component the counter of torch's allocator is reset before it and read after it (`torch.cuda.max_memory_allocated`).
The result of `-o` has the device's name and the versions, so that it can be kept in the repository. Without a CUDA device the
script says so and exits with 2.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from tabulate import tabulate
from torch import nn

import fxprof
from fxprof.capture.build import Built, build
from fxprof.capture.optional import standing_in
from fxprof.cost.workspace import CUBLAS
from fxprof.result.memory import Memory
from fxprof.source.workload import DEFAULT_PROMPT
from fxprof.source.zoo import load_zoo

MODELS = ("sd-1.5", "sdxl-base-1.0", "pixart-sigma-1024", "sd3-medium")
GIB = 2**30
HOPPER = 9
"""The major number of the compute capability from which cuBLAS takes the larger buffers."""
NO_DEVICE = 2
"""The exit code without a CUDA device."""


class Counter(Protocol):
    """What is read of an allocator."""

    def reset(self) -> None:
        """Start a new peak."""

    def peak(self) -> int:
        """The most bytes since then."""


class Cuda:
    """The allocator of torch on a CUDA device."""

    def reset(self) -> None:
        """Start a new peak, when all earlier work is done."""
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()

    def peak(self) -> int:
        """The most bytes since then."""
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()


class Measured(NamedTuple):
    """A call of a component: what was measured, and what fxprof expects, in bytes."""

    component: str
    entry: str
    peak: int
    tensors: int
    workspace: int
    """The estimate, with cuBLAS's buffers."""

    @property
    def error(self) -> float:
        """The error with the estimate, as a part of the peak."""
        return (self.tensors + self.workspace) / self.peak - 1


def measure(
    modules: Mapping[str, nn.Module], entries: Sequence[tuple[str, str]], run: Callable[[], object], counter: Counter
) -> dict[tuple[str, str], int]:
    """The largest peak of each entry while a pipeline runs.

    Args:
        modules: the components.
        entries: component, and path of the module in it that is called.
        run: runs the pipeline.
        counter: of the device.
    """
    peaks: dict[tuple[str, str], int] = {}

    def after(entry: tuple[str, str]) -> None:
        peaks[entry] = max(peaks.get(entry, 0), counter.peak())

    with ExitStack() as hooks:
        for entry in entries:
            component, path = entry
            module = modules[component].get_submodule(path)
            hooks.enter_context(module.register_forward_pre_hook(lambda *_: counter.reset()))
            hooks.enter_context(module.register_forward_hook(lambda *_, entry=entry: after(entry)))
        run()
    return peaks


def compared(memory: Memory, peaks: Mapping[tuple[str, str], int], cublas: int) -> Iterator[Measured]:
    """What was measured beside the largest expected moment of the same entry."""
    for (component, entry), peak in peaks.items():
        found = [moment for moment in memory.moments if (moment.component, moment.entry) == (component, entry) and moment.count]
        moment = max(found, key=lambda moment: moment.estimate)
        yield Measured(component, entry, peak, moment.total, moment.estimate - moment.total + cublas)


def table(rows: Sequence[Measured]) -> str:
    """The table for people."""
    headers = ("component", "tensors GiB", "with estimate GiB", "measured GiB", "error of tensors", "error with estimate")
    cells = [
        (
            f"{row.component}.{row.entry}".rstrip("."),
            f"{row.tensors / GIB:.3f}",
            f"{(row.tensors + row.workspace) / GIB:.3f}",
            f"{row.peak / GIB:.3f}",
            f"{row.tensors / row.peak - 1:+.1%}",
            f"{row.error:+.1%}",
        )
        for row in rows
    ]
    return tabulate(cells, headers, tablefmt="github", disable_numparse=True)


def kept(model: str, workload: Mapping[str, Any], rows: Sequence[Measured]) -> dict[str, Any]:
    """What is written to a file."""
    return {"model": model, "workload": dict(workload), "calls": [row._asdict() for row in rows]}


def on_device(model: str, dtype: torch.dtype, device: str) -> Built:
    """The pipeline with random weights on a device."""
    built = build(load_zoo(model), dtype)
    for module in built.modules.values():
        module.to_empty(device=device)  # the built weights are all one piece of memory, which nobody may write to
        with torch.no_grad():
            for weight in (*module.parameters(), *module.buffers()):
                if weight.is_floating_point():
                    weight.normal_(std=0.02)
                else:
                    weight.zero_()
    return built


def measured(model: str, workload: Mapping[str, Any]) -> list[Measured]:
    """Measure a model on the CUDA device that torch uses."""
    profile = fxprof.profile(model, **workload)
    memory = profile.memory()
    entries = list(dict.fromkeys((moment.component, moment.entry) for moment in memory.moments if moment.count))
    with standing_in() as stand_ins, torch.inference_mode():
        built = on_device(model, getattr(torch, workload["dtype"]), "cuda")
        stand_ins.bind()
        names = {"images": "num_images_per_prompt", "steps": "num_inference_steps"}
        given = {names.get(name, name): value for name, value in workload.items() if name != "dtype"}
        peaks = measure(built.modules, entries, lambda: built.pipeline(DEFAULT_PROMPT, **given), Cuda())
    major, _ = torch.cuda.get_device_capability()
    return list(compared(memory, peaks, CUBLAS[major >= HOPPER]))


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The arguments of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="bfloat16")
    for name in ("height", "width", "images"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("-o", "--output", type=Path)
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    options = arguments(given)
    if not torch.cuda.is_available():
        print("no CUDA device: nothing was measured", file=sys.stderr)
        return NO_DEVICE
    wanted = {name: getattr(options, name) for name in ("height", "width", "images") if getattr(options, name) is not None}
    workload = {"steps": 2, "dtype": options.dtype, **wanted}
    results = []
    for model in options.models:
        rows = measured(model, workload)
        print(f"{model} {workload}\n\n{table(rows)}\n", flush=True)
        results.append(kept(model, workload, rows))
        torch.cuda.empty_cache()
    if options.output is not None:
        versions = {"torch": torch.__version__, "cuda": torch.version.cuda, "fxprof": fxprof.__version__}
        found = {"device": torch.cuda.get_device_name(), "versions": versions, "models": results}
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
