"""Count the same components, called the same way, with fxprof and with the counters that people use.

    python scripts/benchmark.py --peers [--write] [--tools NAME ...] [--components NAME ...]

The other counters are installed into an environment of their own, which sees the packages of the current one. Each figure
comes from a process of its own that imports, builds the component without data, and counts one call; a counter's FLOPs or
MACs are converted as its documentation says. A counter runs on the devices that suit it, in order, until it answers. The true
count is that of `FlopCounterMode` with attention spelled out as products, and fxprof's count must equal it.

`docs/comparison.json` holds the results, so `--write` with some counters or components replaces only theirs.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from tabulate import tabulate

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "comparison.md"
README = HERE.parent / "README.md"
CONSTRAINTS = HERE.parent / "constraints.txt"
RESULTS = HERE.parent / "docs" / "comparison.json"
SECONDS = 600
"""Seconds for a counter on one device."""
MOST_BYTES = 16 * 2**30
"""Bytes of address space of one counter."""

Count = Callable[[Any, dict[str, Any]], float]


@dataclass(frozen=True)
class Component:
    """One component of a bundled model, and the counted call."""

    title: str
    model: str
    name: str
    entry: str = ""


COMPONENTS = {
    item.title: item
    for item in (
        Component("SD 1.5 UNet", "sd-1.5", "unet"),
        Component("SD3-medium transformer", "sd3-medium", "transformer"),
        Component("FLUX.1-dev transformer", "flux.1-dev", "transformer"),
        Component("SANA 1.6B transformer", "sana-1.6b-512", "transformer"),
        Component("SANA 1.6B decoder", "sana-1.6b-512", "vae", "decoder"),
        Component("T5-XXL", "sd3-medium", "text_encoder_3"),
        Component("Gemma-2 2B", "sana-1.6b-512", "text_encoder"),
    )
}


def fxprof(module: Any, inputs: dict[str, Any]) -> float:
    """MACs, with inputs on the meta device as for the others."""
    from fxprof import profile_module

    profile = profile_module(module, (), inputs)
    assert not profile.total.uncounted
    return profile.macs


def torch_profiler(module: Any, inputs: dict[str, Any]) -> float:
    """The profiler's estimates, in FLOPs at two per MAC."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], record_shapes=True, with_flops=True) as found:
        module(**inputs)
    return sum(event.flops or 0 for event in found.key_averages()) / 2


def torchprofile(module: Any, inputs: dict[str, Any]) -> float:
    """Reports MACs of a jit trace."""
    import torch
    from torchprofile import profile_macs

    positional, traced = _positional(module, inputs)
    with torch.no_grad():
        return float(profile_macs(traced, positional))


def fvcore(module: Any, inputs: dict[str, Any]) -> float:
    """Reports FLOPs, by which it means multiply-adds."""
    import torch
    from fvcore.nn import FlopCountAnalysis

    positional, traced = _positional(module, inputs)
    with torch.no_grad():
        return float(
            FlopCountAnalysis(traced, positional).unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()
        )


def thop(module: Any, inputs: dict[str, Any]) -> float:
    """Reports MACs of the modules that it knows."""
    import thop as library
    import torch

    positional, traced = _positional(module, inputs)
    with torch.no_grad():
        return float(library.profile(traced, inputs=positional, verbose=False)[0])


def ptflops(module: Any, inputs: dict[str, Any]) -> float:
    """Reports MACs, by default from its `pytorch` backend."""
    from ptflops import get_model_complexity_info

    found = get_model_complexity_info(
        module, (1,), input_constructor=lambda _: inputs, as_strings=False, print_per_layer_stat=False, backend="pytorch"
    )
    return float(found[0])


def ptflops_aten(module: Any, inputs: dict[str, Any]) -> float:
    """The same from its `aten` backend."""
    from ptflops import get_model_complexity_info

    found = get_model_complexity_info(
        module, (1,), input_constructor=lambda _: inputs, as_strings=False, print_per_layer_stat=False, backend="aten"
    )
    return float(found[0])


def calflops(module: Any, inputs: dict[str, Any]) -> float:
    """Reports FLOPs and MACs."""
    from calflops import calculate_flops

    positional, traced = _positional(module, inputs)  # it moves every argument to a device, even one that is no tensor
    found = calculate_flops(traced, args=list(positional), print_results=False, print_detailed=False, output_as_string=False)
    return float(found[1])


def torchinfo(module: Any, inputs: dict[str, Any]) -> float:
    """Reports "mult-adds"."""
    from torchinfo import summary

    device = next(module.parameters()).device
    return float(summary(module, input_data=inputs, verbose=0, device=device).total_mult_adds)


def deepspeed(module: Any, inputs: dict[str, Any]) -> float:
    """Reports FLOPs, MACs and parameters."""
    from deepspeed.profiling.flops_profiler import get_model_profile

    found = get_model_profile(module, kwargs=inputs, print_profile=False, detailed=False, warm_up=0, as_string=False)
    return float(found[1])


DEVICES = ("meta", "fake", "cpu")
"""`meta`: tensors without data. `fake`: `FakeTensorMode`, which claims the CPU, so models can read masks. `cpu`: a real run
with zeros for weights and inputs; the weights share their memory, so no model is too large."""

RUNS = ("cpu", "fake", "meta")
"""For counters that replace functions or listen to the dispatcher: without data, torch runs `addmm` through a decomposition
that calls `mm` again, and such counters see both."""

TRACES = ("meta", "cpu")
"""For counters that need a jit trace, which does not support fake tensors."""


@dataclass(frozen=True)
class Tool:
    """A counter."""

    count: Count | None
    """None for the true count, which comes from `plain_counter.py`."""
    distribution: str = ""
    """The package to install, from the extra `peers` in the version of `constraints.txt`; "" for an installed one."""
    devices: tuple[str, ...] = DEVICES
    """Devices to try, the best first."""


TRUE = "FlopCounterMode"

TOOLS: Mapping[str, Tool] = {
    TRUE: Tool(None, devices=("meta",)),  # it makes fake tensors itself
    "fxprof": Tool(fxprof, devices=("meta",)),
    "torch.profiler": Tool(torch_profiler, devices=RUNS),
    "torchprofile": Tool(torchprofile, "torchprofile", TRACES),
    "fvcore": Tool(fvcore, "fvcore", TRACES),
    "thop": Tool(thop, "thop"),
    "ptflops": Tool(ptflops, "ptflops", RUNS),
    "ptflops (aten)": Tool(ptflops_aten, "ptflops"),
    "calflops": Tool(calflops, "calflops"),
    "torchinfo": Tool(torchinfo, "torchinfo"),
    "deepspeed": Tool(deepspeed, "deepspeed", RUNS),
}
"""Counters by name; the first one is the true count."""


def _positional(module: Any, inputs: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
    """Tensors in a row, and a module that takes them, for counters that know neither names nor containers."""
    import torch
    from torch.utils import _pytree as pytree

    leaves, spec = pytree.tree_flatten(inputs)
    places = [at for at, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]

    class Positional(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *tensors: Any) -> Any:
            given = list(leaves)
            for at, tensor in zip(places, tensors, strict=True):
                given[at] = tensor
            result = self.module(**pytree.tree_unflatten(given, spec))
            return tuple(leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor))

    return tuple(leaves[at] for at in places), Positional().eval()


def worker(tool: str, device: str) -> None:
    """Count the component and call on standard input with one counter on one device, and print the result."""
    spec = json.load(sys.stdin)
    from plain_counter import arguments, build, count_all

    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet), contextlib.ExitStack() as modes:
        import torch

        count = TOOLS[tool].count
        if device == "fake":
            from torch._subclasses.fake_tensor import FakeTensorMode

            modes.enter_context(FakeTensorMode())
        component = build(torch, spec, "cpu" if device == "fake" else "meta")
        if device == "cpu":
            from fxprof.capture.zero_weights import empty_out

            empty_out(component)
        if count is None:  # on fake tensors if a model reads its mask, which meta tensors do not allow
            macs = count_all(torch, component, {**spec, "calls": [spec["call"]]})[0] / 2
        else:
            module = component.get_submodule(spec["call"]["entry"])
            macs = count(module, arguments(torch, module, spec["call"]["inputs"], "meta" if device == "meta" else "cpu"))
    print(json.dumps({"macs": macs}))


@dataclass(frozen=True)
class Result:
    """The outcome of one counter on one component."""

    tool: str
    component: str
    macs: float | None
    device: str
    """The device on which it answered; "" for none."""
    reasons: dict[str, str]
    """Tried device to the reason why there is no number."""
    seconds: float
    megabytes: float
    version: str


def ask(python: str, tool: str, component: str, spec: Mapping[str, Any]) -> Result:
    """One counter on one component, on one device after the other until it answers."""
    reasons: dict[str, str] = {}
    version = version_of(tool)
    for device in TOOLS[tool].devices:
        macs, reason, seconds, megabytes = run(python, tool, device, spec)
        if macs is not None:
            return Result(tool, component, macs, device, reasons, seconds, megabytes, version)
        reasons[device] = reason
    return Result(tool, component, None, "", reasons, 0, 0, version)


def version_of(tool: str) -> str:
    """Package and version of a counter."""
    name = TOOLS[tool].distribution
    if name:
        return f"{name} {pinned()[name]}"
    name = "fxprof" if tool == "fxprof" else "torch"
    return f"{name} {importlib.metadata.version(name)}"


def pinned() -> dict[str, str]:
    """Package to its tested version."""
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


def run(python: str, tool: str, device: str, spec: Mapping[str, Any]) -> tuple[float | None, str, float, float]:
    """One counter on one device, in a process of its own: MACs, or the reason for their lack, seconds and peak MB."""
    command = [python, __file__, tool, device]
    started = time.perf_counter()
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(json.dumps(spec).encode())
        given.seek(0)
        process = subprocess.Popen(command, stdin=given, stdout=out, stderr=err, preexec_fn=_bounded)  # noqa: PLW1509
        status, usage = _wait(process, started)
        seconds = time.perf_counter() - started
        out.seek(0)
        err.seek(0)
        lines, errors = out.read().decode().splitlines(), err.read().decode(errors="replace").splitlines()
    megabytes = usage.ru_maxrss / 1024 if usage else 0
    if status is None:
        return None, f"no answer in {SECONDS} s", seconds, megabytes
    if status or not lines:
        return None, shorten(errors), seconds, megabytes
    return json.loads(lines[-1])["macs"], "", seconds, megabytes


def _bounded() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))


def _wait(process: subprocess.Popen[bytes], started: float) -> tuple[int | None, Any]:
    while time.perf_counter() - started < SECONDS:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage
        time.sleep(0.02)
    process.kill()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return None, usage


def shorten(errors: Iterable[str]) -> str:
    """The last line of a traceback with some content, without addresses and paths."""
    lines = [line.strip() for line in errors if line.strip() and not line.startswith(" ")]
    told = [line for line in lines if ": " in line or line.endswith(("Error", "Exception"))]
    text = (told or lines or ["it ended without a word"])[-1]
    return text if len(text) <= _REASON else f"{text[: _REASON - 1]}…"


_REASON = 90


def environment(folder: Path, tools: Iterable[str]) -> tuple[str, dict[str, str]]:
    """An environment with the counters: its Python, and the reason for each that could not be installed."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True, check=True
    ).stdout.strip()
    # It sees the packages of this environment, so it needs no second torch; its own packages come first.
    shared = [sysconfig.get_path("purelib"), str(HERE.parent)]
    Path(site, "shared.pth").write_text("\n".join(shared) + "\n", encoding="utf-8")
    failed = {}
    for name in tools:
        distribution = TOOLS[name].distribution
        if distribution:
            command = [python, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--constraint", str(CONSTRAINTS)]
            command.append(distribution)
            done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "DS_BUILD_OPS": "0"})
            if done.returncode:
                failed[name] = "cannot be installed: " + shorten(done.stderr.splitlines())
    return python, failed


def specs(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Component to the input of `plain_counter.build` with its most expensive call, from a profile of its pipeline."""
    found: dict[str, dict[str, Any]] = {}
    wanted = [COMPONENTS[name] for name in names]
    for model in dict.fromkeys(item.model for item in wanted):
        done = subprocess.run(
            [sys.executable, str(HERE / "benchmark.py"), "--worker", model], capture_output=True, text=True, check=True
        )
        parts = {part["name"]: part for part in json.loads(done.stdout.splitlines()[-1])["spec"]["components"]}
        for item in wanted:
            if item.model == model:
                part = parts[item.name]
                call = next(call for call in part["calls"] if call["entry"] == item.entry)
                found[item.title] = {**part, "call": call}
    return found


def compare(tools: Iterable[str], components: Iterable[str]) -> list[Result]:
    """Every counter on every component.

    Raises:
        AssertionError: fxprof and the true count differ.
    """
    names, found = list(dict.fromkeys([TRUE, *tools])), []
    with tempfile.TemporaryDirectory() as folder:
        python, failed = environment(Path(folder), names)
        for component, spec in specs(components).items():
            for tool in names:
                if tool in failed:
                    found.append(Result(tool, component, None, "", {"": failed[tool]}, 0, 0, version_of(tool)))
                else:
                    found.append(ask(python, tool, component, spec))
                print(found[-1], file=sys.stderr, flush=True)
    for result in found:
        assert result.tool != "fxprof" or result.macs == true_count(found, result.component), result
    return found


def true_count(results: Iterable[Result], component: str) -> float:
    """The MACs of a component according to `FlopCounterMode`."""
    return next(item.macs for item in results if item.component == component and item.tool == TRUE and item.macs)


def table(results: list[Result]) -> str:
    """Every component and counter that answered, a row each."""
    rows = []
    for item in results:
        if item.macs is not None:
            figures = [f"{item.macs / 1e9:,.1f}", error(item.macs, true_count(results, item.component))]
            rows.append([item.component, item.tool, *figures, item.device, f"{item.seconds:.1f}", f"{item.megabytes:.0f}"])
    headers = ["component", "counter", "GMACs", "error", "device", "seconds", "peak MB"]
    return str(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def failures(results: list[Result]) -> str:
    """Counters that did not answer, with the reason, a row each."""
    rows = [
        [item.component, item.tool, device, reason, item.device or "nowhere"]
        for item in results
        for device, reason in item.reasons.items()
    ]
    headers = ["component", "counter", "device", "reason", "answered on"]
    return str(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def short_table(results: list[Result]) -> str:
    """A row for each counter: its error on each component."""
    components = list(dict.fromkeys(item.component for item in results))
    by_place = {(item.tool, item.component): item for item in results}
    rows = []
    for tool in dict.fromkeys(item.tool for item in results):
        cells = []
        for component in components:
            item = by_place[tool, component]
            cells.append("fails" if item.macs is None else error(item.macs, true_count(results, component)))
        rows.append([tool, *cells])
    return str(tabulate(rows, ["counter", *components], tablefmt="github", disable_numparse=True))


def error(macs: float, true: float) -> str:
    """The error in percent of the true count."""
    if macs == true:
        return "exact"
    percent = 100 * (macs - true) / true
    if abs(percent) < 1:
        return f"{percent:+.2f}%"
    whole = f"{percent:+.0f}%"
    return f"{percent:+.1f}%" if macs and whole == error(0, true) else whole  # a tiny error is not zero


def versions(results: Iterable[Result]) -> str:
    """Counters with their versions, and the packages of the components."""
    libraries = [f"{name} {importlib.metadata.version(name)}" for name in ("diffusers", "transformers")]
    return ", ".join(dict.fromkeys([*libraries, *(item.version for item in results)]))


def kept() -> list[Result]:
    """The earlier results."""
    return [Result(**item) for item in json.loads(RESULTS.read_text(encoding="utf-8"))] if RESULTS.exists() else []


def write(results: list[Result]) -> None:
    """Replace earlier results, and write the tables of all results between the marks of the pages."""
    by_place = {(item.component, item.tool): item for item in [*kept(), *results]}
    order = [by_place[place] for place in product(COMPONENTS, TOOLS) if place in by_place]
    lines = ",\n".join(json.dumps(asdict(item)) for item in order)
    RESULTS.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    replace(PAGE, "peers", f"{table(order)}\n\n{versions(order)}; Python {sys.version.split()[0]}.")
    replace(PAGE, "peers that fail", failures(order))
    replace(README, "peers", short_table(order))


def replace(page: Path, mark: str, text: str) -> None:
    """Replace the text between two marks of a page."""
    begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, found, after = rest.partition(end)
    assert found, f"{page} has no {begin} … {end}"
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    worker(*sys.argv[1:])
