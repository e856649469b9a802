"""The script that asks other counters: what it makes of their answers, and both counters that are always there."""

import subprocess
import sys
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
RESULTS = [
    Result(peers.TRUE, "a", 1000.0, "", 1, 100),
    Result("half", "a", 500.0, "", 2, 200),
    Result("close", "a", 1001.0, "", 2, 200),
    Result("broken", "a", None, "no answer", 3, 300),
]


def test_fxprof_says_what_the_plain_counter_says() -> None:
    found = [peers.run(sys.executable, tool, "vae", VAE) for tool in (peers.TRUE, "fxprof")]
    assert [item.reason for item in found] == ["", ""]
    assert found[0].macs == found[1].macs
    assert found[0].macs


def test_a_counter_that_fails_gives_its_reason_and_no_number() -> None:
    bad = {**VAE, "values": {**VAE["values"], "norm_num_groups": 7}}
    found = peers.run(sys.executable, peers.TRUE, "vae", bad)
    assert found.macs is None
    assert "must be divisible by num_groups (7)" in found.reason


def test_a_counter_that_is_not_there_is_said_to_be() -> None:
    found = peers.run(sys.executable, "torchinfo", "vae", VAE)
    assert found.macs is None
    assert "torchinfo" in found.reason


def test_tables_tell_numbers_from_failures() -> None:
    rows = [line.split("|") for line in peers.table(RESULTS).splitlines()[2:]]
    assert [row[4].strip() for row in rows] == ["exact", "-50%", "+0.10%", ""]
    assert "no answer" in rows[3][3]
    assert [line.split("|")[2].strip() for line in peers.short_table(RESULTS).splitlines()[2:]] == [
        *("exact", "-50%", "+0.10%", "fails")
    ]


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


def test_help_names_the_options() -> None:
    script = Path(peers.__file__).with_name("benchmark.py")
    done = subprocess.run([sys.executable, str(script), "--help"], capture_output=True, text=True, check=True)
    assert "--peers" in done.stdout
