"""What the documents show is what the commands print."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from commands import loaded, run

import fxprof
from fxprof.result.profile import Profile
from fxprof.source.targets import PROFILE, Target

ROOT = Path(__file__).parents[1]
TRANSCRIPT = re.compile(r"(<!-- transcript: fxprof (?P<command>[^>]*?) -->\n```\n)(?P<shown>.*?)(```)", re.DOTALL)
DOCUMENTS = sorted(path for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")) if TRANSCRIPT.search(path.read_text()))


@pytest.fixture(scope="module")
def profile() -> Profile:
    return fxprof.profile("sd3-medium", height=512, width=512, steps=30)


@pytest.fixture(scope="module")
def newer() -> Profile:
    """What the documents compare the other one with."""
    return fxprof.profile("sd3.5-medium", height=512, width=512, steps=30)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_transcripts_are_what_the_commands_print(
    path: Path,
    profile: Profile,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stand_in(target: Target, **_: object) -> Profile:
        found: Profile = request.getfixturevalue("newer") if str(target) == "sd3.5-medium" else profile
        return found

    monkeypatch.chdir(tmp_path)
    profile.save("sd3.json")
    monkeypatch.setattr("fxprof.api.profile", stand_in)

    def printed(match: re.Match[str]) -> str:
        result = run(*shlex.split(match["command"]))
        assert result.exit_code == 0
        return f"{match[1]}$ fxprof {match['command']}\n{result.stdout}{match[4]}"

    shown = path.read_text(encoding="utf-8")
    expected = TRANSCRIPT.sub(printed, shown)
    if request.config.getoption("--update-golden"):
        path.write_text(expected, encoding="utf-8")
    else:
        assert shown == expected


PAGES = [path.read_text() for path in (ROOT / "docs").glob("*.md") if path.name != "graphs.md"]  # it has a test of its own
COMMANDS = re.findall(r"^\$ fxprof (.*)$", "\n".join(PAGES), re.MULTILINE)


def write_index() -> None:
    """Make the directory that the documents name, whose pipeline is never built."""
    directory = Path("my-pipeline")
    directory.mkdir()
    (directory / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_in_the_documents_runs(
    line: str, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    profile.save("saved.json")
    write_index()
    asked: list[dict[str, object]] = []

    def stand_in(target: Target, **workload: object) -> Profile:
        if target.sort is PROFILE:
            return loaded(target)
        asked.append({"target": str(target), **workload})
        return profile

    monkeypatch.setattr("fxprof.api.profile", stand_in)
    arguments = [word.replace("sd3.json", "saved.json") if "-o" not in line else word for word in shlex.split(line)]
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout or (tmp_path / "sd3.json").exists()
    assert bool(asked) == any(name in line for name in ("my-pipeline", "sd3-medium"))


def test_the_job_of_the_page_passes_and_fails_as_it_says(
    profile: Profile, newer: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    path = ROOT / "docs" / "ci.md"
    page = path.read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    baseline, check, parts = (shlex.split(line)[1:] for line in lines if line.startswith("fxprof "))
    assert f"- run: fxprof {shlex.join(check)}\n" in page
    monkeypatch.chdir(tmp_path)
    write_index()
    monkeypatch.setattr("fxprof.api.profile", lambda *_, **__: profile)
    assert [run(*command).exit_code for command in (baseline, check, parts)] == [0, 0, 0]
    assert (tmp_path / "diff.md").read_text(encoding="utf-8").startswith("## ")
    monkeypatch.setattr("fxprof.api.profile", lambda target, **_: loaded(target) if target.sort is PROFILE else newer)
    failed = run(*check, "--force")
    assert failed.exit_code == 1
    told = re.sub(r"(?m)^fxprof: grew .*\n", lambda _: failed.stderr, page)
    if pytestconfig.getoption("--update-golden"):
        path.write_text(told, encoding="utf-8")
    else:
        assert told == page


def test_the_figures_in_the_readme_are_the_profile_s(profile: Profile) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"# {profile.macs}, for the whole image" in readme
    assert f"# {profile.components['transformer'].params}\n" in readme
    query, key = dict(profile.geometry.attention)["transformer"]
    assert f"attends over {query} tokens" in readme
    assert query == key


def test_every_link_in_the_documents_leads_somewhere() -> None:
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_numbers_of_the_hierarchy_are_those_of_the_tree(profile: Profile) -> None:
    graph = profile.hierarchy("transformer")
    tree = {node.path: node for node in profile.components["transformer"].tree.walk()}
    assert set(graph) == set(tree)
    for path, node in tree.items():
        attributes = graph.nodes[path]
        assert (attributes["self_macs"], attributes["total_macs"]) == (node.self_macs, node.total_macs)
        assert (attributes["params"], attributes["class_name"]) == (node.params, node.class_name)
        assert {child for _, child in graph.out_edges(path)} == {child.path for child in node.children}


SETUP = """
import diffusers, tiny, torch
from PIL import Image

unet = tiny.stable_diffusion().unet
diffusers.UNet2DConditionModel(**{**unet.config, "cross_attention_dim": 768}).save_config("unet")
pipe, module, example = tiny.stable_diffusion(), torch.nn.Linear(4, 8), torch.zeros(2, 4)
my_block, picture = torch.nn.Linear(1536, 64), Image.new("RGB", (64, 64))
if NAME == "PROFILING_GUIDE.md":
    pipe = diffusers.StableDiffusion3Img2ImgPipeline(**tiny.stable_diffusion_3().components)
"""
"""What the documents take as given."""

RUNNER = """
import ast, re, sys
from pathlib import Path

NAME, page = sys.argv[1], Path(sys.argv[2]).read_text(encoding="utf-8")
scope = {"NAME": NAME, "__name__": "page"}
exec(Path(sys.argv[3]).read_text(), scope)
for block in re.findall(r"```python\\n(.*?)```", page, re.DOTALL):
    lines = block.splitlines()
    for node in ast.parse(block).body:
        source = "\\n".join(lines[node.lineno - 1 : node.end_lineno])
        if not isinstance(node, ast.Expr):
            exec(compile(ast.Module([node], []), NAME, "exec"), scope)
            continue
        value = eval(compile(ast.Expression(node.value), NAME, "eval"), scope)
        said = re.search(r"  # (\\d+|True|False)\\b", source)
        print(f"{said[1]}\\t{value}" if said else f"\\t{type(value).__name__}")
"""
PYTHON = {path.name: path for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")) if "```python" in path.read_text()}


# graphs.md has a test of its own, and what the first page shows is run each time
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "README.md" else pytest.mark.slow)
        for name in sorted(PYTHON.keys() - {"graphs.md"})
    ],
)
def test_the_python_of_the_documents_runs_as_it_is_written(name: str, tmp_path: Path) -> None:
    (tmp_path / "setup.py").write_text(SETUP)
    command = [sys.executable, "-W", "ignore", "-c", RUNNER, name, str(PYTHON[name]), "setup.py"]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "FXPROF_CACHE_DIR": str(tmp_path / "cache")}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    values = [line.split("\t") for line in ran.stdout.splitlines()]
    assert all(said == value for said, value in values if said)
    assert len([said for said, _ in values if said]) == {"README.md": 3}.get(name, 0)
    assert len(values) == {"README.md": 12, "PROFILING_GUIDE.md": 2, "counting.md": 0}[name]
