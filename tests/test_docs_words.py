"""The documents name all that they describe, and stay easy to read."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import loaded, run
from profiles import BUILDERS

from fxprof.cost.lifetimes import ATTENTION, AliveTensor, Lifetimes, Peak
from fxprof.result import Profile
from fxprof.result.records import Run
from fxprof.result.saved.read import load
from fxprof.result.saved.write import dumps
from fxprof.source.targets import PROFILE, Target
from fxprof.trace.weights import TORCHAO, WeightGroup

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
    peak = Peak(8, bounded=True, unknown=1, alive=(AliveTensor(8, (2,), "float32", "aten.relu.default", "", "", 0),))
    call = replace(first.calls[0], lifetimes={way: Lifetimes(peak, peak) for way in ATTENTION}, held_bytes=1)
    calls = (replace(call, ops=ops, unused={row.path: 1}, weight_bytes=1), *first.calls[1:])
    group = WeightGroup("parameter", "Linear", "weight", (2, 2), (("float16", 8),), 1, linear=True, skipped_by=(TORCHAO,))
    modules = (
        replace(first.modules[0], weights=(0,), weight_bytes=8),
        *(replace(item, weights=()) for item in first.modules[1:]),
    )
    full = replace(first, calls=calls, runs=(Run(1, ((0, 1),)),), stored_bytes=1, weights=(group,), modules=modules)
    full = replace(full, held_bytes=1, offload_blocks=("decoder",))
    return replace(profile, components={**profile.components, first.name: full})


HEADINGS = {
    "": "The profile",
    "geometry": "Geometry",
    "components": "A component",
    "calls": "A call",
    "inputs": "An input",
    "ops": "An operator",
    "runs": "Runs",
    "weights": "Weights",
    **dict.fromkeys(("memory", "fused", "math", "eager", "graph"), "Memory"),
    "tree": "The module tree",
    "children": "The module tree",
}
"""The section that describes the objects of a field."""


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_the_page_names_every_field_that_is_written(path: Path) -> None:
    page = (ROOT / "docs" / "profile-format.md").read_text(encoding="utf-8")
    written = set(written_fields(json.loads(dumps(with_every_field(load(path)))), ""))
    assert {("calls", "unused"), ("components", "runs"), ("components", "stored_bytes"), ("ops", "types")} <= written
    assert {("calls", "weight_bytes"), ("weights", "skipped_by"), ("weights", "linear"), ("tree", "weights")} <= written
    assert {("components", "offload_blocks"), ("calls", "memory"), ("math", "modules"), ("eager", "unknown")} <= written
    for place, field in sorted(written):
        section = page.partition(f"# {HEADINGS[place]}\n")[2].partition("\n#")[0]
        named = "".join(line.split("|")[1] for line in section.splitlines() if line.startswith("| `"))
        assert f"`{field}`" in named, f"{HEADINGS[place]}: {field}"


FIRST_PAGE = (ROOT / "docs" / "getting-started.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(py|sh)\n(.*?)```", FIRST_PAGE, re.DOTALL)
COMMANDS = [shlex.split(line)[1:] for kind, text in BLOCKS for line in text.splitlines() if kind == "sh" and "fxprof " in line]


def test_the_commands_of_the_first_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stand_in(target: Target, **_: object) -> Profile:
        return loaded(target) if target.sort is PROFILE else BUILDERS["normal"]()

    monkeypatch.chdir(tmp_path)
    Path("my-pipeline").mkdir()
    Path("my-pipeline/model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    Path("unet").mkdir()
    Path("unet/config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    monkeypatch.setattr("fxprof.api.profile", stand_in)
    commands = [command for command in COMMANDS if "block.pt2" not in command]
    assert len(commands) > 8
    for command in commands:
        result = run(*command)
        assert result.exit_code == 0, f"{command}: {result.output}"


@pytest.mark.slow
def test_the_python_of_the_first_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from tiny import stable_diffusion

    monkeypatch.chdir(tmp_path)
    scope = {"__name__": "page", "pipe": stable_diffusion(), "module": torch.nn.Linear(4, 8), "example": torch.zeros(2, 4)}
    for kind, text in BLOCKS:
        if kind == "py":
            exec(text, scope)
    assert load("mine.json") == scope["profile"]
    commands = [command for command in COMMANDS if "block.pt2" in command]
    assert len(commands) == 2
    for command in commands:
        result = run(*command)
        assert result.exit_code == 0, f"{command}: {result.output}"


SOURCES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
GENERATED = re.compile(r"<!-- (?P<mark>[\w ]+?)(?:: begin)? -->\n.*?<!-- (?:end of (?P=mark)|(?P=mark): end) -->", re.DOTALL)
CODE = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
LONGEST = 120


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_lines_are_short(path: Path) -> None:
    """Tables, code, comments and what scripts write are left out, and so is where a link leads."""
    text = CODE.sub("", GENERATED.sub("", path.read_text(encoding="utf-8")))
    if path.name == "coverage.md":  # a script writes all of it
        return
    for line in text.splitlines():
        if not line.startswith(("|", "<!--")):
            shown = re.sub(r"\]\([^)]*\)", "]()", line)
            assert len(shown) <= LONGEST, line
