"""Many pipeline classes of diffusers, profiled and really run: number of calls, shapes and MACs must agree."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import oracle
import pytest
import torch
from families import CASES, Case
from test_pipelines import calls_of, entries_of

import fxprof


def assert_agrees(case: Case, workload: dict[str, Any], arguments: dict[str, Any]) -> None:
    """Profile the pipeline, then run it: each call, and the sum of everything, also of what runs in no component."""
    pipeline = case.make()
    prompt: dict[str, Any] = {"prompt": "a photo of a cat"} if case.prompt else {}
    profile = fxprof.profile(pipeline, steps=case.steps, **prompt, **workload)
    entries = {(name, entry) for name, entry in entries_of(profile) if name in pipeline.components}
    pipeline.set_progress_bar_config(disable=True)
    torch.manual_seed(0)
    observed = oracle.run(pipeline, entries, num_inference_steps=case.steps, **prompt, **arguments)
    assert profile.total.uncounted == 0
    assert profile.macs == observed.total > 0
    whole = {place: macs for place, macs in calls_of(profile).items() if place[2] and place[0] in pipeline.components}
    assert {place: observed.calls.get(place) for place in whole} == whole


QUICK = {
    "StableDiffusionPAGPipeline",
    "LatentConsistencyModelPipeline",
    "StableDiffusionXLImg2ImgPipeline",
    "StableDiffusion3ControlNetPipeline",
    "FluxFillPipeline",
    "PixArtSigmaPAGPipeline",
    "DDIMPipeline",
    "DiTPipeline",
    "WanPipeline",
    "CogVideoXPipeline",
}
"""Of every sort of mechanism one; the others are checked in the long run."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CASES])
def test_a_profile_is_what_the_real_run_does(name: str) -> None:
    case = CASES[name]
    assert_agrees(case, {"arguments": case.arguments}, case.arguments)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_also_without_guidance_and_at_another_size(name: str) -> None:
    case = CASES[name]
    changed = dict(case.arguments)
    if "guidance_scale" in inspect.signature(type(case.make()).__call__).parameters:
        changed["guidance_scale"] = 1.0
    if {"height", "width"} <= changed.keys() and "image" not in changed and "control_image" not in changed:
        changed["width"] = 2 * changed["width"]
    assert_agrees(case, {"arguments": changed}, changed)


def test_the_page_about_coverage_names_every_proven_class() -> None:
    page = (Path(__file__).parents[1] / "docs" / "coverage.md").read_text(encoding="utf-8")
    for name in CASES:
        assert re.search(rf"^\| {name} \| proven \|", page, re.MULTILINE), name
