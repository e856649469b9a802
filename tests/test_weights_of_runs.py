"""Weights in profiles: of pipelines that convert them, of live ones as they are stored, and of graphs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from test_live_quantised import OfBytes
from torch import nn

import fxprof
from fxprof.result.saved.read import loads
from fxprof.result.saved.write import dumps

X = torch.zeros(2, 64)


def bytes_of(module: nn.Module) -> int:
    tensors = {id(item): item for item in (*module.parameters(), *module.buffers())}
    return sum(item.numel() * item.element_size() for item in tensors.values())


@pytest.mark.slow
def test_an_autoencoder_that_its_pipeline_converts() -> None:
    pipeline = tiny.make("stable_diffusion_xl")
    pipeline.vae.register_to_config(force_upcast=True)
    profile = fxprof.profile(pipeline, height=16, width=16, steps=1, dtype="float16")
    vae, single = profile.components["vae"], bytes_of(pipeline.vae)
    assert vae.weights_by_type == {"float16": single // 2}
    assert vae.calls
    assert {call.weight_bytes for call in vae.calls} == {single}
    unet = profile.components["unet"]
    assert {call.weight_bytes for call in unet.calls} == {unet.weight_bytes} == {bytes_of(pipeline.unet) // 2}
    assert loads(dumps(profile)) == profile
    assert next(pipeline.vae.parameters()).dtype is torch.float32  # the user's own is as before


def test_layers_that_stay_in_float32_have_operators_in_float32(tmp_path: Path) -> None:
    model = tiny.t5_text()
    model.config.architectures = ["T5EncoderModel"]
    model.config.save_pretrained(tmp_path / "t5")
    profiles = {
        dtype: fxprof.profile(tmp_path / "t5", inputs={"input_ids": torch.zeros(1, 8, dtype=torch.int64)}, dtype=dtype)
        for dtype in ("float32", "float16", "bfloat16")
    }
    assert len({profile.macs for profile in profiles.values()}) == 1
    for dtype, profile in profiles.items():
        (component,) = profile.components.values()
        (call,) = component.calls
        found = {row.path.rpartition(".")[2]: row.types for row in call.ops if row.kind == "linear"}
        assert found["wo"].split(", ")[0] == ("float32" if dtype == "float16" else dtype)
        assert found["q"].split(", ")[0] == dtype
        kept = sum(module.weight_bytes for module in component.modules if module.path.endswith(".wo"))
        assert kept == 2 * 32 * 37 * (2 if dtype == "bfloat16" else 4)


def test_a_live_module_is_counted_as_it_is_stored() -> None:
    module = nn.Sequential(nn.Linear(64, 64), OfBytes()).to(torch.float32)
    module.register_buffer("table", torch.zeros(10, dtype=torch.int64), persistent=False)
    component = fxprof.profile_module(module, (X,)).components["model"]
    assert component.weights_by_type == {"float32": 64 * 64 * 4 + 64 * 4 + 32 * 4, "int8": 64 * 32, "int64": 80}
    assert [(item.path, item.weight_bytes) for item in component.modules] == [
        ("", 80),
        ("0", 64 * 64 * 4 + 64 * 4),
        ("1", 64 * 32 + 32 * 4),
    ]


class Casting(nn.Module):
    """Computes in another type than it stores, as layerwise casting does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 64, bias=False).to(torch.bfloat16)

    def forward(self, x: torch.Tensor) -> Any:
        return self.layer(x)


def test_weights_that_a_hook_converts() -> None:
    module = Casting()
    module.layer.register_forward_pre_hook(lambda part, _: part.to(torch.float32) and None)
    module.layer.register_forward_hook(lambda part, *_: part.to(torch.bfloat16) and None)
    component = fxprof.profile_module(module, (X,)).components["model"]
    assert component.weight_bytes == 64 * 64 * 2
    assert max(call.weight_bytes for call in component.calls) == 64 * 64 * 4


def test_graphs_know_their_weights(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(64, 64, bias=False), nn.Linear(64, 64)
            self.other.weight = self.one.weight
            self.register_buffer("scale", torch.ones(64, dtype=torch.float64), persistent=False)

        def forward(self, x: torch.Tensor) -> Any:
            return self.other(self.one(x)) * self.scale

    program = torch.export.export(Net().eval(), (X,))
    torch.export.save(program, tmp_path / "net.pt2")
    live, file = fxprof.profile_program(program), fxprof.profile(tmp_path / "net.pt2")
    direct = fxprof.profile_module(Net().eval(), (X,))
    for profile in (live, file, direct):
        (component,) = profile.components.values()
        assert component.weights_by_type == {"float32": 64 * 64 * 4 + 64 * 4, "float64": 64 * 8}
        assert {item.path: item.weight_bytes for item in component.modules} == {"": 512, "one": 64 * 64 * 4, "other": 256}
        assert "int8" in profile.with_weights("int8").components[component.name].weights_by_type


@pytest.mark.slow
def test_a_saved_profile_stays_small() -> None:
    profile = tiny.profile("stable_diffusion")
    text = dumps(profile)
    without = json.loads(text)
    for component in without["components"]:
        component.pop("weights", None)
        waiting = [component["tree"]]
        while waiting:
            node = waiting.pop()
            node.pop("weights", None)
            waiting += node["children"]
    assert len(json.dumps(json.loads(text))) < 1.1 * len(json.dumps(without))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_t5_xxl_is_larger_in_float16(dtype: str) -> None:
    profile = fxprof.profile("pixart-sigma-1024", dtype=dtype, steps=1)
    other = 32128 * 4096 + 24 * (4 * 4096 * 4096 + 2 * 10240 * 4096 + 2 * 4096) + 32 * 64 + 4096
    kept = 24 * 10240 * 4096
    expected = {"float32": 4 * (other + kept), "bfloat16": 2 * (other + kept), "float16": 2 * other + 4 * kept}
    assert profile.components["text_encoder"].weight_bytes == expected[dtype]
