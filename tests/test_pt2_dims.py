"""Exported graphs with dynamic shapes: at the sizes of the example, at others, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import run
from torch import nn
from torch.export import Dim

import fxprof
from fxprof.cost.registry import Formulas
from fxprof.errors import UsageError


class Pairs(nn.Module):
    """A batch whose second input is twice as long as the first."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        return self.linear(torch.cat([x, y], dim=0))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dims") / "pairs.pt2"
    batch = Dim("batch", min=2, max=64)
    shapes = {"x": {0: batch}, "y": {0: 2 * batch}}
    program = torch.export.export(Pairs().eval(), (torch.zeros(3, 8), torch.zeros(6, 8)), dynamic_shapes=shapes, strict=False)
    torch.export.save(program, path, extra_files={"dim_names.json": json.dumps({"batch": "x.0"})})
    return path


def symbol_of(path: Path) -> str:
    (symbol,) = fxprof.profile(path).workload
    return symbol


def test_the_example_inputs_give_the_sizes(pairs: Path) -> None:
    profile = fxprof.profile(pairs)
    assert profile.macs == (3 + 6) * 8 * 4
    assert list(profile.workload.values()) == [3]


def test_a_size_goes_by_symbol_by_place_and_by_its_name(pairs: Path) -> None:
    symbol = symbol_of(pairs)
    for name, size in ((symbol, 10), ("x.0", 10), ("y.0", 20), ("batch", 10)):
        profile = fxprof.profile(pairs, dims={name: size})
        assert profile.macs == 30 * 8 * 4, name
        assert dict(profile.workload) == {symbol: 10}


def test_inputs_show_the_sizes_asked_for(pairs: Path) -> None:
    (call,) = fxprof.profile(pairs, dims={"batch": 5}).components["model"].calls
    assert [(item.name, item.shape) for item in call.inputs] == [("x", (5, 8)), ("y", (10, 8))]


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ({"batch": 65}, r"batch=65 is out of the range of pairs\.pt2"),
        ({"batch": 1}, r"batch=1 is impossible: pairs\.pt2 refuses to run"),
        ({"y.0": 7}, r"y\.0=7 is impossible: pairs\.pt2 has 2\*s\d+ there"),
        ({"rows": 3}, r"pairs\.pt2 has no dynamic size rows .it has s\d+ .batch, x\.0, y\.0.: up to 64, 3 in the example"),
        ({"x.1": 3}, r"has no dynamic size x\.1"),
        ({"x.0": 4, "y.0": 10}, r"y\.0=10 contradicts another --dim: s\d+ is 4"),
    ],
)
def test_what_is_no_size_is_refused_with_the_sizes_there_are(pairs: Path, dims: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fxprof.profile(pairs, dims=dims)


def test_the_command_line_lists_the_symbols(pairs: Path) -> None:
    assert "576 MACs" in run("profile", pairs, "--dim", "batch=6").stdout
    result = run("profile", pairs, "--dim", "batch=200")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[1].startswith("  try: it has s")


@pytest.mark.parametrize("text", ["batch", "batch=", "=3", "batch=-1", "batch=1.5", "batch=9999999999"])
def test_a_malformed_size_is_wrong_usage(pairs: Path, text: str) -> None:
    result = run("profile", pairs, "--dim", text)
    assert (result.exit_code, "is not NAME=N" in result.stderr) == (2, True)


def test_sizes_are_of_graphs_alone(pairs: Path, tmp_path: Path) -> None:
    fxprof.profile(pairs).save(tmp_path / "saved.json")
    with pytest.raises(UsageError, match=r"--dim needs an exported graph, but .* is a saved profile"):
        fxprof.profile(tmp_path / "saved.json", dims={"batch": 3})
    with pytest.raises(UsageError, match=r"--dim needs an exported graph, but sd-1\.5 is a pipeline"):
        fxprof.profile("sd-1.5", dims={"batch": 3})


def test_a_saved_profile_is_not_counted_again(saved: Path) -> None:
    path = next(saved.glob("*.json"))
    with pytest.raises(UsageError, match=r"--formulas needs a pipeline, but .* is a saved profile"):
        fxprof.profile(str(path), formulas=Formulas())


def test_a_workload_is_of_pipelines_alone(pairs: Path) -> None:
    result = run("profile", pairs, "--height", "512")
    assert result.exit_code == 2
    assert f"--height needs a pipeline, but {pairs} is an exported graph" in result.stderr


class Chosen(nn.Module):
    """Its second layer sees as many rows as there are positive ones."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> Any:
        return self.second(self.first(x)[x[:, 0].nonzero().squeeze(1)])


def test_a_size_that_depends_on_contents_is_uncounted_until_it_is_given(tmp_path: Path) -> None:
    program = torch.export.export(Chosen().eval(), (torch.ones(5, 8),), strict=False)
    torch.export.save(program, tmp_path / "chosen.pt2")
    live, read = fxprof.profile_program(program), fxprof.profile(tmp_path / "chosen.pt2")
    assert (read.macs, read.total.uncounted) == (live.macs, live.total.uncounted) == (5 * 8 * 8, 1)
    (note,) = {row.note for call in read.components["model"].calls for row in call.ops if row.macs is None}
    symbol = note.split()[4].rstrip(",")
    given = fxprof.profile(tmp_path / "chosen.pt2", dims={symbol: 3})
    assert (given.macs, given.total.uncounted) == (5 * 8 * 8 + 3 * 8 * 2, 0)


class Halves(nn.Module):
    """Sizes that are no plain symbols: halves, sums, remainders."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        both = torch.cat([x[:, ::2], y], dim=1)
        return both @ both.transpose(0, 1), x.shape[0] // 2, x.shape[0] % 3


def test_expressions_evaluate_at_any_size(tmp_path: Path) -> None:
    shapes = {"x": {0: Dim.AUTO, 1: Dim.AUTO}, "y": {0: Dim.AUTO, 1: Dim.AUTO}}
    program = torch.export.export(Halves(), (torch.zeros(4, 6), torch.zeros(4, 5)), dynamic_shapes=shapes, strict=False)
    torch.export.save(program, tmp_path / "halves.pt2")
    for rows, wide, more in ((4, 6, 5), (7, 9, 2), (12, 31, 8)):
        dims = {"x.0": rows, "x.1": wide, "y.1": more}
        expected = rows * rows * ((wide + 1) // 2 + more)
        assert fxprof.profile(tmp_path / "halves.pt2", dims=dims).macs == expected
        assert fxprof.profile_program(program, dims=dims).macs == expected


class Rows(nn.Module):
    """One dynamic size."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> Any:
        return self.linear(x)


@pytest.mark.parametrize(
    "dynamic", [Dim.DYNAMIC, Dim.AUTO, Dim("b"), Dim("b", min=1, max=16)], ids=["dynamic", "auto", "named", "one to sixteen"]
)
def test_a_batch_of_one_is_what_torch_runs_whatever_the_example(dynamic: Any, tmp_path: Path) -> None:
    program = torch.export.export(Rows().eval(), (torch.zeros(4, 8),), dynamic_shapes=({0: dynamic},), strict=False)
    program.module()(torch.zeros(1, 8))
    torch.export.save(program, tmp_path / "rows.pt2")
    assert fxprof.profile(tmp_path / "rows.pt2", dims={"x.0": 1}).macs == 64
