"""Fourier transforms have FLOPs of their own and no MACs; operators of torchvision; element types."""

from __future__ import annotations

from collections.abc import Iterator
from math import log2
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import run
from exported import export, save
from torch import nn

import fxprof
from fxprof.cost.explain import explain
from fxprof.errors import TargetError


def flops(note: str) -> int:
    return int(note.partition(" ")[0].replace(",", ""))


class Transformed(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function, self.layer = function, nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> Any:
        return self.layer(x.real if x.is_complex() else x), self.function(x)


@pytest.mark.parametrize(
    ("function", "dtype", "expected"),
    [
        (torch.fft.fft, torch.complex64, 5 * 8 * 16 * 4),
        (torch.fft.fft, torch.float32, 2.5 * 8 * 16 * 4),
        (lambda x: torch.fft.fft(x, dim=-2), torch.complex64, 5 * 8 * 16 * 3),
        (lambda x: torch.fft.fft(x, n=32), torch.complex64, 5 * 8 * 32 * 5),
        (torch.fft.fft2, torch.complex64, 5 * 8 * 16 * 7),
        (lambda x: torch.fft.fftn(x, dim=(0, 1)), torch.complex64, 5 * 8 * 16 * 7),
        (torch.fft.rfft, torch.float32, 2.5 * 8 * 16 * 4),
        (torch.fft.rfft2, torch.float32, 2.5 * 8 * 16 * 7),
        (lambda x: torch.fft.irfft(x, n=16), torch.complex64, 2.5 * 8 * 16 * 4),
        (torch.fft.irfft2, torch.complex64, 2.5 * 8 * 30 * log2(8 * 30)),
        (lambda x: torch.stft(x, 8, return_complex=True), torch.float32, 2.5 * 8 * 9 * 8 * 3),
    ],
)
def test_a_transform_is_counted_by_the_convention(function: Any, dtype: torch.dtype, expected: float, tmp_path: Path) -> None:
    program = export(Transformed(function), torch.zeros(8, 16, dtype=dtype))
    for each in (program, program.run_decompositions()):
        profile = fxprof.profile(save(each, tmp_path / "fourier.pt2"))
        assert (profile.macs, profile.total.uncounted, profile.total.bounded) == (8 * 16 * 4, 0, 0)
        rows = [row for row in profile.components["model"].calls[0].ops if row.kind == "fourier"]
        assert [row.macs for row in rows] == [0]
        assert sum(flops(row.note) * row.count for row in rows) == round(expected)
        (remark,) = profile.remarks
        told = "FLOPs in one run (5 N log2 N), which are no part of the MACs"
        assert remark == f"model: Fourier transforms take {round(expected):,} {told}"
    assert run("profile", tmp_path / "fourier.pt2", "--strict").exit_code == 0


def test_the_convention_is_explained() -> None:
    assert "FLOPs:  prod(*) x 5 N log2 N" in explain("fft_fft")
    assert "kind:  fourier" in explain("aten.stft")


@pytest.fixture(scope="module")
def vision() -> Iterator[Any]:
    """Operators with the schemas of torchvision, which need not be installed."""
    made: Any = torch.library.Library  # which has no annotations
    library = made("torchvision", "FRAGMENT")
    kinds = "SymInt stride_h, SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w"
    tensors = "Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias"
    if not hasattr(torch.ops.torchvision, "nms"):
        library.define(f"deform_conv2d({tensors}, {kinds}, SymInt groups, SymInt offset_groups, bool use_mask) -> Tensor")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.impl("deform_conv2d", lambda x, w, offset, *_: x.new_empty(x.shape[0], w.shape[0], *offset.shape[2:]), "Meta")
        library.impl("nms", lambda dets, _scores, _threshold: dets.new_empty(3, dtype=torch.long), "Meta")
    yield torch.ops.torchvision
    library._destroy()


class Detector(nn.Module):
    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.zeros(6, 4 // groups, 3, 3))

    def forward(self, x: torch.Tensor, offset: torch.Tensor, boxes: torch.Tensor) -> Any:
        none = x.new_zeros(0)
        found = torch.ops.torchvision.deform_conv2d(x, self.weight, offset, none, none, 1, 1, 1, 1, 1, 1, self.groups, 1, False)
        return found, torch.ops.torchvision.nms(boxes, boxes[:, 0], 0.5)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.usefixtures("vision")
def test_operators_of_torchvision(groups: int, tmp_path: Path) -> None:
    args = torch.zeros(2, 4, 10, 12), torch.zeros(2, 2 * 9, 10, 12), torch.zeros(7, 4)
    program = export(Detector(groups), *args)
    profile = fxprof.profile(save(program, tmp_path / "detector.pt2"))
    # Each of the taps is one product, wherever it is sampled: as in a convolution of the same sizes.
    assert profile.macs == 2 * 6 * 10 * 12 * (4 // groups) * 9
    assert profile.total.uncounted == 0
    kinds = {row.op: row.kind for row in profile.components["model"].calls[0].ops}
    assert (kinds["torchvision.deform_conv2d.default"], kinds["torchvision.nms.default"]) == ("convolution", "lookup")


@pytest.mark.usefixtures("vision")
def test_a_deformable_convolution_is_held_to_its_operands() -> None:
    program = export(Detector(1), torch.zeros(2, 4, 10, 12), torch.zeros(2, 18, 10, 12), torch.zeros(7, 4))
    (weight,) = [node for node in program.graph.nodes if node.name == "p_weight"]
    weight.meta["val"] = torch.zeros(6, 5, 3, 3, device="meta")
    program.state_dict["weight"] = nn.Parameter(torch.zeros(6, 5, 3, 3))
    with pytest.raises(TargetError, match="the input has 4 channels, but the weight takes 5"):
        fxprof.profile_program(program)


# --- element types, and spellings


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.a, self.b = nn.Conv2d(3, 8, 3), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> Any:
        return self.b(self.a(self.conv(x).mean((2, 3))).relu())


class Narrow(nn.Module):
    """Multiplies in 8 bits."""

    w: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("w", torch.zeros(8, 8, dtype=torch.int8))

    def forward(self, x: torch.Tensor) -> Any:
        return torch._int_mm(x.to(torch.int8), self.w).float()


class Widened(nn.Module):
    """Holds 8 bits, and widens them to multiply."""

    w: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("w", torch.zeros(8, 8, dtype=torch.int8))

    def forward(self, x: torch.Tensor) -> Any:
        return nn.functional.linear(x, self.w.to(torch.float32) * 0.1)


def net(layer: Any = None) -> Net:
    module = Net()
    if layer is not None:
        module.b = layer()
    return module


X = torch.zeros(20, 3, 9, 9)


def test_a_diff_sees_element_types(tmp_path: Path) -> None:
    wide = save(export(net(), X), tmp_path / "fp32.pt2")
    for layer, types, differs in (
        (Narrow, "float32 -> int8", "class params ops types free_ops"),
        (Widened, "float32 -> float32, int8 as float32", "class params shapes types free_ops"),
    ):
        narrow = save(export(net(layer), X), tmp_path / "int8.pt2")
        rows = run("diff", wide, narrow, "--format", "csv").stdout.splitlines()
        names = rows[0].split(",")
        found = [line for line in rows if line.startswith("model,changed,b")]
        assert len(found) == 1
        assert types in found[0].replace('"', "")
        assert "types" in names
        assert differs.split()[-2] in found[0]
        assert "float32 → " in run("diff", wide, narrow).stdout
    half = save(export(net().bfloat16(), X.bfloat16()), tmp_path / "bf16.pt2")
    text = run("diff", wide, half, "--by", "dtype").stdout
    assert "element types  float32 → bfloat16" in text
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith(("float32 ", "bfloat16 "))}
    macs = 20 * 8 * 7 * 7 * 27 + 2 * 20 * 8 * 8
    assert [lines["float32"][-1], lines["bfloat16"][-1]] == ["gone", "new"]
    assert fxprof.profile(half).macs == macs
    assert "bfloat16" in run("hotspots", half, "--by", "dtype").stdout
    saved = tmp_path / "bf16.json"
    fxprof.profile(half).save(saved)
    assert fxprof.profile(saved) == fxprof.profile(half)


def test_another_spelling_is_no_change_of_a_layer(tmp_path: Path) -> None:
    program = export(net(), X)
    before = fxprof.profile(save(program, tmp_path / "whole.pt2"))
    after = fxprof.profile(save(program.run_decompositions(), tmp_path / "decomposed.pt2"))
    found = fxprof.diff(before, after)
    assert {op.op for row in found.components[0].modules for op in row.new.ops} >= {"aten.addmm.default"}  # type: ignore[union-attr]
    assert [part.change for part in found.components] == ["equal"]
    assert {row.aspects for part in found.components for row in part.modules} == {("free ops",)}
