"""Every command: what it prints where, and its exit code; every error: one line, and what to try."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from profiles import normal, uncounted

from fxprof import __version__
from fxprof.cli import fxprof as command
from fxprof.cli import main, work
from fxprof.errors import CaptureError, TargetError
from fxprof.reports import FORMATS
from fxprof.reports.summary import summary
from fxprof.result import Profile
from fxprof.result.store import dumps, load


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, list(map(str, arguments)), prog_name="fxprof")


class FakeApi(ModuleType):
    """Stands in for `fxprof.api`, which imports torch when it captures."""

    def __init__(self) -> None:
        super().__init__("fxprof.api")
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.outcome: Callable[[], Profile] = normal

    def profile(self, target: str, **workload: Any) -> Profile:
        self.calls.append((target, workload))
        if workload["progress"]:
            workload["progress"]("transformer: exporting")
        return self.outcome()

    def default_formulas(self) -> list[str]:
        return ["built in"]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    import fxprof

    fake = FakeApi()
    monkeypatch.setitem(sys.modules, "fxprof.api", fake)
    monkeypatch.setattr(fxprof, "api", fake, raising=False)
    return fake


def fail_with(error: BaseException) -> Callable[[], Profile]:
    def outcome() -> Profile:
        raise error

    return outcome


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
        *("--prompt", "a cat", "--prompt-tokens", "12", "--dtype", "float16"),
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
    given = {**sizes, "prompt": "a cat", "prompt_tokens": 12, "dtype": "float16", "arguments": arguments}
    assert api.calls == [("sd3-medium", {**given, "formulas": None, "progress": None})]


def test_what_is_not_given_is_left_to_the_pipeline(api: FakeApi) -> None:
    run("hotspots", "sd3-medium")
    nothing = dict.fromkeys(("height", "width", "images", "steps", "guidance_scale", "prompt", "prompt_tokens", "dtype"))
    assert api.calls == [("sd3-medium", {**nothing, "arguments": {}, "formulas": None, "progress": None})]


def test_progress_is_told_on_a_terminal_alone(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("profile", "sd3-medium").stderr == ""
    monkeypatch.setattr(work, "_on_terminal", lambda: True)
    result = run("profile", "sd3-medium")
    assert result.stderr == "fxprof: transformer: exporting\n"
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


def test_force_overwrites(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "here.json"
    path.write_text("old")
    assert run("profile", saved / "uncounted.json", "-o", path, "--force").exit_code == 0
    assert path.read_text() == dumps(uncounted())


def test_unknown_suffix_is_a_usage_error_before_any_work(api: FakeApi, tmp_path: Path) -> None:
    result = run("profile", "sd3-medium", "-o", tmp_path / "out.docx")
    assert result.exit_code == 2
    assert result.stderr.startswith("fxprof: no format goes by the name of the output file ")
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


# --- usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--height", "0"], "'--height': 0 is not in the range x>=1"),
        (["--width", "-64"], "'--width': -64 is not in the range x>=1"),
        (["--images", "0"], "'--images': 0 is not in the range x>=1"),
        (["--steps", "0"], "'--steps': 0 is not in the range x>=1"),
        (["--steps", "2.5"], "'--steps': '2.5' is not a valid integer"),
        (["--prompt-tokens", "0"], "'--prompt-tokens': 0 is not in the range x>=1"),
        (["--guidance-scale", "nan"], "'--guidance-scale': 'nan' is not a number."),
        (["--guidance-scale", "strong"], "'--guidance-scale': 'strong' is not a number."),
        (["--dtype", "int8"], "'--dtype': 'int8' is not one of 'float32', 'float16', 'bfloat16'"),
        (["--arg", "novalue"], "'--arg': 'novalue' is not NAME=VALUE."),
        (["--arg", "=3"], "'--arg': '=3' is not NAME=VALUE."),
        (["--arg", "a=1", "--arg", "a=2"], "'--arg': one argument is given twice."),
        (["--format", "xml"], "'--format': 'xml' is not one of 'text', 'json', 'csv', 'markdown'"),
        (["--unit", "gflops"], "'--unit': 'gflops' is not one of"),
        (["--formulas", "none.py"], "'--formulas': File 'none.py' does not exist"),
        (["--nonsense"], "No such option"),
    ],
)
def test_wrong_values_are_usage_errors(api: FakeApi, arguments: list[str], message: str) -> None:
    result = run("profile", "sd3-medium", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert api.calls == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["layers", "x", "--depth", "-1"], "'-1' is neither 'all' nor a number from 0 on."),
        (["layers", "x", "--depth", "9999999999"], "is neither 'all' nor a number"),
        (["hotspots", "x", "-n", "0"], "'0' is neither 'all' nor a number from 1 on."),
        (["hotspots", "x", "--by", "colour"], "'colour' is not one of 'layer', 'class', 'kind', 'op', 'source'"),
        (["layers", "x", "--min-share", "101%"], "'101%' is not a percentage from 0% to 100%."),
        (["layers", "x", "--min-share", "nan"], "'nan' is not a percentage"),
        (["layers", "x", "--min-share", "much"], "'much' is not a percentage"),
        (["profile"], "Missing argument 'TARGET'"),
        (["nonsense"], "No such command 'nonsense'"),
    ],
)
def test_wrong_command_lines_are_usage_errors(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        (["--height", "512"], "--height needs"),
        (["--guidance-scale", "0", "--prompt", ""], "--guidance-scale, --prompt need"),
        (["--prompt-tokens", "3", "--arg", "a=1"], "--prompt-tokens, --arg need"),
        (["--formulas", __file__], "--formulas needs"),
    ],
)
def test_workload_of_a_saved_profile_cannot_be_changed(saved: Path, arguments: list[str], flags: str) -> None:
    path = saved / "normal.json"
    result = run("layers", path, *arguments)
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"fxprof: {flags} a pipeline, but {path} is a saved profile",
        "  try: name the pipeline instead, or leave the options out",
    ]


def test_unknown_component_is_a_usage_error(saved: Path) -> None:
    result = run("profile", saved / "uncounted.json", "--component", "vae")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "fxprof: my-fused-model has no component 'vae'",
        "  try: one of unet, safety_checker",
    ]


# --- what goes wrong


def test_damaged_profile_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(dumps(uncounted())[:-100])
    result = run("profile", path)
    assert result.exit_code == 3
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"fxprof: {path} is not a profile, or is damaged: ")


def test_unknown_target_is_told_with_what_to_try(api: FakeApi) -> None:
    api.outcome = fail_with(TargetError("cannot profile 'x': nothing\nof that name", "see `fxprof models`"))
    result = run("profile", "x")
    assert result.exit_code == 3
    assert result.stderr == "fxprof: cannot profile 'x': nothing of that name\n  try: see `fxprof models`\n"


@pytest.mark.parametrize("before", [True, False])
def test_debug_shows_the_traceback_too(api: FakeApi, before: bool) -> None:
    api.outcome = fail_with(CaptureError("exporting the unet failed"))
    result = run("--debug", "profile", "x") if before else run("profile", "x", "--debug")
    assert result.exit_code == 3
    lines = result.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "fxprof: exporting the unet failed"


def test_a_bug_keeps_its_traceback(api: FakeApi) -> None:
    api.outcome = fail_with(ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        CliRunner().invoke(command, ["profile", "x"], catch_exceptions=False)


def test_interruption_writes_nothing(api: FakeApi, tmp_path: Path) -> None:
    api.outcome = fail_with(KeyboardInterrupt())
    result = run("profile", "x", "-o", tmp_path / "p.json")
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "fxprof: interrupted; nothing was written\n")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_goes_away_is_no_error(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fxprof.cli import group

    silenced: list[bool] = []
    monkeypatch.setattr(group, "_silence_stdout", lambda: silenced.append(True))

    def fail(*_args: object, **_options: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(click, "echo", fail)
    result = run("profile", saved / "normal.json")
    assert (result.exit_code, result.output, silenced) == (141, "", [True])


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", "≥1 ≤2 0…3 \N{MULTIPLICATION SIGN}4 é"),
        ("ascii", ">=1 <=2 0...3 x4 \\xe9"),
        ("cp1253", ">=1 <=2 0...3 x4 \\xe9"),
    ],
)
def test_signs_that_a_terminal_cannot_show_are_spelled_out(encoding: str, expected: str) -> None:
    assert work.encodable("≥1 ≤2 0…3 \N{MULTIPLICATION SIGN}4 é", encoding) == expected


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
    listed = run("--help").stdout.partition("Commands:\n")[2].splitlines()[:5]
    assert [line.split()[0] for line in listed] == ["models", "profile", "layers", "hotspots", "explain"]


def test_options_have_the_same_order_and_words_everywhere() -> None:
    def shared(name: str) -> list[tuple[list[str], object]]:
        options = [parameter for parameter in command.commands[name].params if isinstance(parameter, click.Option)]
        start = next(index for index, option in enumerate(options) if option.name == "height")
        return [(option.opts, option.help) for option in options[start:]]

    assert shared("profile") == shared("layers") == shared("hotspots")
    assert len(shared("profile")) == 17


def test_version() -> None:
    assert run("--version").stdout == f"fxprof {__version__}\n"


def test_main_is_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["anything", "--version"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert (caught.value.code, capsys.readouterr().out) == (0, f"fxprof {__version__}\n")
