"""The page holds the document's figures, and what the script counts against them."""

from __future__ import annotations

from pathlib import Path

import pytest
from origin_table import FAULTS, INTRO, METHOD, TRUE, Method, Work, facts, measured, section
from results_page import PAGE, shown, written

from fxprof.source import names


@pytest.fixture
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("part", [INTRO, METHOD, FAULTS, TRUE], ids=lambda part: str(part).splitlines()[0])
def test_the_page_holds_what_the_script_says(part: str, page: str) -> None:
    assert part.strip() in shown("origin", page)


@pytest.mark.parametrize("row", facts(), ids=lambda row: row["title"])
def test_the_page_shows_every_printed_figure(row: dict[str, str], page: str) -> None:
    assert row["name"] in names()
    lines = [line for line in shown("origin", page).splitlines() if line.startswith(f"| {row['title']} ")]
    cells = {cell.strip() for line in lines for cell in line.split("|")}
    assert {row["title"], row["printed"], row["total"], row.get("redone", "-")} <= cells


def test_each_mended_fault_changes_its_own_part_only() -> None:
    work = Work(
        layers=1, transposed=10, transposed_thop=40, norms_thop=100, attention=1000, scores=5, square=2000, square_scores=10
    )
    work += Work(other=10**6)
    assert work.exact == 1001011
    assert Method().of(work, unet=True) == 1 + 2 * (2000 + 10) + 140
    assert Method().of(work, unet=False) == 1 + (2000 + 10) + 140
    assert Method().as_redone(work, unet=False) == 1 + (2000 + 10)
    assert Method(square=False).of(work, unet=True) == 1 + 2 * (1000 + 5) + 140
    assert Method(doubled=False).of(work, unet=True) == Method().of(work, unet=False)
    assert Method(blind=False).of(work, unet=False) == Method().of(work, unet=False) + 10**6
    assert Method(extras=False).of(work, unet=False) == 1 + 2000 + 10
    assert Method(square=False, doubled=False, blind=False, extras=False).of(work, unet=True) == work.exact


def test_a_section_is_written_between_its_markers(tmp_path: Path) -> None:
    once = written("models", "one", "# Page\n")
    again = written("models", "two", once)
    assert shown("models", once) == "one"
    assert again == once.replace("one", "two")
    assert again.startswith("# Page\n\n## All bundled models\n")


@pytest.mark.slow
def test_the_section_is_what_the_script_counts(page: str) -> None:
    assert shown("origin", page) == section(measured())
