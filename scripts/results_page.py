"""Functions shared by the scripts that write tables into docs/RESULTS.md."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tabulate import tabulate

PAGE = Path(__file__).parents[1] / "docs" / "RESULTS.md"

GIGA, TERA = 10**9, 10**12


def is_autoencoder(name: str) -> bool:
    """Whether a component of this name decodes latents."""
    return name in {"vae", "movq", "vqgan"}


def giga(macs: int) -> str:
    """GMACs as the document writes them."""
    return f"{macs / GIGA:,.1f}"


def tera(macs: int) -> str:
    """TMACs, to two places."""
    return f"{macs / TERA:,.2f}"


def markdown(rows: Iterable[Iterable[str]], headers: list[str]) -> str:
    """A table; all but the first column are numbers."""
    align = ["left", *["right"] * (len(headers) - 1)]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True, colalign=align)


TITLES = {"origin": "The table that this project started from", "models": "All bundled models"}


def shown(which: str, page: str) -> str:
    """The text of a page between two markers, or nothing."""
    after = page.partition(f"<!-- {which}: begin -->")[2]
    return after.partition(f"<!-- {which}: end -->")[0].strip()


def written(which: str, text: str, page: str) -> str:
    """The page with a text between its markers; a page without markers gets them at its end."""
    begin, end = f"<!-- {which}: begin -->", f"<!-- {which}: end -->"
    if begin not in page:
        page = f"{page.rstrip()}\n\n## {TITLES[which]}\n\n{begin}\n{end}\n"
    before, after = page.partition(begin)[0], page.partition(end)[2]
    return f"{before}{begin}\n{text}\n{end}{after}"


def put(which: str, text: str, *, write: bool) -> None:
    """Print a section, or write it into the page."""
    if write:
        PAGE.write_text(written(which, text, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(text)
