"""Every command: what it prints where, and its exit code; every error: one line, and what to try."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest
from commands import FakeApi, run
from profiles import normal, uncounted

from fxprof import __version__
from fxprof.cache import default_cache
from fxprof.cli import fxprof as command
from fxprof.cli import main, work
from fxprof.reports import FORMATS
from fxprof.reports.summary import build_summary as summary
from fxprof.result.saved.read import load
from fxprof.result.saved.write import dumps

# --- what a command prints


def test_report_goes_to_stdout_and_nothing_to_stderr(saved: Path) -> None:
    result = run("profile", saved / "normal.json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == FORMATS["text"].render(summary(normal()))


@pytest.mark.parametrize("name", ["profile", "layers", "hotspots"])
@pytest.mark.parametrize("form", FORMATS)
def test_command_is_the_report_of_the_same_name(saved: Path, name: str, form: str) -> None:
    suffix = {"text": "txt", "json": "json", "csv": "csv", "markdown": "md"}[form]
    golden = saved.parent / "golden" / form / f"uncounted-{name}.{suffix}"
    expected = (saved / "uncounted.json") if (name, form) == ("profile", "json") else golden
    assert run(name, saved / "uncounted.json", "--format", form).stdout == expected.read_text(encoding="utf-8")


def test_models_lists_what_is_bundled() -> None:
    from fxprof import source

    rows = json.loads(run("models", "--format", "json").stdout)["rows"]
    assert [row["name"] for row in rows] == [entry.name for entry in source.models()]
    assert {"name", "title", "class", "params", "hub_id", "confidence"} == rows[0].keys()


def test_explain_prints_the_explanation(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = ModuleType("fxprof.cost.explain")
    monkeypatch.setattr(fake, "explain", lambda name: f"about {name}\n\n", raising=False)
    monkeypatch.setitem(sys.modules, "fxprof.cost.explain", fake)
    result = run("explain", "aten.conv2d")
    assert (result.exit_code, result.stdout) == (0, "about aten.conv2d\n")


def test_components_are_selected(saved: Path) -> None:
    found = json.loads(run("profile", saved / "normal.json", "--component", "vae", "--format", "json").stdout)
    assert [component["name"] for component in found["components"]] == ["vae"]
    assert found["macs"] == normal().components["vae"].macs


def test_depth_share_and_limit_reach_the_report(saved: Path) -> None:
    rows = json.loads(run("layers", saved / "normal.json", "--component", "vae", "--depth", "1", "--format", "json").stdout)[
        "rows"
    ]
    assert [row["path"] for row in rows] == ["", "post_quant_conv", "encoder", "decoder"]
    text = run("layers", saved / "normal.json", "--component", "vae", "--depth", "all", "--min-share", "5%").stdout
    assert "(2 smaller)" in text
    rows = json.loads(run("hotspots", saved / "normal.json", "--by", "class", "-n", "1", "--format", "json").stdout)["rows"]
    assert [row["class"] for row in rows] == ["Linear", "others (4)"]
    rows = json.loads(run("hotspots", saved / "normal.json", "--by", "kind", "-n", "all", "--format", "json").stdout)["rows"]
    assert [row["kind"] for row in rows] == ["linear", "attention", "convolution", "matmul"]


def test_unit_reaches_the_report(saved: Path) -> None:
    assert "FLOPs" in run("layers", saved / "normal.json", "--unit", "gflop").stdout
    assert "507,227 G" in run("layers", saved / "normal.json", "--unit", "gflop", "--component", "transformer").stdout


# --- profiling


def test_workload_reaches_the_api(api: FakeApi) -> None:
    result = run(
        *(
            "profile",
            "sd3-medium",
            "--height",
            "512",
            "--width",
            "768",
            "--images",
            "2",
            "--steps",
            "30",
            "--guidance-scale",
            "7.5",
        ),
        *("--prompt", "a cat", "--prompt-tokens", "12", "--dtype", "float16", "--without", "vae"),
        *("--enable", "vae.tiling", "--enable", "vae.slicing"),
        *(
            "--arg",
            "clip_skip=2",
            "--arg",
            "negative_prompt=a=b",
            "--arg",
            "sigmas=[1.0, 0.5]",
            "--arg",
            "x=NaN",
            "--arg",
            "y=",
        ),
    )
    assert result.exit_code == 0
    arguments = {"clip_skip": 2, "negative_prompt": "a=b", "sigmas": [1.0, 0.5], "x": "NaN", "y": ""}
    sizes = {"height": 512, "width": 768, "images": 2, "steps": 30, "guidance_scale": 7.5}
    text = {"prompt": "a cat", "prompt_tokens": 12}
    names = {"without": ("vae",), "enable": ("vae.tiling", "vae.slicing")}
    given = {**sizes, **text, "dtype": "float16", **names, "arguments": arguments, "inputs": {}, "dims": {}}
    assert api.calls == [
        (
            "sd3-medium",
            {**given, "formulas": None, "whole": False, "cache": default_cache(), "progress": None, "lifetimes": False},
        )
    ]


def test_what_is_not_given_is_left_to_the_pipeline(api: FakeApi) -> None:
    run("hotspots", "sd3-medium")
    nothing = dict.fromkeys(("height", "width", "images", "steps", "guidance_scale", "prompt", "prompt_tokens", "dtype"))
    assert api.calls == [
        (
            "sd3-medium",
            {
                **nothing,
                "without": (),
                "enable": (),
                "arguments": {},
                "inputs": {},
                "dims": {},
                "formulas": None,
                "whole": False,
                "cache": default_cache(),
                "progress": None,
                "lifetimes": False,
            },
        )
    ]


def test_progress_is_told_on_a_terminal_alone(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("profile", "sd3-medium").stderr == ""
    monkeypatch.setattr(work, "_on_terminal", lambda: True)
    result = run("profile", "sd3-medium")
    assert re.fullmatch(r"fxprof: +\d+\.\d s  transformer: exporting\n", result.stderr)
    assert result.stdout == FORMATS["text"].render(summary(normal()))


def test_formula_files_add_to_the_default_table(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = ModuleType("fxprof.cost.plugins")
    monkeypatch.setattr(fake, "load_file", lambda path, formulas: [*formulas, path.name], raising=False)
    monkeypatch.setitem(sys.modules, "fxprof.cost.plugins", fake)
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("")
    result = run("profile", "sd3-medium", "--formulas", tmp_path / "a.py", "--formulas", tmp_path / "b.py")
    assert result.exit_code == 0
    assert api.calls[0][1]["formulas"] == ["built in", "a.py", "b.py"]


# --- files


def test_output_file_takes_its_format_from_its_name(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    result = run("profile", saved / "uncounted.json", "-o", path)
    assert (result.exit_code, result.output) == (0, "")
    assert load(path) == uncounted()
    run("profile", saved / "uncounted.json", "--output", tmp_path / "out.dat", "--format", "csv")
    assert (tmp_path / "out.dat").read_text().startswith("component,class,params,")


@pytest.mark.parametrize(
    ("name", "message"),
    [("here.json", "here.json exists"), ("none/out.json", "there is no directory"), ("folder.json", "it is a directory")],
)
def test_impossible_output_is_refused_before_any_work(api: FakeApi, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "here.json").write_text("precious")
    (tmp_path / "folder.json").mkdir()
    result = run("profile", "sd3-medium", "-o", tmp_path / name)
    assert result.exit_code == 3
    assert message in result.stderr
    assert api.calls == []
    assert (tmp_path / "here.json").read_text() == "precious"


def test_dash_is_stdout(saved: Path) -> None:
    assert run("profile", saved / "normal.json", "-o", "-").stdout == run("profile", saved / "normal.json").stdout


def test_force_overwrites(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "here.json"
    path.write_text("old")
    assert run("profile", saved / "uncounted.json", "-o", path, "--force").exit_code == 0
    assert path.read_text() == dumps(uncounted())


def test_unknown_suffix_is_a_usage_error_before_any_work(api: FakeApi, tmp_path: Path) -> None:
    result = run("profile", "sd3-medium", "-o", tmp_path / "out.docx")
    assert result.exit_code == 2
    assert result.stderr.startswith("fxprof: the suffix of the output file ")
    assert api.calls == []


# --- strict


def test_strict_prints_the_report_and_exits_with_one(saved: Path) -> None:
    result = run("profile", saved / "uncounted.json", "--strict")
    assert result.exit_code == 1
    assert result.stdout == run("profile", saved / "uncounted.json").stdout
    assert result.stderr.splitlines() == [
        "fxprof: 249 executions of operators without a formula: mylib.classify.default, mylib.fused_attention.default",
        "  try: declare their formulas in a file and name it with --formulas",
    ]


@pytest.mark.parametrize(("name", "code"), [("normal", 0), ("bounded", 0), ("odd", 0), ("uncounted", 1)])
@pytest.mark.parametrize("report", ["profile", "layers", "hotspots"])
def test_strict_fails_for_what_is_uncounted_alone(saved: Path, report: str, name: str, code: int) -> None:
    assert run(report, saved / f"{name}.json", "--strict").exit_code == code


def test_strict_looks_at_the_selected_components(saved: Path) -> None:
    result = run("profile", saved / "uncounted.json", "--strict", "--component", "safety_checker")
    assert result.stderr.splitlines()[0] == "fxprof: 1 execution of operators without a formula: mylib.classify.default"


# --- help


@pytest.mark.parametrize("words", [[], *([name] for name in command.commands)], ids=" ".join)
def test_help_fits_and_has_an_example(words: list[str]) -> None:
    result = run(*words, "--help")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line in {"  Example:", "  Examples:"} for line in lines)
    assert lines[-1].startswith("    fxprof ")
    assert run(*words, "-h").stdout == result.stdout


def test_commands_are_listed_in_the_order_of_a_first_look() -> None:
    listed = run("--help").stdout.partition("Commands:\n")[2].splitlines()[:11]
    names = ["models", "profile", "layers", "hotspots", "memory", "roofline", "devices", "diff", "capture", "cache", "explain"]
    assert [line.split()[0] for line in listed] == names


def test_options_have_the_same_order_and_words_everywhere() -> None:
    def shared(name: str) -> list[tuple[list[str], object]]:
        options = [parameter for parameter in command.commands[name].params if isinstance(parameter, click.Option)]
        start = next(index for index, option in enumerate(options) if option.name == "height")
        return [(option.opts, option.help) for option in options[start:]]

    assert shared("profile") == shared("layers") == shared("hotspots") == shared("roofline") == shared("diff")
    assert len(shared("profile")) == 25


def test_version() -> None:
    assert run("--version").stdout == f"fxprof {__version__}\n"


def test_main_is_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["anything", "--version"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert (caught.value.code, capsys.readouterr().out) == (0, f"fxprof {__version__}\n")
