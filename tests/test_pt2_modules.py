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
