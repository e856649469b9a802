"""Modules of any name, and weights that are shared, read from a file as the live program says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.ao.quantization.fx._decomposed  # registers quantized_decomposed
import torchao_ops  # noqa: F401 - registers torchao
from exported import (
    Wrapped,
    assert_reads_as_live,
    export,
    macs_of,
    rows,
)
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import ExportedProgram

import fxprof

# --- modules and their weights


class Tied(nn.Module):
    """A weight of two modules, a module of two names, and a view of a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 4)
        self.first = nn.Linear(4, 4)
        self.second = self.first
        self.head = nn.Linear(4, 9, bias=False)
        self.head.weight = self.embed.weight
        self.part = nn.Parameter(self.first.weight.detach()[:2])

    def forward(self, ids: torch.Tensor) -> Any:
        hidden = self.second(self.first(self.embed(ids)))
        return self.head(hidden), hidden @ self.part.T


class Buffers(nn.Module):
    """Buffers that are kept, that are not, that change, and constants."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", torch.ones(4, 4))
        self.register_buffer("lost", torch.ones(4, 4), persistent=False)
        self.register_buffer("calls", torch.zeros(()))
        self.constant = torch.ones(4, 4)
        self.frozen = nn.Parameter(torch.ones(4, 4), requires_grad=False)

    def forward(self, x: torch.Tensor) -> Any:
        buffers: Any = self
        buffers.calls.add_(1)
        buffers.lost = buffers.lost + 1
        return x @ buffers.kept @ buffers.lost @ self.constant @ self.frozen @ torch.full((4, 4), 0.5) * self.calls


class Normed(nn.Module):
    """Batch statistics, which training changes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> Any:
        return self.drop(self.norm(self.conv(x)))


def test_shared_weights_count_once(tmp_path: Path) -> None:
    module = Tied()
    found = assert_reads_as_live(export(module, torch.tensor([[1, 2, 3]])), tmp_path)
    assert {part.path: part.params for part in found.modules if part.params} == {
        "": 2 * 4,
        "embed": 9 * 4,
        "first": 4 * 4 + 4,
    }
    assert sum(part.params for part in found.modules) == sum(weight.numel() for weight in module.parameters())
    loaded = torch.export.load(tmp_path / "program.pt2")
    assert assert_reads_as_live(loaded, tmp_path) == found
    assert macs_of(found.trace) == 3 * (2 * 4 * 4 + 4 * 9 + 4 * 2)


def test_buffers_and_constants(tmp_path: Path) -> None:
    found = assert_reads_as_live(export(Buffers(), rows(3, 4)), tmp_path)
    assert macs_of(found.trace) == 5 * 3 * 4 * 4
    assert sum(part.params for part in found.modules) == 4 * 4
    assert_reads_as_live(export(Buffers(), rows(3, 4)).run_decompositions(), tmp_path)


def test_a_graph_for_training(tmp_path: Path) -> None:
    program = torch.export.export(Normed().train(), (rows(2, 3, 4, 4),), strict=False)
    found = assert_reads_as_live(program, tmp_path)
    assert macs_of(found.trace) == 2 * 4 * 16 * 3
    found = assert_reads_as_live(program.run_decompositions(), tmp_path)
    assert macs_of(found.trace) == 2 * 4 * 16 * 3


class Various(nn.Module):
    """Layers with parametrised weights, with modules inside that are never called, and recurrent ones."""

    def __init__(self) -> None:
        super().__init__()
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        self.parts = nn.ModuleDict({"up": nn.Linear(4, 8), "unused": nn.Linear(3, 3)})
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.recurrent = nn.GRU(8, 8, batch_first=True)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.parts["up"](self.normed(x))
        return self.recurrent(self.encoder(self.attention(x, x, x)[0]))[0]


def various(*, training: bool = False, **options: Any) -> ExportedProgram:
    return torch.export.export(Various().train(training), (rows(2, 3, 4),), strict=False, **options)


@pytest.mark.parametrize("training", [False, True], ids=["evaluating", "training"])
def test_modules_of_every_sort(training: bool, tmp_path: Path) -> None:
    program = various(training=training)
    found = assert_reads_as_live(program, tmp_path)
    assert sum(part.params for part in found.modules) == sum(weight.numel() for weight in Various().parameters())
    assert_reads_as_live(program.run_decompositions(), tmp_path)


def test_programs_that_are_exported_anew(tmp_path: Path) -> None:
    """Each time torch puts a prefix before the keys of the stacks that it finds; or there are modules made of graphs."""
    program = various(preserve_module_call_signature=("normed", "attention"))
    first = assert_reads_as_live(program, tmp_path)
    module: Any = program.module()
    for _ in range(2):
        again = torch.export.export(module, (rows(2, 3, 4),), strict=False)
        found = assert_reads_as_live(again, tmp_path)
        assert {op.stack[-1].path for op in found.trace.ops} == {op.stack[-1].path for op in first.trace.ops}
        assert macs_of(found.trace) == macs_of(first.trace)
        module = again.module()
    unflat: Any = torch.export.unflatten(program)
    found = assert_reads_as_live(torch.export.export(unflat, (rows(2, 3, 4),), strict=False), tmp_path)
    assert macs_of(found.trace) == macs_of(first.trace)


@pytest.mark.parametrize("mode", [lambda: torch.device("meta"), FakeTensorMode], ids=["on the meta device", "fake"])
def test_weights_without_data_are_as_many_as_there_are(mode: Any, tmp_path: Path) -> None:
    """torch gives all of them one record, as if they were shared."""
    with mode():
        module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
        program = export(module, torch.randn(3, 4))
    found = assert_reads_as_live(program, tmp_path)
    assert [part.params for part in found.modules] == [0, 20, 20, 20]


NAMES = [
    "plain",
    "Überblick",
    "注意力",
    "with space",
    "comma,inside",
    "semi;colon",
    "a,b;c,d;e",
    "bracket[0]",
    "par(en)s",
    "quote's",
    'double"quote',
    "back\\slash",
    "at@1",
    "sign@sign",
    "1",
    "L__self__",
    "percent%s",
    "équation=x:y",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("strict", [False, True], ids=["", "strict"])
def test_modules_of_any_name(name: str, strict: bool, tmp_path: Path) -> None:
    try:
        program = export(Wrapped([name]), rows(3, 4), strict=strict)
    except Exception as error:  # noqa: BLE001 - whatever it is, the name is refused before there is a graph
        pytest.skip(f"torch itself refuses it: {type(error).__name__}")
    found = assert_reads_as_live(program, tmp_path)
    assert {part.path: part.params for part in found.modules}[f"{name}.0"] == 4 * 4 + 4
    assert macs_of(found.trace) == 2 * 3 * 4 * 4
    if strict:  # where torch itself spells some names as `_modules["name"]`
        return
    assert [part.path for part in found.modules] == ["", name, f"{name}.0"]
    profile = fxprof.profile(tmp_path / "program.pt2")
    assert {row.path: row.macs for row in profile.components["model"].calls[0].ops} == {f"{name}.0": 2 * 3 * 4 * 4}


def test_modules_of_all_names_at_once(tmp_path: Path) -> None:
    found = assert_reads_as_live(export(Wrapped(NAMES), rows(3, 4)), tmp_path)
    assert [part.path for part in found.modules if part.path.endswith(".0")] == [f"{name}.0" for name in NAMES]
    assert macs_of(found.trace) == len(NAMES) * 2 * 3 * 4 * 4


class Branches(nn.Module):
    """Runs its layer in the bodies of a cond, and in a region without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            x = self.layer(x)
        return torch.cond(x.sum() > 0, self._once, self._twice, (x,))  # type: ignore[no-any-return]

    def _once(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)  # type: ignore[no-any-return]

    def _twice(self, x: torch.Tensor) -> torch.Tensor:
        return self._once(self._once(x))


def test_what_torch_puts_into_a_callable_program_is_no_module(tmp_path: Path) -> None:
    program = export(nn.Sequential(Branches()), rows(2, 4))
    again = torch.export.export(program.module(), (rows(2, 4),), strict=False)
    found = assert_reads_as_live(again, tmp_path)
    names = {module.path for module in found.modules}
    assert names == {module.path for module in assert_reads_as_live(program, tmp_path).modules}
    module: Any = program.module()
    profile = fxprof.profile_module(module, (rows(2, 4),))
    assert {row.path for row in profile.components["model"].modules} == names
