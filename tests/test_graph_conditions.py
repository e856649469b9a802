"""Sizes computed in floating point, and sizes that an exported program itself refuses: what torch does is what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import archives
import pytest
import torch
from exported import save
from oracle import macs_of
from torch import nn
from torch.export import Dim, ExportedProgram

import fxprof
from fxprof.errors import TargetError, UsageError
from fxprof.trace.guards import GuardError, Inputs, input_paths, read_guard
from fxprof.trace.records import Tensor
from fxprof.trace.symbols import Expr, compute

AUTO = Dim.AUTO
check: Any = torch._check  # which has no annotations


def export(module: nn.Module, *args: Any, dynamic: Any, **options: Any) -> ExportedProgram:
    return torch.export.export(module.eval(), args, dynamic_shapes=dynamic, **{"strict": False, **options})


def ran(program: ExportedProgram, *args: torch.Tensor) -> int:
    """MACs of the program when it really runs."""
    return macs_of(lambda: program.module()(*args))


# --- sizes in doubles


class Resized(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor, self.conv = factor, nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x: torch.Tensor) -> Any:
        return self.conv(nn.functional.interpolate(x, scale_factor=self.factor))


@pytest.mark.parametrize("factor", [0.7, 0.1, 1.1, 2.3])
def test_a_size_by_a_factor_is_that_of_the_program(factor: float, tmp_path: Path) -> None:
    program = export(Resized(factor), torch.zeros(1, 3, 30, 40), dynamic={"x": {2: AUTO, 3: AUTO}})
    path = save(program, tmp_path / "resized.pt2")
    for height in (30, 70, 110, 120):
        expected = ran(program, torch.zeros(1, 3, height, 40))
        assert fxprof.profile(path, dims={"x.2": height}).macs == expected
        assert fxprof.profile_program(program, dims={"x.2": height}).macs == expected
    assert fxprof.profile(path).macs == ran(program, torch.zeros(1, 3, 30, 40))


class Stretched(nn.Module):
    """Multiplies by two factors one after the other, which sympy makes one of; each product is rounded."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> Any:
        rows = int(x.shape[0] * 0.1 * 3 + 20)
        check(rows >= 2)
        return self.linear(x.new_ones(rows, 1) * x[:1])


def test_what_the_program_rounds_twice_is_rounded_twice() -> None:
    program = export(Stretched(), torch.zeros(17, 8), dynamic=({0: AUTO},))
    for rows in (17, 10, 30, 70):
        try:
            expected = ran(program, torch.zeros(rows, 8))
        except (AssertionError, RuntimeError):
            with pytest.raises(UsageError, match="refuses to run"):
                fxprof.profile_program(program, dims={"x.0": rows})
            continue
        assert fxprof.profile_program(program, dims={"x.0": rows}).macs == expected


class Bits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> Any:
        return self.linear(x.new_ones((x.shape[0] | 5) + (x.shape[0] & 6), 8))


def test_sizes_of_bits_have_values(tmp_path: Path) -> None:
    path = save(export(Bits(), torch.zeros(12, 8), dynamic=({0: AUTO},)), tmp_path / "bits.pt2")
    for rows in (12, 9, 100):
        profile = fxprof.profile(path, dims={"x.0": rows})
        assert (profile.macs, profile.total.uncounted) == (((rows | 5) + (rows & 6)) * 8 * 4, 0)


def dynamic(expression: str = "s1", hint: int = 2) -> Any:
    """The model of `archives` with a batch of its own, and a size that follows from it."""
    whole = archives.model()
    tensors = whole["graph_module"]["graph"]["tensor_values"]
    tensors["x"]["sizes"][0] = archives.symbolic("s1")
    tensors["conv2d"]["sizes"][0] = archives.symbolic(expression, hint)
    return whole


def test_a_hint_that_is_not_the_value_is_refused(tmp_path: Path) -> None:
    path = archives.write(tmp_path / "x.pt2", dynamic("TruncToInt(Mul(Float('0.5', precision=53), ToFloat(s1)))", 2))
    with pytest.raises(
        TargetError, match=r"says that trunc\(\(0\.5\*to_float\(s1\)\)\) is 2 in the example inputs, but it is 1"
    ):
        fxprof.profile(path)


def test_two_hints_of_one_symbol_are_refused(tmp_path: Path) -> None:
    path = archives.write(tmp_path / "x.pt2", dynamic("s1", 3))
    with pytest.raises(TargetError, match="says that s1 is 3 in the example inputs, but elsewhere it is 2"):
        fxprof.profile(path)


# --- what the program refuses


class Branched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(8, 8), nn.Linear(8, 64)

    def forward(self, x: torch.Tensor) -> Any:
        return self.one(x) if x.shape[0] % 4 == 0 else self.other(x)


class Checked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> Any:
        check(x.shape[0] % 4 == 0)
        return self.one(x)


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("make", [Branched, Checked])
def test_a_size_that_the_program_refuses_is_refused_with_the_reason(make: Any, tmp_path: Path, *, later: bool) -> None:
    options = {"prefer_deferred_runtime_asserts_over_guards": later}
    program = export(make(), torch.zeros(12, 8), dynamic=({0: AUTO},), **options)
    path = save(program, tmp_path / "guarded.pt2")
    with pytest.raises((AssertionError, RuntimeError)):
        program.module()(torch.zeros(9, 8))
    reason = r"its assertion \(s\d+ % 4\) == 0" if later else r"its guard x\.size\(\)\[0\] % 4 == 0"
    with pytest.raises(UsageError, match=rf"x\.0=9 is impossible: guarded\.pt2 refuses to run, because {reason} does not hold"):
        fxprof.profile(path, dims={"x.0": 9})
    with pytest.raises(UsageError, match=rf"x\.0=9 is impossible: the program refuses to run, because {reason} does not hold"):
        fxprof.profile_program(program, dims={"x.0": 9})
    assert fxprof.profile(path, dims={"x.0": 16}).macs == 16 * 8 * 8
    assert fxprof.profile(path).macs == 12 * 8 * 8


class Nested(nn.Module):
    def forward(self, x: torch.Tensor, parts: dict[str, Any]) -> Any:
        long = parts["k"][0]
        return (long * 2 if (long.shape[0] + x.shape[0]) % 4 == 0 else long) @ x.new_ones(8, 2)


@pytest.mark.parametrize("strict", [False, True])
def test_guards_name_inputs_in_containers(tmp_path: Path, *, strict: bool) -> None:
    args = torch.zeros(6, 8), {"k": [torch.zeros(10, 8)]}
    program = export(Nested(), *args, dynamic=({0: AUTO}, {"k": [{0: AUTO}]}), strict=strict)
    path = save(program, tmp_path / "nested.pt2")
    assert fxprof.profile(path, dims={"x.0": 9, "parts_k_0.0": 11}).macs == 11 * 8 * 2
    with pytest.raises(UsageError, match=r"refuses to run, because its guard .*parts.*size\(\)\[0\].* % 4 == 0 does not hold"):
        fxprof.profile(path, dims={"x.0": 9})
    with pytest.raises(UsageError, match="refuses to run"):
        fxprof.profile_program(program, dims={"x.0": 9})


class Counted(nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        rows: Any = x.sum().to(torch.int64).item()
        check(rows >= 3)
        check(rows <= x.shape[0])
        return x.new_ones(rows, 8) @ x.new_ones(8, 2)


def test_sizes_from_contents_are_held_to_assertions(tmp_path: Path) -> None:
    path = save(export(Counted(), torch.ones(20, 8), dynamic=({0: AUTO},)), tmp_path / "counted.pt2")
    assert fxprof.profile(path, dims={"u0": 20}).macs == 20 * 8 * 2
    with pytest.raises(UsageError, match=r"u0=21 is impossible: counted\.pt2 refuses to run, because its assertion u0 <= s\d+"):
        fxprof.profile(path, dims={"u0": 21})


def test_a_guard_of_another_form_is_told_and_never_run(tmp_path: Path) -> None:
    victim, whole = tmp_path / "owned", dynamic()
    whole["guards_code"] = [f"open({str(victim)!r}, 'w')", "L['x'].stride()[0] == 192"]
    path = archives.write(tmp_path / "x.pt2", whole)
    told = fxprof.profile(path)
    assert (len(told.remarks), told.approximations) == (2, ())
    assert "a guard that could not be checked, L['x'].stride()[0] == 192; if it fails, torch refuses to run" in told.remarks[1]
    assert len(fxprof.profile(path, dims={"s1": 2}).approximations) == 2
    assert not victim.exists()


def test_a_file_whose_example_violates_its_guard_contradicts_itself(tmp_path: Path) -> None:
    whole = dynamic()
    whole["guards_code"] = ["L['x'].size()[0] >= 3"]
    path = archives.write(tmp_path / "x.pt2", whole)
    with pytest.raises(TargetError, match=r"x\.pt2 contradicts itself: its guard x\.size\(\)\[0\] >= 3 does not hold"):
        fxprof.profile(path)


S0, S1, K = (Expr("symbol", (name,)) for name in ("s0", "s1", "k"))
INPUTS = Inputs(
    [Tensor((S0, 8), "float32"), Tensor((S1,), "float32"), K, 3.5],
    ["x", "d_k", "k", "f"],
    [("x",), ("d", "k"), ("k",), ("f",)],
)


@pytest.mark.parametrize(
    ("code", "words", "value"),
    [
        ("(L['x'].size()[0] % 4) == 0", "x.size()[0] % 4 == 0", 1),
        ("(L['x'].size()[0] ^ 3) != 15", "x.size()[0] ^ 3 != 15", 0),
        ("not (L['k'] == 3 or L['x'].size()[1] > 7)", "not (k == 3 or x.size()[1] > 7)", 0),
        ("-L['k'] ** 2 < 5", "-k ** 2 < 5", 1),
        ("2 <= L['k'] <= 9", "2 <= k <= 9", 1),
        ("(1 if L['k'] > 2 else 0) == 1", "(1 if k > 2 else 0) == 1", 1),
        ("L['x'].size()[0] - (L['k'] - 1) == 10", "x.size()[0] - (k - 1) == 10", 1),
        (
            "math.trunc(0.7*torch.sym_float(L['d']['k'].size()[0])) == 7",
            "math.trunc(0.7 * torch.sym_float(d['k'].size()[0])) == 7",
            1,
        ),
        ("L['flat_args'][3] == 3.5", "f == 3.5", 1),
        ("max(1, L['k'], 2) == L['k']", "max(1, k, 2) == k", 1),
    ],
)
def test_guard_code_is_read_by_the_rules_of_python(code: str, words: str, value: int) -> None:
    holds, found = read_guard(code, INPUTS)
    assert (compute(holds, {"s0": 12, "s1": 10, "k": 3}), found) == (value, words)


@pytest.mark.parametrize(
    "code", ["open('x')", "L['x']", "L['y'].size()[0] == 1", "(((", "1 +", "x == 1", "a b", "(" * 500, "L['x'].size()[9] == 1"]
)
def test_other_code_is_no_guard(code: str) -> None:
    with pytest.raises(GuardError):
        read_guard(code, INPUTS)


def test_paths_of_inputs_follow_the_containers() -> None:
    leaf: dict[str, Any] = {"type": None, "context": None, "children_spec": []}
    listed = {"type": "builtins.list", "context": "null", "children_spec": [leaf, leaf]}
    held = {"type": "builtins.dict", "context": '["k", "b"]', "children_spec": [listed, leaf]}
    args = {"type": "builtins.tuple", "context": "null", "children_spec": [leaf, held]}
    named = {"type": "builtins.dict", "context": '["z"]', "children_spec": [leaf]}
    spec = json.dumps([1, {"type": "builtins.tuple", "context": "null", "children_spec": [args, named]}])
    assert input_paths(spec, ["x", "d"]) == [("x",), ("d", "k", "0"), ("d", "k", "1"), ("d", "b"), ("z",)]
    assert input_paths("[", ["x"]) == input_paths(spec, None) == []


def test_an_integer_is_told_as_a_version(tmp_path: Path) -> None:
    whole = archives.model()
    whole["schema_version"] = 5
    path = archives.write(tmp_path / "x.pt2", whole)
    with pytest.raises(
        TargetError, match=r"it is of schema 5\.0, written by torch 2\.13\.0\+cpu, which torch itself no longer reads"
    ):
        fxprof.profile(path)
