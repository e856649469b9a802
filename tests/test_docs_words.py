"""The documents name all that they describe, and stay easy to read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fxprof.result import Profile
from fxprof.result.records import Run
from fxprof.result.saved.read import load
from fxprof.result.saved.write import dumps

ROOT = Path(__file__).parents[1]
SAVED = sorted((ROOT / "tests" / "data").glob("*.json"))
FREE = {"workload", "versions", "visits", "unused"}
"""Objects whose keys are names of the user's or of modules, not fields."""


def written_fields(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """(object, field) of every field below a value; an object goes by the field that holds it."""
    if isinstance(value, list):
        for item in value:
            yield from written_fields(item, place)
    elif isinstance(value, dict) and place not in FREE:
        for field, item in value.items():
            yield place, field
            yield from written_fields(item, field)


def with_every_field(profile: Profile) -> Profile:
    """The same profile, whose first component also says what is left out as a rule."""
    first = next(item for item in profile.components.values() if item.macs)
    row = next(row for row in first.calls[0].ops if row.macs)
    ops = tuple(op._replace(types="float32") for op in first.calls[0].ops)
    calls = (replace(first.calls[0], ops=ops, unused={row.path: 1}), *first.calls[1:])
    full = replace(first, calls=calls, runs=(Run(1, ((0, 1),)),), stored_bytes=1)
    return replace(profile, components={**profile.components, first.name: full})


HEADINGS = {
    "": "The profile",
    "geometry": "Geometry",
    "components": "A component",
    "calls": "A call",
    "inputs": "An input",
    "ops": "An operator",
    "runs": "Runs",
    "tree": "The module tree",
    "children": "The module tree",
}
"""The section that describes the objects of a field."""


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_the_page_names_every_field_that_is_written(path: Path) -> None:
    page = (ROOT / "docs" / "profile-format.md").read_text(encoding="utf-8")
    written = set(written_fields(json.loads(dumps(with_every_field(load(path)))), ""))
    assert {("calls", "unused"), ("components", "runs"), ("components", "stored_bytes"), ("ops", "types")} <= written
    for place, field in sorted(written):
        section = page.partition(f"# {HEADINGS[place]}\n")[2].partition("\n#")[0]
        named = "".join(line.split("|")[1] for line in section.splitlines() if line.startswith("| `"))
        assert f"`{field}`" in named, f"{HEADINGS[place]}: {field}"
