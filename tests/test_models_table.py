"""The page holds every bundled model, its figures fit together, and some are counted again."""

from __future__ import annotations

import pytest
from models_table import HEADERS, INTRO, Row, models_section, one_model
from results_page import PAGE, shown

from fxprof.source import names

CHEAP = ("sd-1.5", "sd-turbo", "kandinsky-2.2", "pixart-lcm-1024")
"""Counted again in the long run: one with a safety checker, two denoisers in one pipeline, and different steps."""


def section() -> str:
    return shown("models", PAGE.read_text(encoding="utf-8"))


def rows() -> dict[str, dict[str, str]]:
    """Name to the cells of the page, by their heading."""
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in section().splitlines() if line.startswith("|")]
    return {cells[0]: dict(zip(table[0], cells, strict=True)) for cells in table[2:]}


def numbers(cell: str) -> list[float]:
    """The numbers of a cell; a dash is none, and what stands in brackets is a name."""
    parts = [part.partition(" (")[0] for part in cell.split("; ")]
    return [0.0 if part == "-" else float(part.lstrip("~≥≤").replace(",", "")) for part in parts]


def test_the_page_holds_every_bundled_model() -> None:
    assert list(rows()) == list(names())


def test_the_page_is_as_the_script_writes_it() -> None:
    assert section().startswith(INTRO.strip())
    assert section() == models_section([list(cells.values()) for cells in rows().values()])
    assert all(list(cells) == HEADERS for cells in rows().values())


@pytest.mark.parametrize("name", names())
def test_the_figures_of_a_row_fit_together(name: str) -> None:
    cells = rows()[name]
    each, calls = numbers(cells["denoiser, GMACs per call"]), numbers(cells["calls"])
    denoiser, text, autoencoder, other, total = (
        numbers(cells[f"{part}, TMACs"])[0] for part in ("denoiser", "text encoders", "autoencoder", "other", "total")
    )
    product = sum(one * times for one, times in zip(each, calls, strict=True)) / 1000
    assert product == pytest.approx(denoiser, abs=0.02, rel=1e-3)
    assert denoiser + text + autoencoder + other == pytest.approx(total, abs=0.021)
    assert numbers(cells["total, TFLOPs"])[0] == pytest.approx(2 * total, abs=0.011)
    assert min(denoiser, total, *calls, *numbers(cells["steps"])) > 0


def test_a_row_names_what_is_called_where_it_is_several() -> None:
    parts = (("prior_prior", 25, 25 * 3 * 10**9), ("unet", 50, 50 * 2 * 10**12))
    row = Row("x", "512x512", "50", parts, text=10**12, autoencoder=2 * 10**12, total=104 * 10**12, sign="~")
    assert row.cells() == [
        *("x", "512x512", "50", "3.0 (prior_prior); 2,000.0 (unet)", "25; 50"),
        *("100.08", "1.00", "2.00", "0.93", "~104.00", "~208.00"),
    ]
    alone = Row("x", "512x512", "50", parts[1:], text=10**12, autoencoder=0, total=101 * 10**12, sign="")
    assert alone.cells()[3:] == ["2,000.0", "50", "100.00", "1.00", "-", "-", "101.00", "202.00"]


@pytest.mark.slow
@pytest.mark.parametrize("name", CHEAP)
def test_a_row_is_what_the_script_counts(name: str) -> None:
    assert list(rows()[name].values()) == one_model(name).cells()
