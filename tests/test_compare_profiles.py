"""Two profiles compared: the settings of their runs."""

from __future__ import annotations

from dataclasses import replace

from mutations import net, profile

from fxprof.compare.diff import Setting
from fxprof.compare.profiles import compare_profiles as diff
from fxprof.result import Geometry


def test_settings_that_differ_are_told() -> None:
    old = replace(profile(net(), steps=2, height=64), versions={"torch": "2.12", "fxprof": "1"})
    new = replace(profile(net(), steps=4, width=64), versions={"torch": "2.13", "fxprof": "1"})
    sizes = Geometry((64, 64), denoiser="transformer", denoiser_calls=2, tiling=True, text_tokens=(("t", (7,)),))
    found = diff(old, replace(new, geometry=sizes))
    assert found.versions == (Setting("torch", "2.12", "2.13"),)
    assert found.workload == (Setting("steps", 2, 4), Setting("height", 64, None), Setting("width", None, 64))
    assert {(item.name, item.new) for item in found.sizes} == {
        ("pixels", "64 x 64"),
        ("denoiser", "transformer"),
        ("denoiser calls", 2),
        ("tiling", True),
    }
