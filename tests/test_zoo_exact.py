"""Every bundled model at full size against independent counts."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from benchmark import described

import fxprof
from fxprof.result.profile import Profile
from fxprof.source import load_zoo, names
from fxprof.source.stand_ins import StandIn

QUICK = {"sd-1.5"}
"""A UNet and a transformer; the others are checked in the long run."""
EXACT = {"sd-1.5", "sd3-medium", "flux.1-dev"}
"""Models of which nothing may be approximate."""
MODELS = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names()]


def slow_unless_quick(name: str, *values: Any) -> Any:
    """A case of a test, which is slow where no other quick test profiles its model."""
    return pytest.param(name, *values, marks=() if name in QUICK else pytest.mark.slow)


SCRIPT = Path(__file__).parents[1] / "scripts" / "plain_counter.py"


WORKLOADS: dict[str, dict[str, Any]] = {
    "hidream-i1-full": {"height": 512, "width": 512, "steps": 4},  # its scheduler solves equations from the third step on
    "sdxl-refiner-1.0": {"steps": 8, "arguments": {"image": StandIn("image", (512, 512))}},
}
"""What a model is to be asked for instead of two steps at 512x512."""

NEVER_CALLED = {
    "hunyuanimage-2.1": {"text_encoder_2"},  # reads what stands in quotation marks in the prompt
    "stable-cascade": {"text_encoder", "prior_image_encoder"},  # the decoder takes the prior's text; no image is given
}
"""Components that a pipeline does not need for a text alone."""


@cache
def profile_of(name: str) -> Profile:
    return fxprof.profile(name, **WORKLOADS.get(name, {"height": 512, "width": 512, "steps": 2}))


@pytest.mark.parametrize("name", MODELS)
def test_every_component_at_full_size_equals_flop_counter_mode(name: str) -> None:
    """Call for call, with the inputs that the pipeline gave.

    Where a component runs for real because it reads the contents of tensors, such as the masks of Lumina-Image 2.0 and the
    routes of HiDream's experts, no counter can call it on tensors without contents, either: what is compared is each call of
    its children. That they are all there, as often as the component calls them, is proven on tiny pipelines that really run.
    """
    profile = profile_of(name)
    spec = json.dumps(described(load_zoo(name), profile))
    done = subprocess.run([sys.executable, SCRIPT], input=spec, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    flops = json.loads(done.stdout.splitlines()[-1])["flops"]
    components = [part for part in profile.components.values() if part.name in load_zoo(name).components]
    assert [[2 * call.macs for call in part.calls if not call.note] for part in components] == flops
    assert {part.name for part in components if not part.calls} == NEVER_CALLED.get(name, set())


@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_uncounted_and_parameters_are_as_published(name: str) -> None:
    profile = profile_of(name)
    rows = [(part.name, call.count, row) for part in profile.components.values() for call in part.calls for row in call.ops]
    uncounted = [(where, row.op, row.count * times) for where, times, row in rows if row.macs is None]
    assert (uncounted, profile.total.bounded) == ([], 0)
    assert name not in EXACT or profile.approximations == ()
    for component in profile.components.values():
        part = load_zoo(name).components.get(component.name)
        if part is None:
            assert (component.name, component.params) == ("pipeline", 0)
            continue
        assert component.params == part.instantiated_params
        assert part.published_params in {None, component.params}


# Closed forms that any counter must meet, with d the width, f the inner width and L the length.
CLIP_L = 12 * (12 * 77 * 768**2 + 2 * 77**2 * 768)


def t5_xxl(length: int, width: int = 4096, inner: int = 10240) -> int:
    return 24 * (4 * length * width**2 + 3 * length * width * inner + 2 * length**2 * width)


@pytest.mark.parametrize(
    ("name", "component", "entry", "count", "macs"),
    [
        slow_unless_quick("sd-1.5", "text_encoder", "", 2, CLIP_L),
        slow_unless_quick("sdxl-base-1.0", "text_encoder", "", 1, CLIP_L),
        slow_unless_quick("sd3-medium", "text_encoder_3", "", 2, t5_xxl(256)),
        slow_unless_quick("flux.1-dev", "text_encoder_2", "", 1, t5_xxl(512)),
        slow_unless_quick("pixart-alpha-512", "text_encoder", "", 2, t5_xxl(120)),
    ],
)
def test_text_encoders_meet_their_closed_forms(name: str, component: str, entry: str, count: int, macs: int) -> None:
    calls = profile_of(name).components[component].calls
    assert [(call.entry, call.count, call.macs) for call in calls] == [(entry, count, macs)]


def test_the_unet_of_stable_diffusion_costs_what_is_published_plus_attention() -> None:
    """Counters that leave attention out print 338.6 to 338.8 GMACs for batch 1; all of it is 401,636,720,640."""
    component = profile_of("sd-1.5").components["unet"]
    call = component.calls[0]
    assert call.inputs[0].shape == (2, 4, 64, 64)
    assert call.macs == 2 * 401_636_720_640
    attention = sum(row.macs or 0 for row in call.ops if row.kind == "attention")
    assert round((call.macs - attention) / 2e9, 2) == 338.61


CALLS: dict[str, dict[str, list[tuple[int, tuple[int, ...]]]]] = {
    "sd-1.5": {
        "text_encoder": [(2, (1, 77))],
        "unet": [(3, (2, 4, 64, 64))],  # PNDM evaluates once more than it has steps
    },
    "sdxl-base-1.0": {
        "text_encoder": [(1, (1, 77))],  # an empty negative prompt is zeros, never encoded
        "unet": [(2, (2, 4, 64, 64))],
    },
    "flux.1-dev": {
        "text_encoder": [(1, (1, 77))],
        "transformer": [(2, (1, 1024, 64))],  # guidance is embedded, not batched
    },
    "sana-1.6b-512": {
        "text_encoder": [(1, (1, 506)), (1, (1, 300))],  # the instruction goes before the first prompt only
        "transformer": [(2, (2, 32, 16, 16))],
    },
}


@pytest.mark.parametrize("name", [slow_unless_quick(name) for name in CALLS])
def test_calls_and_shapes_are_those_of_the_published_pipelines(name: str) -> None:
    found = {
        component.name: [(call.count, next(item.shape for item in call.inputs if item.shape)) for call in component.calls]
        for component in profile_of(name).components.values()
        if component.name in {"unet", "transformer", "text_encoder"}
    }
    assert found == CALLS[name]
