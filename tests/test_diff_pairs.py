"""The page about real pairs is what the code prints."""

from __future__ import annotations

import re
from pathlib import Path

import diff_pairs
import pytest


def test_the_page_shows_every_pair_and_profiles_each_model() -> None:
    text = diff_pairs.PAGE.read_text(encoding="utf-8")
    shown = [name for match in re.finditer(r"<!-- pair: (\S+) (\S+) -->", text) for name in match.groups()]
    assert sorted(shown) == sorted(diff_pairs.RUNS)
    for name, run in diff_pairs.RUNS.items():
        assert f"fxprof diff {name} " in text or f" {name}`" in text
        assert run.steps is None or f"fxprof profile {run.model} --steps {run.steps} -o {name}" in text
        assert not run.image or f"fxprof profile {run.model} --arg image={run.image} -o {name}" in text


def test_what_is_left_out_of_a_report() -> None:
    table = "kind of work  old\n------------  ---\nlinear          1"
    text = (
        "a → b\n\ncomponent\n---------\ntotal\n\nper run: 1\n\n"
        + table
        + "\n\nunet: layers\nlayer\n-----\nfc\n\nnote:\n  a line\n"
    )
    assert diff_pairs.abridged(text) == "a → b\n\ncomponent\n---------\ntotal\n\nper run: 1\n\nunet: layers\nlayer\n-----\nfc\n"


@pytest.mark.slow
def test_tables_are_what_the_code_prints(tmp_path: Path) -> None:
    shown = diff_pairs.PAGE.read_text(encoding="utf-8")
    assert diff_pairs.page_with(tmp_path, shown) == shown
