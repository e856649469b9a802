"""`fxprof diff` on the command line: what it prints where, its exit codes, and its errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import archives
import pytest
from commands import FakeApi, run
from mutations import net, profile, widened
from profiles import autoencoder, normal, uncounted

from fxprof.cli.work import encodable
from fxprof.compare.profiles import compare_profiles as diff
from fxprof.reports import FORMATS
from fxprof.reports.diff import build_diff as report
from fxprof.result import Profile
from fxprof.units import format_macs


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A small pipeline, and one whose transformer is called three times instead of two, at the same cost."""
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    profile(net(calls=2), autoencoder(), steps=2).save(old)
    profile(net(calls=3), autoencoder(), steps=3).save(new)
    return old, new


@pytest.fixture
def unsure(tmp_path: Path) -> tuple[Path, Path]:
    """A pipeline with operators that are not counted, and the same with more of them."""
    old, new = tmp_path / "known.json", tmp_path / "less.json"
    uncounted().save(old)
    unet = uncounted().components["unet"]
    more = replace(unet, calls=tuple(replace(call, count=call.count + 1) for call in unet.calls))
    replace(uncounted(), components={**uncounted().components, "unet": more}).save(new)
    return old, new


# --- the report


@pytest.mark.parametrize("form", FORMATS)
def test_command_is_the_report(pair: tuple[Path, Path], form: str) -> None:
    found = diff(profile(net(calls=2), autoencoder(), steps=2), profile(net(calls=3), autoencoder(), steps=3))
    result = run("diff", *pair, "--format", form)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == FORMATS[form].render(report(found))


def test_options_reach_the_report(saved: Path, tmp_path: Path) -> None:
    wide = normal().components["transformer"]
    for number in range(3):
        wide = widened(wide, f"transformer_blocks.{number}.ff.in", number + 2)
    replace(normal(), components={**normal().components, "transformer": wide}).save(tmp_path / "wide.json")
    arguments = ("diff", saved / "normal.json", tmp_path / "wide.json")
    assert "other group" not in run(*arguments).stdout
    assert "2 other groups" in run(*arguments, "-n", "1").stdout
    assert "other group" not in run(*arguments, "--limit", "all").stdout
    assert "FLOPs" in run(*arguments, "--unit", "gflop").stdout
    assert "operators:" not in run(*arguments, "--ops").stdout  # none was exchanged
    only = json.loads(run(*arguments, "--component", "vae", "--format", "json").stdout)
    assert [part["name"] for part in only["components"]] == ["vae"]
    assert (only["delta"], only["new"]["macs"]) == (0, normal().components["vae"].macs)


def test_output_file_takes_its_format_from_its_name(pair: tuple[Path, Path], tmp_path: Path) -> None:
    result = run("diff", *pair, "-o", tmp_path / "diff.md")
    assert (result.exit_code, result.output) == (0, "")
    assert (tmp_path / "diff.md").read_text(encoding="utf-8") == run("diff", *pair, "--format", "markdown").stdout


def test_signs_of_the_report_have_a_spelling_in_ascii() -> None:
    assert encodable("a → b, 2 \N{MULTIPLICATION SIGN}, ≥1", "ascii") == "a -> b, 2 x, >=1"


# --- the targets


def test_the_workload_is_for_the_side_that_is_no_saved_profile(api: FakeApi, saved: Path, tmp_path: Path) -> None:
    result = run("diff", saved / "normal.json", "sd3-medium", "--steps", "4")
    assert result.exit_code == 0
    assert "nothing differs" in result.stdout
    assert [(target, workload["steps"]) for target, workload in api.calls] == [("sd3-medium", 4)]
    (tmp_path / "more.py").write_text("")
    run("diff", "sd3-medium", "sd3.5-medium", "--height", "512")
    assert [(target, workload["height"]) for target, workload in api.calls[1:]] == [
        ("sd3-medium", 512),
        ("sd3.5-medium", 512),
    ]


@pytest.mark.parametrize(("option", "flag"), [(("--steps", "4"), "--steps"), (("--formulas", __file__), "--formulas")])
def test_options_of_a_workload_are_refused_where_both_are_saved(
    pair: tuple[Path, Path], option: tuple[str, str], flag: str
) -> None:
    result = run("diff", *pair, *option)
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"fxprof: {flag} needs a pipeline, but {pair[0]} and {pair[1]} are saved profiles",
        "  try: name the pipeline instead, or leave the options out",
    ]


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return archives.write(tmp_path / "graph.pt2")


def test_each_side_gets_the_options_that_it_takes(api: FakeApi, graph: Path) -> None:
    assert run("diff", graph, "sd3-medium", "--steps", "4", "--dim", "x.0=8").exit_code == 0
    asked = [(target, workload.get("steps"), workload.get("dims")) for target, workload in api.calls]
    assert asked == [(str(graph), None, {"x.0": 8}), ("sd3-medium", 4, None)]


def test_an_option_that_neither_side_takes_is_refused(api: FakeApi, graph: Path, saved: Path) -> None:
    result = run("diff", graph, saved / "normal.json", "--steps", "4")
    assert result.exit_code == 2
    sides = f"{graph} is an exported graph and {saved / 'normal.json'} is a saved profile"
    assert result.stderr.splitlines()[0] == f"fxprof: --steps needs a pipeline, but {sides}"
    result = run("diff", saved / "normal.json", "sd3-medium", "--dim", "x.0=8")
    assert f"--dim needs an exported graph, but {saved / 'normal.json'} is a saved profile and sd3-medium is" in result.stderr
    assert api.calls == []


def test_impossible_output_is_refused_before_any_work(api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "here.json").write_text("precious")
    result = run("diff", "sd3-medium", "sd-1.5", "-o", tmp_path / "here.json")
    assert result.exit_code == 3
    assert "here.json exists" in result.stderr
    assert api.calls == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["diff", "a.json"], "Missing argument 'NEW'"),
        (
            ["diff", "a", "b", "--fail-over", "5"],
            "'5' is neither a percentage such as +5% nor an amount of MACs such as +10G (K, M, G, T or P).",
        ),
        (["diff", "a", "b", "-n", "0"], "'0' is neither 'all' nor a number from 1 on."),
    ],
)
def test_wrong_command_lines_are_usage_errors(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_component_of_neither_side_is_a_usage_error_and_nothing_is_written(pair: tuple[Path, Path]) -> None:
    result = run("diff", *pair, "--component", "unet")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[0] == "fxprof: neither net nor net has a component 'unet'"


# --- limits


def grown() -> str:
    """The row that fails, in the words of the message."""
    old, new, more = (net(calls=calls).macs for calls in (2, 3, 1))
    return f"transformer {format_macs(old)} -> {format_macs(new)} MACs, +{format_macs(more)} (+50.0%)"


DIFFERS = "the workload differs in steps"
SAME_WORKLOAD = "  try: compare runs of one workload: give the options of the old profile"


def test_within_the_limits_nothing_is_said(pair: tuple[Path, Path]) -> None:
    result = run("diff", *pair, "--fail-over", "+5%", "--fail-over", "+1T")
    assert (result.exit_code, result.stderr) == (0, "")


def test_what_grew_too_much_is_named_after_the_report(pair: tuple[Path, Path]) -> None:
    result = run("diff", *pair, "--fail-over", "+5%", "--component", "transformer", "--component", "vae")
    assert result.exit_code == 1
    plain = run("diff", *pair, "--component", "transformer", "--component", "vae").stdout
    limits = [line for line in result.stdout.splitlines() if line not in plain.splitlines()]
    assert limits == [
        "fail: transformer +225.0 k MACs (+50.0%), limit +5%; the workload differs: steps",
        "    2 → 3",
        "pass: vae 0 MACs (0%), limit +5%; the workload differs: steps 2 → 3",
    ]
    assert result.stderr.splitlines() == [f"fxprof: grew by more than allowed: {grown()}, limit +5%; {DIFFERS}", SAME_WORKLOAD]


def test_every_row_and_limit_that_fails_is_named(pair: tuple[Path, Path]) -> None:
    chosen = ("--component", "transformer", "--component", "vae")
    result = run("diff", *reversed(pair), "--fail-over", "+1%", *chosen)
    assert (result.exit_code, result.stderr) == (0, "")  # it shrank
    result = run("diff", *pair, "--fail-over", "+1%", "--fail-over", "+1K", "--fail-over", "+1T", *chosen)
    assert result.exit_code == 1
    told = f"fxprof: grew by more than allowed: {grown()}, limit +1%; {grown()}, limit +1K; {DIFFERS}"
    assert result.stderr.splitlines() == [told, SAME_WORKLOAD]


def test_a_job_that_fails_has_its_report(pair: tuple[Path, Path], tmp_path: Path) -> None:
    result = run("diff", *pair, "--fail-over", "+1K", "-o", tmp_path / "diff.json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert json.loads((tmp_path / "diff.json").read_text())["delta"] == net(calls=1).macs


# --- what is not known


def test_unknown_work_that_may_decide_is_told_and_fails_strictly(unsure: tuple[Path, Path]) -> None:
    result = run("diff", *unsure, "--fail-over", "+5%")
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith("fxprof: uncounted or bounded work may decide whether it grew by more than allowed: total ≥468.1 G")
    result = run("diff", *unsure, "--fail-over", "+5%", "--strict")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[0] == line


def test_strict_fails_for_what_is_uncounted_on_either_side(unsure: tuple[Path, Path], pair: tuple[Path, Path]) -> None:
    assert run("diff", *pair, "--strict").exit_code == 0
    result = run("diff", pair[0], unsure[1], "--strict")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"fxprof: {249 + 2 * 8} executions of operators without a formula: ")
    result = run("diff", unsure[0], pair[1], "--strict")
    assert result.stderr.startswith("fxprof: 249 executions of operators without a formula: mylib.classify.default")
    assert run("diff", *unsure, "--strict", "--component", "unet").exit_code == 1


# --- from Python


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    import fxprof.api

    targets: list[str] = []

    def stand_in(target: str) -> Profile:
        targets.append(target)
        return normal()

    monkeypatch.setattr(fxprof.api, "profile", stand_in)
    return targets


def test_profiles_and_targets_are_compared_from_python(asked: list[str]) -> None:
    import fxprof

    other = replace(normal(), target="other")
    found = fxprof.diff(other, "sd3-medium")
    assert asked == ["sd3-medium"]
    assert found == diff(other, normal())
    assert isinstance(found, fxprof.Diff)
