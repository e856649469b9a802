"""Packages of several programs, and whose an operator is where torch does not say."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import run
from exported import assert_reads_as_live, save
from torch import nn
from torch._higher_order_ops.map import map as over_rows
from torch._higher_order_ops.scan import scan
from torch.export import Dim, ExportedProgram
from torch.export.pt2_archive._package import load_pt2, package_pt2

import fxprof
from fxprof.errors import UsageError

LINEAR = torch.export.export(nn.Linear(8, 4), (torch.zeros(3, 8),))
MACS = 3 * 8 * 4


def package(path: Path, **programs: ExportedProgram) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package_pt2(str(path), exported_programs=programs)
    return path


@pytest.mark.parametrize(
    "name", ["text/encoder", "a.b", "\N{GREEK SMALL LETTER BETA} x", "a\\b", "..", "x/../y", "models/b", "a.json", ".json"]
)
@pytest.mark.parametrize("file", ["p.pt2", "models.pt2"])
def test_every_program_is_reported_whatever_its_name(name: str, file: str, tmp_path: Path) -> None:
    path = package(tmp_path / file, **{name: LINEAR, "unet": LINEAR})
    assert set(load_pt2(str(path)).exported_programs) == {name, "unet"}
    found = fxprof.profile(path).components
    assert {key: component.macs for key, component in found.items()} == {name: MACS, "unet": MACS}
    assert {component.params for component in found.values()} == {36}
    assert list(fxprof.profile(package(tmp_path / file, **{name: LINEAR})).components) == [name]


def test_names_that_cannot_be_printed_are_shown_and_stay_apart(tmp_path: Path) -> None:
    path = package(tmp_path / "p.pt2", **{"a\nb": LINEAR, "a\\nb": LINEAR, "": LINEAR})
    assert sorted(fxprof.profile(path).components) == ["(no name)", "a\\nb", "a\\nb (2)"]


def test_a_compiled_model_beside_it_is_mentioned(tmp_path: Path) -> None:
    path = package(tmp_path / "p.pt2", unet=LINEAR)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("p/data/aotinductor/decoder/kernel.so", b"\x7fELF")
    profile = fxprof.profile(path)
    assert profile.macs == MACS
    assert profile.remarks == (
        "the file also holds programs compiled by AOTInductor (decoder); they have no graph and are not counted",
    )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    first = torch.export.export(nn.Linear(8, 4), (torch.zeros(3, 8),), dynamic_shapes=({0: Dim.AUTO},))
    second = torch.export.export(nn.Conv1d(8, 4, 3), (torch.zeros(2, 8, 9),), dynamic_shapes=({0: Dim.AUTO, 2: Dim.AUTO},))
    return package(tmp_path_factory.mktemp("pair") / "pkg.pt2", prefill=first, decode=second)


def macs_by_name(path: Path, **dims: int) -> dict[str, int]:
    found = fxprof.profile(
        path, dims={name.replace("__", ":").replace("_0", ".0").replace("_2", ".2"): size for name, size in dims.items()}
    )
    return {name: component.macs for name, component in found.components.items()}


def test_a_size_of_one_program_goes_by_its_name(pair: Path) -> None:
    assert macs_by_name(pair) == {"prefill": 3 * 8 * 4, "decode": 2 * 4 * 7 * 8 * 3}
    assert macs_by_name(pair, prefill__input_0=5) == {"prefill": 5 * 8 * 4, "decode": 2 * 4 * 7 * 8 * 3}
    assert macs_by_name(pair, decode__input_0=1 + 1, decode__input_2=50) == {"prefill": 3 * 8 * 4, "decode": 2 * 4 * 48 * 8 * 3}
    assert macs_by_name(pair, input_0=5) == {"prefill": 5 * 8 * 4, "decode": 5 * 4 * 7 * 8 * 3}
    workload = fxprof.profile(pair, dims={"prefill:input.0": 5}).workload
    assert sorted((name.partition(":")[0], size) for name, size in workload.items()) == [
        ("decode", 2),
        ("decode", 9),
        ("prefill", 5),
    ]


def test_hints_name_the_program(pair: Path) -> None:
    with pytest.raises(
        UsageError, match=r"has no dynamic size nope .it has prefill:s\d+ \(input\.0\): any size, 3 in the example; decode:s"
    ):
        fxprof.profile(pair, dims={"nope": 1})
    with pytest.raises(UsageError, match=r"no dynamic size prefill:input\.2"):
        fxprof.profile(pair, dims={"prefill:input.2": 1})
    assert "decode,Conv1d,100,1,9216" in run("profile", pair, "--format", "csv", "--dim", "decode:input.2=50").stdout


# --- whose an operator is


class Chosen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.small, self.big = nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 32), nn.Linear(32, 8))

    def forward(self, x: torch.Tensor) -> Any:
        return torch.cond(x.sum() > 0, self.big, self.small, (x,))


class Product(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, x: torch.Tensor, w: torch.Tensor) -> Any:
        return x @ w

    @staticmethod
    def backward(_ctx: Any, grad: torch.Tensor) -> Any:
        return grad, None


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w, self.layer = nn.Parameter(torch.zeros(8, 8)), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> Any:
        def step(carry: torch.Tensor, row: torch.Tensor) -> Any:
            new = self.layer(carry + row)
            return new, new.clone()

        apply: Any = Product.apply
        return scan(step, x[0], apply(x, self.w))[1]


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Inner(), Inner()])

    def forward(self, x: torch.Tensor) -> Any:
        for block in self.blocks:
            x = block(x)
        layer: Any = self.blocks[0].layer
        return over_rows(layer, x)


def macs_by_path(program: ExportedProgram, tmp_path: Path) -> dict[str, int]:
    """Module to the MACs of its own operators, where it has any; the same live and from the file."""
    profile = fxprof.profile(save(program, tmp_path / "program.pt2"))
    assert profile.components == fxprof.profile_program(program).components
    return {node.path: node.self_macs for node in profile.components["model"].tree.walk() if node.self_macs}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("strict", [False, True])
def test_operators_in_bodies_belong_to_the_modules_that_they_are_of(tmp_path: Path, *, strict: bool) -> None:
    chosen = torch.export.export(Chosen(), (torch.zeros(3, 8),), strict=strict)
    assert macs_by_path(chosen, tmp_path) == {"big.0": 3 * 8 * 32, "big.1": 3 * 32 * 8}
    outer = torch.export.export(Outer(), (torch.zeros(3, 8),), strict=strict)
    product = each = 3 * 8 * 8
    layers = {"blocks.0.layer": 2 * each, "blocks.1.layer": each}
    assert macs_by_path(outer, tmp_path) == {"blocks.0": product, "blocks.1": product, **layers}
    (component,) = fxprof.profile(tmp_path / "program.pt2").components.values()
    assert not [node.path for node in component.tree.walk() if "_export_root" in node.path]
    assert_reads_as_live(outer, tmp_path)


class Simple(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> Any:
        return self.b(self.a(x).relu())


@pytest.mark.parametrize("strict", [False, True])
def test_a_graph_that_was_edited_and_exported_again_has_one_root(tmp_path: Path, *, strict: bool) -> None:
    once = torch.export.export(Simple(), (torch.zeros(2, 8),))
    program = once
    for _ in range(2):
        module = program.module()
        (relu,) = [node for node in module.graph.nodes if "relu" in str(node.target)]
        with module.graph.inserting_before(relu):
            module.graph.call_function(torch.ops.aten.abs_.default, (relu.args[0],))
        module.recompile()
        program = torch.export.export(module, (torch.zeros(2, 8),), strict=strict)
    (component,) = fxprof.profile(save(program, tmp_path / "twice.pt2")).components.values()
    tree = [(node.path, node.class_name, node.calls) for node in component.tree.walk()]
    assert tree == [("", "Simple", 1), ("a", "Linear", 1), ("b", "Linear", 1)]
    assert component.class_name == "Simple"
    found = fxprof.diff(fxprof.profile(save(once, tmp_path / "once.pt2")), fxprof.profile(tmp_path / "twice.pt2"))
    assert [row.aspects for part in found.components for row in part.modules] == [("free ops",)]
    assert_reads_as_live(program, tmp_path)


class Listed(nn.Module):
    """Knows its layers under names that are not theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.m = [self.a, self.b]
        self.d = nn.ModuleDict({"m[0]": nn.Linear(8, 8), "x y": nn.Linear(8, 8)})

    def forward(self, x: torch.Tensor) -> Any:
        return self.a(self.d["x y"](self.d["m[0]"](self.m[1](self.m[0](x)))))


@pytest.mark.parametrize("strict", [False, True])
def test_keys_of_modules_make_one_row(tmp_path: Path, *, strict: bool) -> None:
    program = torch.export.export(Listed(), (torch.zeros(2, 8),), strict=strict)
    each = 2 * 8 * 8
    assert macs_by_path(program, tmp_path) == {"a": 2 * each, "b.0": each, "d.m[0]": each, "d.x y": each}
    (component,) = fxprof.profile(tmp_path / "program.pt2").components.values()
    paths = [(node.path, node.calls) for node in component.tree.walk()]
    assert paths == [("", 1), ("a", 2), ("b", 1), ("b.0", 1), *([("b.1", 1)]), ("d", 0), ("d.m[0]", 1), ("d.x y", 1)]
