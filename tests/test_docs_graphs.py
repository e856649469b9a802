"""All commands and all Python in docs/graphs.md, in order, for real: on a tiny pipeline and the page's own module."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from commands import run
from test_pipelines import save_configurations
from tiny import stable_diffusion

PAGE = (Path(__file__).parents[1] / "docs" / "graphs.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(python|console)\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.slow
def test_the_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_configurations(stable_diffusion(), tmp_path / "my-pipeline")
    scope: dict[str, object] = {"__name__": "page"}
    outputs = {}
    for language, text in BLOCKS:
        if language == "python":
            exec(text, scope)
            continue
        for line in re.findall(r"^\$ fxprof (.*)$", text, re.MULTILINE):
            # The tiny pipeline is asked for a tiny image; the page shows what a reader would ask.
            small = ["--height", "16", "--width", "16"] if line.startswith("capture") else []
            result = run(*shlex.split(line), *small)
            assert result.exit_code == 0, f"{line}: {result.output}"
            outputs[line] = result.stdout
    assert isinstance(scope["program"], torch.export.ExportedProgram)
    assert json.loads((tmp_path / "block.json").read_text())["macs"] == 1024 * 2 * 256 * 1024
    assert "workload  s" in outputs["profile named.pt2 --dim rows=1024"]
    assert "UNet2DConditionModel" in outputs["profile graphs/unet.pt2"]


def test_the_page_runs_something() -> None:
    assert len([line for _, text in BLOCKS for line in text.splitlines() if line.startswith("$ fxprof ")]) >= 9
