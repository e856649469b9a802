"""Many pipeline classes of diffusers, profiled and really run: number of calls, shapes and MACs must agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from families import CASES
from families.case import points
from families.proof import agreed, prove

from fxprof.source import load_zoo, names

QUICK = (
    "DDIMPipeline",
    "StableCascadeCombinedPipeline",
    "StableDiffusionPipeline with a safety checker",
)
"""Of the mechanisms that differ most one each, in guidance and at one size; everything is checked in the long run."""


@pytest.mark.parametrize("name", QUICK)
def test_a_profile_is_what_the_real_run_does(name: str) -> None:
    agreed(CASES[name], points(name, CASES[name])[""])


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_also_in_and_out_of_guidance_at_two_sizes(name: str) -> None:
    if not CASES[name].runs:
        pytest.skip(f"needs {CASES[name].needs}")
    prove(name, CASES[name])


def test_every_class_of_a_bundled_model_is_proven() -> None:
    assert {load_zoo(name).class_name for name in names()} <= CASES.keys()


def test_the_page_about_coverage_names_every_case_and_only_those() -> None:
    page = (Path(__file__).parents[1] / "docs" / "coverage.md").read_text(encoding="utf-8")
    statuses = dict(re.findall(r"^\| (.+?) +\| (proven|fails|not tried) +\|", page, re.MULTILINE))
    assert {name for name, status in statuses.items() if status == "proven"} == {
        name for name in CASES if not CASES[name].needs
    }
    assert "fails" not in statuses.values()
