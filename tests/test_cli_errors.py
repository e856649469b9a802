"""Every error of the command line: one line on stderr, what to try, and the exit code."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from commands import FakeApi, fail_with, run
from profiles import uncounted

from fxprof.cli import fxprof as command
from fxprof.cli import work
from fxprof.errors import CaptureError, TargetError
from fxprof.result.saved.write import dumps

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


def test_a_target_that_cannot_be_read_is_told_with_what_to_try(api: FakeApi) -> None:
    api.outcome = fail_with(TargetError("cannot profile 'x': nothing\nof that name", "see `fxprof models`"))
    result = run("profile", "sd-1.5")
    assert result.exit_code == 3
    assert result.stderr == "fxprof: cannot profile 'x': nothing of that name\n  try: see `fxprof models`\n"


@pytest.mark.parametrize("before", [True, False])
def test_debug_shows_the_traceback_too(api: FakeApi, before: bool) -> None:
    api.outcome = fail_with(CaptureError("exporting the unet failed"))
    result = run("--debug", "profile", "sd-1.5") if before else run("profile", "sd-1.5", "--debug")
    assert result.exit_code == 3
    lines = result.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "fxprof: exporting the unet failed"


def test_a_bug_keeps_its_traceback(api: FakeApi) -> None:
    api.outcome = fail_with(ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        CliRunner().invoke(command, ["profile", "sd-1.5"], catch_exceptions=False)


def test_interruption_writes_nothing(api: FakeApi, tmp_path: Path) -> None:
    api.outcome = fail_with(KeyboardInterrupt())
    result = run("profile", "sd-1.5", "-o", tmp_path / "p.json")
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
