"""Captured runs as files: every component of every bundled model, read back without torch, is what was captured."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
import tiny
import torch
from exported import assert_equal
from test_failing_components import failing
from test_zoo_exact import WORKLOADS
from torch import nn

import fxprof
from fxprof import api
from fxprof.result.saved.write import dumps
from fxprof.source import names
from fxprof.trace import Tensor, Trace
from fxprof.trace.bundle import MANIFEST, read_bundle
from fxprof.trace.captured import NOT_CAPTURED, Capture, CapturedCall
from fxprof.trace.pt2 import read_programs

SMALL: dict[str, Any] = {"height": 32, "width": 32, "steps": 2}


def written(target: Any, directory: Path, monkeypatch: pytest.MonkeyPatch, **workload: Any) -> tuple[Capture, fxprof.Profile]:
    """Capture a target into a directory; the capture itself, and its profile."""
    captured: list[Capture] = []
    capture = api._captured

    def kept(*args: Any, whole: bool) -> Capture:
        found = capture(*args, whole=whole)
        captured.append(found)
        return found

    monkeypatch.setattr(api, "_captured", kept)
    profile = api.save_graphs(target, directory, **workload)
    monkeypatch.undo()
    return captured[0], profile


def in_words(trace: Trace) -> Trace:
    """A trace whose inputs are as the manifest has them: plain values as texts."""
    return replace(
        trace, inputs=tuple((name, value if isinstance(value, Tensor) else str(value)) for name, value in trace.inputs)
    )


def assert_holds(directory: Path, live: Capture) -> None:
    """What is read back is what was captured, operator for operator."""
    found = read_bundle(directory)
    for component, read in zip(live.components, found.components, strict=True):
        for call, other in zip(component.calls, read.calls, strict=True):
            assert_equal(other.trace, in_words(call.trace))
        calls = tuple(replace(call, trace=in_words(call.trace)) for call in component.calls)
        assert replace(component, calls=calls) == read
    assert replace(live, components=found.components, seconds={}) == found


def graphs_of(directory: Path, live: Capture) -> dict[str, CapturedCall]:
    """File to the call that it holds, and that each is there."""
    manifest = json.loads((directory / MANIFEST).read_text())
    pairs = [
        (fields, call)
        for component, captured in zip(manifest["components"], live.components, strict=True)
        for fields, call in zip(component["calls"], captured.calls, strict=True)
    ]
    assert all(("file" in fields) == (call.program is not None) for fields, call in pairs)
    found = {fields["file"]: call for fields, call in pairs if "file" in fields}
    assert {path.name for path in directory.iterdir()} == {*found, MANIFEST}
    return found


LOAD = """
import json, sys
import torch

found = {}
for path in sys.argv[1:]:
    program = torch.export.load(path)
    parts = [part for part in program.graph_module.modules() if isinstance(part, torch.fx.GraphModule)]
    nodes = [node for part in parts for node in part.graph.nodes]
    calls = [node for node in nodes if node.op == "call_function" and getattr(node.target, "__name__", "") != "getitem"]
    held = sum(tensor.untyped_storage().nbytes() for tensor in program.state_dict.values())
    elements = sum(tensor.numel() for tensor in program.state_dict.values())
    found[path] = [len(calls), held, len(program.state_dict), elements]
print(json.dumps([found, [name for name in ("diffusers", "transformers") if name in sys.modules]]))
"""


def assert_torch_loads(directory: Path, graphs: dict[str, CapturedCall]) -> None:
    """In a process without the libraries that the modules came from; the weights take no memory."""
    paths = [str(directory / name) for name in graphs]
    done = subprocess.run([sys.executable, "-c", LOAD, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found, imported = json.loads(done.stdout.splitlines()[-1])
    assert imported == []
    for name, call in graphs.items():
        operators, held, weights, elements = found[str(directory / name)]
        assert operators == sum(1 for _ in call.trace.walk())
        assert held <= 16 * weights
        assert elements >= weights or not weights


def assert_small(path: Path) -> None:
    """A file is little more than its graph: a weight takes one number, and its name in the list of what is there."""
    with zipfile.ZipFile(path) as file:
        entries = {info.filename: info.file_size for info in file.infolist()}
    texts = sum(size for name, size in entries.items() if name.endswith(".json"))
    assert path.stat().st_size < texts + 500 * len(entries) + 10_000
    weights = [name for name in entries if "/data/weights/weight_" in name or "/data/constants/tensor_" in name]
    assert all(entries[name] <= 16 for name in weights)


def check(target: Any, directory: Path, monkeypatch: pytest.MonkeyPatch, **workload: Any) -> tuple[Capture, fxprof.Profile]:
    live, profile = written(target, directory, monkeypatch, **workload)
    assert_holds(directory, live)
    assert dumps(fxprof.profile(directory)) == dumps(profile)
    graphs = graphs_of(directory, live)
    for name, call in graphs.items():
        assert_small(directory / name)
        (alone,), _ = read_programs(directory / name, prefix=call.entry)
        assert [op.target for op in alone.trace.walk()] == [op.target for op in call.trace.walk()]
    return live, profile


def reading(module: nn.Module) -> None:
    """Let the forward of a module look into its first argument, so that it has to run for real."""
    original = type(module).forward

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        first = next(value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor))
        if first.sum() > 10**9:
            raise ValueError
        return original(self, *args, **kwargs)

    forward.__wrapped__ = original  # type: ignore[attr-defined]  # what inspect takes the signature from
    own = {"forward": forward, "__module__": type(module).__module__}
    module.__class__ = type(type(module).__name__, (type(module),), own)


class Mixing(diffusers.FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]  # diffusers is not annotated
    """A scheduler that multiplies matrices, in no component."""

    def step(self, model_output: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return super().step(model_output @ torch.eye(model_output.shape[-1]), *args, **kwargs)


def runs_for_real() -> Any:
    pipeline = tiny.make("pixart")
    reading(pipeline.transformer)
    return pipeline


def outside_of_calls() -> Any:
    pipeline = tiny.make("flux")
    pipeline.scheduler = Mixing.from_config(pipeline.scheduler.config)
    return pipeline


def partly_failing() -> Any:
    pipeline = tiny.make("pixart")
    failing(pipeline.vae.decoder.mid_block)
    return pipeline


@pytest.mark.slow  # test_capture_command.py captures the same pipeline
def test_components_of_several_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live, profile = check(tiny.make("stable_diffusion_3"), tmp_path / "graphs", monkeypatch, **SMALL)
    assert dumps(fxprof.profile(tiny.make("stable_diffusion_3"), **SMALL)) == dumps(profile)
    assert all(call.program is not None for component in live.components for call in component.calls)
    assert_torch_loads(tmp_path / "graphs", graphs_of(tmp_path / "graphs", live))


@pytest.mark.slow  # test_capture_command.py has a module that does the same
def test_a_component_with_tensors_without_elements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SANA's text encoder sets up a cache."""
    live, _ = check(tiny.make("sana"), tmp_path / "graphs", monkeypatch, **SMALL, arguments=tiny.UNBINNED["sana"])
    graphs = {name: call for name, call in graphs_of(tmp_path / "graphs", live).items() if name.startswith("text_encoder")}
    assert any(name == "aten.cat.default" for call in graphs.values() for name in (op.target for op in call.trace.walk()))
    assert_torch_loads(tmp_path / "graphs", graphs)


def test_a_component_that_runs_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live, profile = check(runs_for_real(), tmp_path / "graphs", monkeypatch, **SMALL, arguments=tiny.UNBINNED["pixart"])
    (transformer,) = (component for component in live.components if component.name == "transformer")
    assert transformer.entered == profile.geometry.denoiser_calls == 2
    assert len([call for call in transformer.calls if call.program is not None and call.entry]) > 3
    assert any("transformer ran for real" in remark for remark in profile.remarks)


def test_operators_outside_of_every_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live, profile = check(outside_of_calls(), tmp_path / "graphs", monkeypatch, **SMALL)
    (call,) = (call for component in live.components for call in component.calls if call.program is None)
    assert [op.target for op in call.trace.ops] == ["aten.mm.default"] * 2
    assert profile.components["pipeline"].macs == 2 * (64 * 16 * 16)  # in each of two steps, 64 tokens of 16 numbers


def test_a_component_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live, profile = check(partly_failing(), tmp_path / "graphs", monkeypatch, **SMALL, arguments=tiny.UNBINNED["pixart"])
    without = [call for component in live.components for call in component.calls if call.program is None]
    assert NOT_CAPTURED in {op.target for call in without for op in call.trace.ops}
    assert profile.total.uncounted == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_every_component_of_a_bundled_model(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workload = WORKLOADS.get(name, {"height": 512, "width": 512, "steps": 2})
    live, profile = check(name, tmp_path / "graphs", monkeypatch, **workload)
    assert_torch_loads(tmp_path / "graphs", graphs_of(tmp_path / "graphs", live))
    assert {component.name for component in live.components if component.calls} >= {profile.geometry.denoiser}
    assert (profile.total.uncounted, profile.total.bounded) == (0, 0)
