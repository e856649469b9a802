"""The most bytes alive at once: what a trace says is what is seen when the same module really runs, to the byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from alive import Beside, Graph, running_beside, without_data
from families import CASES
from families.case import points
from test_pipelines import save_configurations
from test_pt2_zoo import SMALL, written

import fxprof
from fxprof.cache import default_cache
from fxprof.capture import export
from fxprof.capture.known_calls import KnownCalls
from fxprof.cost.lifetimes import find_lifetimes
from fxprof.trace.bundle import read_bundle

QUICK = ("stable_diffusion", "sana")
"""A UNet, transformers, two autoencoders, and two text encoders, one of which has a key-value cache."""
HALF_FUSED = {
    "CosmosDecoder3d",  # as the next, in each frame
    "HunyuanImageDecoder2D",  # one head of more elements than the CPU's kernel takes
    "SkyReelsV2Transformer3DModel",  # attends to a picture whose keys and values differ in number, as does the next
    "WanTransformer3DModel",
}
"""Modules of which the CPU computes some attentions as products whatever is asked for: compared as products alone."""
FULL_SIZE = (
    *("sd-1.5", "sdxl-base-1.0", "sd3-medium", "flux.1-dev", "pixart-sigma-1024", "kandinsky-3"),
    *("sana-1.6b-1024", "hunyuandit", "lumina-image-2.0", "qwen-image"),
)


def assert_equal_to_the_byte(found: Beside) -> None:
    assert not found.failed
    assert found.ran
    assert {ran.what: ran.differences for ran in found.ran if ran.differences} == {}
    for ran in found.ran:
        assert ran.fused == ran.attentions or ran.what.split()[0] in HALF_FUSED
        for peaks in ran.said.values():
            assert peaks.eager is not None
            assert not peaks.eager.bounded
            assert peaks.eager.bytes >= peaks.graph.bytes
            for peak in (peaks.eager, peaks.graph):
                listed = sum(item.bytes for item in peak.alive) + peak.inside
                assert listed < peak.bytes if peak.others else listed == peak.bytes


@pytest.mark.parametrize("name", [QUICK[0], pytest.param(QUICK[1], marks=pytest.mark.slow)])
def test_captured_calls_of_tiny_pipelines_take_what_they_take_in_a_run(name: str) -> None:
    with running_beside() as found:
        fxprof.profile(tiny.make(name), **SMALL, arguments=tiny.UNBINNED.get(name, {}))
    assert_equal_to_the_byte(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_captured_call_of_every_class(name: str) -> None:
    case = CASES[name]
    if not case.runs:
        pytest.skip(f"needs {case.needs}")
    point = points(name, case)[""]
    prompt: dict[str, Any] = {"prompt": "a photo of a cat"} if case.prompt else {}
    steps = {"num_inference_steps": case.steps} if case.steps else {}
    with running_beside() as found:
        fxprof.profile(point.make(), arguments={**steps, **prompt, **point.arguments})
    assert_equal_to_the_byte(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL_SIZE)
def test_components_at_full_size_on_tensors_without_data(name: str) -> None:
    with running_beside(without_data) as found:
        fxprof.profile(name, dtype="bfloat16", height=512, width=512, steps=2)
    assert found.ran
    assert all("Tensor.item()" in text for text in found.failed)  # text encoders that look into their masks; see the tiny ones
    assert {ran.what: ran.differences for ran in found.ran if ran.differences} == {}


def test_by_last_use_is_what_an_interpreter_holds_that_drops_values_after_their_last_use() -> None:
    numbers, latents = torch.zeros(1, 77, dtype=torch.long), torch.zeros(2, 4, 8, 8)
    for module, given in ((tiny.clip_text(), numbers), (tiny.kl_autoencoder().decoder, latents)):
        with torch.no_grad():
            call = export.export_call(module, (given,), {}, prefix="", aliases={}, whole=True)
            once = export.export_call(module, (given,), {}, prefix="", aliases={})
        assert call.program is not None
        graph = find_lifetimes(call.trace)["fused"].graph.bytes
        assert Graph(call.program).most() == graph == find_lifetimes(once.trace)["fused"].graph.bytes


@pytest.mark.slow
def test_a_call_from_the_cache_has_the_same_peaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_configurations(tiny.make("stable_diffusion"), tmp_path)
    found: list[dict[str, Any]] = []
    exported = KnownCalls._cached_or_exported

    def noted(self: Any, module: Any, place: Any, *arguments: Any) -> Any:
        call = exported(self, module, place, *arguments)
        found[-1][str(place)] = (call.program is None, find_lifetimes(call.trace))
        return call

    monkeypatch.setattr(KnownCalls, "_cached_or_exported", noted)
    for steps in (2, 3):  # another number of steps, so that the answer itself is none of the cache
        found.append({})
        fxprof.profile(tmp_path, **{**SMALL, "steps": steps}, cache=default_cache())
    first, second = found
    assert len(first) > 3
    assert not any(cached for cached, _ in first.values())
    assert all(cached for cached, _ in second.values())
    assert {place: peaks for place, (_, peaks) in first.items()} == {place: peaks for place, (_, peaks) in second.items()}


@pytest.mark.slow
def test_a_file_of_a_captured_call_has_the_peak_by_last_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live, _ = written(tiny.make("stable_diffusion"), tmp_path, monkeypatch, **SMALL)
    for component, read in zip(live.components, read_bundle(tmp_path).components, strict=True):
        for call, other in zip(component.calls, read.calls, strict=True):
            here, there = find_lifetimes(call.trace), find_lifetimes(other.trace)
            assert there == {way: replace(here[way], eager=None, by_module=there[way].by_module) for way in here}
            assert there["fused"].peak == there["fused"].graph
