"""`fxprof capture`: one graph per distinct call, without weights, and the same profile again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import run
from loaded_counter import flops
from test_pipelines import save_configurations
from tiny import stable_diffusion, stable_diffusion_3
from torch import nn

import fxprof
from fxprof.capture.module import capture_module
from fxprof.capture.save import save_graphs
from fxprof.errors import CaptureError, OutputError, TargetError, UsageError
from fxprof.result.saved.write import dumps
from fxprof.trace.bundle import MANIFEST
from fxprof.trace.pt2 import read_programs

WORKLOAD: dict[str, Any] = {"height": 16, "width": 16, "steps": 2}


@pytest.fixture(scope="module")
def tiny_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tiny") / "pipeline"
    save_configurations(stable_diffusion(), directory)
    return directory


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("capture") / "graphs"
    fxprof.save_graphs(stable_diffusion_3(), directory, **WORKLOAD)
    return directory


def test_the_directory_gives_the_same_profile_to_the_byte(captured: Path) -> None:
    direct = fxprof.profile(stable_diffusion_3(), **WORKLOAD)
    assert dumps(fxprof.profile(captured)) == dumps(direct)


def test_every_distinct_call_is_a_file(captured: Path) -> None:
    profile = fxprof.profile(captured)
    calls = sum(len(component.calls) for component in profile.components.values())
    files = sorted(path.name for path in captured.glob("*.pt2"))
    assert len(files) == calls
    assert {"transformer.pt2", "vae.decoder.pt2"} <= set(files)


def test_files_count_what_torch_counts_in_them(captured: Path) -> None:
    """An independent count of each file: torch loads it, and its own counter runs it."""
    for path in sorted(captured.glob("*.pt2")):
        assert 2 * fxprof.profile(path).macs == flops(str(path)), path.name


def test_each_file_opens_where_only_torch_is_imported(captured: Path) -> None:
    program = """
import sys, torch
for path in sys.argv[1:]:
    program = torch.export.load(path)
    assert not {"diffusers", "transformers"} & set(sys.modules)
    names = {name for name, _ in program.named_parameters()}
    assert not any(name.startswith("module.") for name in names)
    assert all(tensor.untyped_storage().nbytes() <= 16 for tensor in program.state_dict.values())
    print(sum(node.op == "call_function" for node in program.graph.nodes))
"""
    paths = sorted(captured.glob("*.pt2"))
    done = subprocess.run([sys.executable, "-c", program, *map(str, paths)], capture_output=True, text=True, check=True)
    assert all(int(count) > 0 for count in done.stdout.split())
    assert len(done.stdout.split()) == len(paths)


@pytest.mark.slow
def test_the_command_says_what_it_wrote(tmp_path: Path, tiny_directory: Path) -> None:
    result = run("capture", tiny_directory, "--steps", "1", "--height", "16", "--width", "16", "-o", tmp_path / "graphs")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{tmp_path / 'graphs'}: 4 distinct calls of 3 components\n"
    assert "components" in run("profile", tmp_path / "graphs", "--format", "json").stdout


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    for force in (False, True):
        with pytest.raises(OutputError, match="it is a directory that fxprof did not write"):
            fxprof.save_graphs(stable_diffusion(), tmp_path / "mine", force=force, **WORKLOAD)
    (tmp_path / "file").write_text("keep")
    with pytest.raises(OutputError, match="it is not a directory"):
        fxprof.save_graphs(stable_diffusion(), tmp_path / "file", **WORKLOAD)
    with pytest.raises(OutputError, match="there is no directory"):
        fxprof.save_graphs(stable_diffusion(), tmp_path / "nowhere" / "graphs", **WORKLOAD)


def test_a_run_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CaptureError):
        fxprof.save_graphs(stable_diffusion(), tmp_path / "graphs", height=13, width=16, steps=1)
    assert list(tmp_path.iterdir()) == []


def test_only_force_replaces_a_capture(captured: Path, tmp_path: Path) -> None:
    (tmp_path / "graphs").mkdir()
    (tmp_path / "graphs" / MANIFEST).write_text((captured / MANIFEST).read_text())
    with pytest.raises(OutputError, match="exists"):
        fxprof.save_graphs(stable_diffusion(), tmp_path / "graphs", **WORKLOAD)
    fxprof.save_graphs(stable_diffusion(), tmp_path / "graphs", force=True, **WORKLOAD)
    assert fxprof.profile(tmp_path / "graphs").class_name == "StableDiffusionPipeline"
    assert [path.name for path in tmp_path.iterdir()] == ["graphs"]


def test_what_holds_graphs_or_results_is_not_captured_again(captured: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no pipeline that could be captured"):
        fxprof.save_graphs(captured, tmp_path / "again")
    with pytest.raises(UsageError, match=r"--height needs a pipeline, but .* is a captured run"):
        fxprof.profile(captured, height=32)
    with pytest.raises(UsageError, match="sleps is no part of a workload"):
        fxprof.save_graphs(stable_diffusion(), tmp_path / "again", sleps=3)


def test_a_missing_graph_and_a_newer_manifest_are_named(captured: Path, tmp_path: Path) -> None:
    manifest = json.loads((captured / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(TargetError, match=r"cannot read .*\.pt2"):
        fxprof.profile(tmp_path)
    (tmp_path / MANIFEST).write_text(json.dumps({**manifest, "capture_format": 99}))
    with pytest.raises(TargetError, match="it is of format 99; this fxprof reads 1"):
        fxprof.profile(tmp_path)


@pytest.mark.slow
def test_one_component_can_be_captured(tmp_path: Path, tiny_directory: Path) -> None:
    inputs = ["--input", "sample=2x4x8x8", "--input", "timestep=1", "--input", "encoder_hidden_states=2x77x32"]
    result = run("capture", tiny_directory / "unet", *inputs, "-o", tmp_path / "unet")
    assert result.exit_code == 0
    direct = json.loads(run("profile", tiny_directory / "unet", *inputs, "--format", "json").stdout)
    assert json.loads(run("profile", tmp_path / "unet", "--format", "json").stdout) == direct


class Embedder(nn.Module):
    """Its last operator shares what torch notes about it with the end of the body that it stands in."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, modes: list[Any]) -> Any:
        with torch.amp.autocast("cuda", enabled=False):
            both = torch.cat([x.cos(), x.sin()], dim=-1)
        return self.inner(both)


def test_bodies_of_operators_and_texts_that_are_passed_through_survive(tmp_path: Path) -> None:
    captured = capture_module(Embedder().eval(), (torch.zeros(2, 2), ["Rep", 1]), {}, notable=lambda _: True)
    (component,) = captured.components
    ((key, file),) = save_graphs(captured, tmp_path).items()
    assert key == (component.name, 0)
    (program,), _ = read_programs(tmp_path / file)
    assert program.trace.ops == component.calls[0].trace.ops
    (body,) = (op for op in program.trace.ops if op.subgraphs)
    assert all(op.stack for op in body.subgraphs[0].ops)
    loaded = torch.export.load(tmp_path / file)
    assert loaded.graph_signature.user_outputs[-2:] == (None, 1)


class Caching(nn.Module):
    """Begins with a cache without elements, as text encoders do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> Any:
        return self.inner(torch.cat([torch.tensor([], dtype=x.dtype), x], dim=-2))


def test_tensors_without_elements_survive(tmp_path: Path) -> None:
    captured = capture_module(Caching().eval(), (torch.zeros(2, 4),), {}, notable=lambda _: True)
    ((_, file),) = save_graphs(captured, tmp_path).items()
    (program,), _ = read_programs(tmp_path / file)
    assert program.trace.ops == captured.components[0].calls[0].trace.ops
    assert "aten.cat.default" in {op.target for op in program.trace.ops}
    assert 0 in {tensor.numel() for tensor in torch.export.load(tmp_path / file).constants.values()}
