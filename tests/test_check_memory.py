"""The scripts that compare the memory of a run with published peaks, and with those of a device."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import check_memory
import measure_memory
import pytest
import torch
from torch import nn

from fxprof.cost.workspace import CUBLAS, rounded, workspace_bytes
from fxprof.result.memory import Memory, Moment
from fxprof.trace import Op, Sizes, Tensor

FACTS = tomllib.loads(check_memory.ROWS.read_text(encoding="utf-8"))
MIB = 2**20


def moment(component: str, total: int, **more: Any) -> Moment:
    return Moment(component, more.pop("entry", ""), 1, 0, total, 0, 0, more.pop("workspace", 0), None, None, **more)


def shown() -> str:
    page = check_memory.PAGE.read_text(encoding="utf-8")
    return page.partition(check_memory.BEGIN)[2].partition(check_memory.END)[0]


def test_every_published_row_is_compared_or_left_out_with_a_reason() -> None:
    compared = [fact["id"] for fact in FACTS["row"]]
    others = [row.partition(":")[0] for group in FACTS["left_out"] for row in group["rows"]]
    assert len(set(compared + others)) == len(compared) + len(others)
    assert all(fact["source"] and fact["printed"] for fact in FACTS["row"])
    assert all(group["reason"] for group in FACTS["left_out"])


def compared() -> list[list[str]]:
    """The cells of the rows of the page that have a prediction."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in shown().splitlines() if re.match(r"\| m\d", line)]


def test_the_page_has_the_rows_of_the_file() -> None:
    found = [(cells[0], cells[1], cells[9]) for cells in compared()]
    assert found == [(fact["id"], fact["grade"], fact["printed"]) for fact in FACTS["row"]]
    for group in FACTS["left_out"]:
        assert group["reason"] in shown()
        assert ", ".join(row.partition(":")[0] for row in group["rows"]) in shown()


def test_the_page_has_the_statistics_of_its_rows() -> None:
    facts = {fact["id"]: fact for fact in FACTS["row"]}
    rows = []
    for cells in compared():
        tensors, whole = (float(cell) * check_memory.GIB for cell in cells[7:9])
        rows.append(check_memory.Row(facts[cells[0]], tensors, whole, cells[6]))
        assert rows[-1].verdict == cells[12]
    assert check_memory.summary(rows).partition("\n")[0] in shown()
    assert all(row.is_explained for row in rows if row.fact["grade"] == "A")


def row(gib: float, tensors: float, whole: float, **fact: Any) -> check_memory.Row:
    found = {"grade": "A", "gib": gib, "printed": str(gib), "images": 1, "width": 8, "height": 8, "dtype": "float16", **fact}
    return check_memory.Row({"id": "x", "target": "t", **found}, tensors * check_memory.GIB, whole * check_memory.GIB, "vae")


def test_verdicts_are_words() -> None:
    rows = [row(10, 9, 10.05), row(10, 9, 10.4, why="old"), row(10, 9, 8), row(10, 9, 8, contradicts="no")]
    assert [item.verdict for item in rows] == ["close", "near: old", "off", "a stated fact is wrong: no"]
    assert [item.is_explained for item in rows] == [True, True, False, True]
    text = check_memory.summary(rows)
    assert text.startswith("Grade A: 3 peaks, 1 within 1%, 1 off by more than 5%.\n")
    assert "The median error is 4.00% and the worst 20.0%;" in text
    (first, *_) = check_memory.table(rows)
    assert first == ("x", "A", "t", "8x8 x 1", "float16", "", "vae", "9.000", "10.050", "10", "-10.0%", "+0.5%", "close")
    assert check_memory.summary([], "B") == "Grade B: no rows."


def test_the_largest_moment_with_the_estimate_is_expected() -> None:
    moments = [moment("unet", 90, rounding=1), moment("vae", 80, workspace=20)]
    assert check_memory.expected(moments, 10, "not stated") == (80, 90 + CUBLAS[0], "vae")
    assert check_memory.expected(moments[:1], 0, "hopper") == (90, 91 + CUBLAS[1], "unet")


def test_rows_become_workloads() -> None:
    fact = {"height": 8, "width": 16, "images": 1, "dtype": "float16", "without": ["safety_checker"]}
    expected = {"steps": 2, "height": 8, "width": 16, "dtype": "float16", "enable": (), "without": ("safety_checker",)}
    assert check_memory.workload_of(fact) == expected


def test_without_a_device_one_line_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert measure_memory.main(["sd-1.5"]) == 2
    assert capsys.readouterr() == ("", "no CUDA device: nothing was measured\n")


def test_arguments_of_the_measuring_script() -> None:
    given = measure_memory.arguments(["sd-1.5", "--images", "4", "-o", "found.json"])
    assert (given.models, given.images, given.height, given.dtype) == (["sd-1.5"], 4, None, "bfloat16")
    assert str(given.output) == "found.json"
    assert measure_memory.arguments([]).models == measure_memory.MODELS


class Counter:
    """An allocator whose peak is larger at each call."""

    def __init__(self) -> None:
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def peak(self) -> int:
        return 100 * self.resets


def test_calls_are_measured_one_by_one() -> None:
    model, counter = nn.Sequential(nn.Linear(2, 2), nn.Identity()), Counter()

    def run() -> None:
        model(torch.zeros(1, 2))
        model[0](torch.zeros(1, 2))

    peaks = measure_memory.measure({"unet": model}, [("unet", ""), ("unet", "0")], run, counter)
    assert peaks == {("unet", "0"): 300, ("unet", ""): 200}
    run()
    assert counter.resets == 3
    memory = Memory("none", "fused", {}, (moment("unet", 190, workspace=5), moment("unet", 240, entry="0")))
    found = list(measure_memory.compared(memory, peaks, 5))
    assert [(item.entry, item.peak, item.tensors, item.workspace) for item in found] == [("0", 300, 240, 5), ("", 200, 190, 10)]
    assert measure_memory.kept("m", {"steps": 2}, found)["calls"][1]["tensors"] == 190
    assert "| unet        " in measure_memory.table(found)
    assert "+0.0%" in measure_memory.table(found)


def convolution(shape: tuple[int, ...], out: int, kernel: int, dtype: str) -> Op:
    given, weight = Tensor(shape, dtype), Tensor((out, shape[1], kernel, kernel), dtype)
    result = Tensor((shape[0], out, *shape[2:]), dtype)
    return Op("aten.conv2d.default", (("input", given), ("weight", weight)), (result,), reads=(0, 1), makes=(2,))


@pytest.mark.parametrize(
    ("shape", "out", "kernel", "dtype", "expected"),
    [
        ((1, 4, 8, 8), 8, 3, "float16", (256 + 512) * 2),
        ((1, 4, 8, 8), 8, 3, "bfloat16", (256 + 512) * 2),
        ((1, 4, 8, 8), 8, 3, "float32", 256 * 4),
        ((1, 4, 8, 8), 8, 1, "float16", 0),
        ((1, 4, 8, 8), 8, 3, "float64", 0),
        ((1, 4, 8, 8), 8, 3, "int32", 0),
        ((8, 256, 1024, 1024), 256, 3, "float16", 4 * 2**28 * 2 * 2),  # in two parts
    ],
)
def test_convolutions_copy_what_the_rule_says(shape: tuple[int, ...], out: int, kernel: int, dtype: str, expected: int) -> None:
    assert workspace_bytes(convolution(shape, out, kernel, dtype), Sizes({})) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, 0),
        (1, 512),
        (5 * MIB, 5 * MIB),
        (11 * MIB, 12 * MIB),
        (11 * MIB - 512, 11 * MIB - 512),  # more than 1 MiB would be left
        (25 * MIB, 26 * MIB),
        (24 * MIB, 24 * MIB),
    ],
)
def test_the_allocator_rounds_sizes_up(size: int, expected: int) -> None:
    assert rounded(size) == expected
