"""The script that asks other counters: what it makes of their answers, and both counters that are always there."""

import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import peers
import pytest
from peers import Result

VAE: dict[str, Any] = {
    "name": "vae",
    "library": "diffusers",
    "class": "AutoencoderKL",
    "values": {
        "block_out_channels": [32],
        "down_block_types": ["DownEncoderBlock2D"],
        "up_block_types": ["UpDecoderBlock2D"],
        "norm_num_groups": 8,
    },
    "call": {"entry": "decoder", "inputs": [{"name": "sample", "shape": [1, 4, 8, 8], "dtype": "float32", "value": ""}]},
}


def _result(tool: str, macs: float | None, device: str = "meta", **reasons: str) -> Result:
    return Result(tool, "a", macs, device, reasons, 2, 200, "package 1")


RESULTS = [
    _result(peers.TRUE, 1000.0),
    _result("half", 500.0, "cpu", meta="no sizes"),
    _result("close", 1001.0),
    _result("broken", None, "", meta="no answer", cpu="no memory"),
]


@pytest.mark.parametrize(
    ("tool", "device"),
    [
        pytest.param("fxprof", "meta", marks=pytest.mark.slow),  # which the next test asks, too
        pytest.param("torch.profiler", "cpu", marks=pytest.mark.slow),
        pytest.param(peers.TRUE, "meta", marks=pytest.mark.slow),
        pytest.param("torch.profiler", "meta", marks=pytest.mark.slow),
        pytest.param("torch.profiler", "fake", marks=pytest.mark.slow),
    ],
)
def test_a_counter_is_asked_on_each_device(tool: str, device: str) -> None:
    macs, reason, seconds, megabytes = peers.run(sys.executable, tool, device, VAE)
    assert not reason
    assert macs
    assert min(seconds, megabytes) > 0


@pytest.mark.slow
def test_fxprof_says_what_the_plain_counter_says() -> None:
    found = [peers.run(sys.executable, tool, "meta", VAE)[0] for tool in (peers.TRUE, "fxprof")]
    assert found[0] == found[1]


def test_the_next_device_is_asked_where_one_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"cpu": (None, "no memory", 9.0, 9.0), "fake": (None, "no value", 9.0, 9.0), "meta": (5.0, "", 1.0, 2.0)}
    monkeypatch.setattr(peers, "run", lambda _python, _tool, device, _spec: answers[device])
    found = peers.ask("", "deepspeed", "vae", VAE)
    assert (found.macs, found.device, found.seconds, found.megabytes) == (5, "meta", 1, 2)
    assert found.reasons == {"cpu": "no memory", "fake": "no value"}
    answers["meta"] = (None, "no mask", 9.0, 9.0)
    assert peers.ask("", "deepspeed", "vae", VAE).macs is None


def test_a_counter_that_fails_gives_its_reason_and_no_number() -> None:
    bad = {**VAE, "values": {**VAE["values"], "norm_num_groups": 7}}
    macs, reason, _, _ = peers.run(sys.executable, peers.TRUE, "meta", bad)
    assert macs is None
    assert "must be divisible by num_groups (7)" in reason


@pytest.mark.slow
def test_a_counter_that_is_not_there_is_said_to_be() -> None:
    macs, reason, _, _ = peers.run(sys.executable, "torchinfo", "meta", VAE)
    assert macs is None
    assert "torchinfo" in reason


def test_tables_tell_numbers_from_failures() -> None:
    rows = [line.split("|") for line in peers.table(RESULTS).splitlines()[2:]]
    assert [(row[4].strip(), row[5].strip()) for row in rows] == [("exact", "meta"), ("-50%", "cpu"), ("+0.10%", "meta")]
    failed = [[cell.strip() for cell in line.split("|")[2:6]] for line in peers.failures(RESULTS).splitlines()[2:]]
    assert failed == [
        ["half", "meta", "no sizes", "cpu"],
        ["broken", "meta", "no answer", "nowhere"],
        ["broken", "cpu", "no memory", "nowhere"],
    ]
    assert [line.split("|")[2].strip() for line in peers.short_table(RESULTS).splitlines()[2:]] == [
        *("exact", "-50%", "+0.10%", "fails")
    ]


def test_some_results_take_the_place_of_earlier_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PAGE", "README"):
        page = tmp_path / name
        marks = ("peers", "peers that fail")
        page.write_text("".join(f"<!-- {mark} -->\n<!-- end of {mark} -->\n" for mark in marks))
        monkeypatch.setattr(peers, name, page)
    monkeypatch.setattr(peers, "RESULTS", tmp_path / "results.json")
    component = next(iter(peers.COMPONENTS))
    first = [replace(_result(tool, macs), component=component) for tool, macs in ((peers.TRUE, 1000.0), ("thop", 800.0))]
    peers.write(first)
    peers.write([replace(first[1], macs=900.0)])
    assert [item.macs for item in peers.kept()] == [1000, 900]
    assert "-10%" in peers.PAGE.read_text()
    assert "-10%" in peers.README.read_text()


@pytest.mark.parametrize(
    ("macs", "told"), [(1000, "exact"), (998, "-0.20%"), (1800, "+80%"), (2, "-99.8%"), (0, "-100%"), (150, "-85%")]
)
def test_a_number_that_is_not_zero_is_not_told_as_nothing(macs: float, told: str) -> None:
    assert peers.error(macs, 1000) == told


def test_a_page_keeps_what_is_outside_of_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- x -->\nold\n<!-- end of x -->\nafter\n")
    peers.replace(page, "x", "new")
    assert page.read_text() == "before\n<!-- x -->\nnew\n<!-- end of x -->\nafter\n"
    with pytest.raises(AssertionError):
        peers.replace(page, "y", "new")


def test_the_reason_is_the_last_line_that_says_something() -> None:
    lines = ["Traceback (most recent call last):", '  File "x.py", line 1', "ValueError: no", "    ^^^", ""]
    assert peers.shorten(lines) == "ValueError: no"
    assert peers.shorten([]) == "it ended without a word"


def test_the_documents_have_a_place_for_the_tables() -> None:
    for page in (peers.PAGE, peers.README):
        assert "<!-- peers -->" in page.read_text(encoding="utf-8")


def test_the_extra_holds_the_counters_and_all_are_pinned() -> None:
    with (peers.HERE.parent / "pyproject.toml").open("rb") as file:
        extra = tomllib.load(file)["project"]["optional-dependencies"]["peers"]
    assert {tool.distribution for tool in peers.TOOLS.values()} - {""} == set(extra)
    assert set(extra) <= peers.pinned().keys()
    assert peers.version_of("thop") == f"thop {peers.pinned()['thop']}"


def test_help_names_the_options() -> None:
    script = Path(peers.__file__).with_name("benchmark.py")
    done = subprocess.run([sys.executable, str(script), "--help"], capture_output=True, text=True, check=True)
    assert "--peers" in done.stdout
