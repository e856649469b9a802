"""Figures printed elsewhere agree with ours under the same conditions, as far as they count the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from check_published import figures, ours

QUICK = [figure for figure in figures() if "module" in figure]
SLOW = [figure for figure in figures() if "module" not in figure]


def name(figure: dict[str, Any]) -> str:
    return str(figure["what"])


def assert_agrees(figure: dict[str, Any]) -> None:
    counted = ours(figure)
    assert abs(figure["macs"] / counted - 1) <= figure["tolerance"], f"{figure['what']}: {counted}"


@pytest.mark.parametrize(
    "figure", [pytest.param(figure, marks=pytest.mark.slow if "DiT" in figure["what"] else ()) for figure in QUICK], ids=name
)
def test_single_models_agree(figure: dict[str, Any]) -> None:
    assert_agrees(figure)


@pytest.mark.slow
@pytest.mark.parametrize("figure", SLOW, ids=lambda figure: f"{figure['what']}-{figure['where']}")
def test_components_of_pipelines_agree(figure: dict[str, Any]) -> None:
    assert_agrees(figure)


def test_the_results_show_every_figure() -> None:
    page = (Path(__file__).parents[1] / "docs" / "RESULTS.md").read_text(encoding="utf-8")
    for figure in figures():
        assert figure["printed"] in page
        assert figure["verdict"] in page
