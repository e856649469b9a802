"""Diffs of real modules, captured: a refactoring at equal cost, and a layer that got another name."""

from __future__ import annotations

import torch
from torch import nn

import fxprof
from fxprof.compare.diff import Diff
from fxprof.compare.groups import group_changes


class Fused(nn.Module):
    """Self-attention with the operator that torch has for it."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.qkv(x).chunk(3, -1)
        return self.attend(query, key, value)

    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(query, key, value)


class Spelled(Fused):
    """The same as two products and a softmax."""

    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return torch.matmul(torch.softmax(torch.matmul(query, key.transpose(-1, -2)), -1), value)


class Net(nn.Module):
    """Three blocks and a head."""

    def __init__(self, attention: type[Fused], head: str = "head") -> None:
        super().__init__()
        self.blocks = nn.ModuleList([attention() for _ in range(3)])
        self.head = head
        self.add_module(f"{head}_out", nn.Linear(8, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        out: torch.Tensor = self.get_submodule(f"{self.head}_out")(x)
        return out


def compared(old: nn.Module, new: nn.Module) -> Diff:
    example = torch.zeros(2, 6, 8)
    return fxprof.diff(fxprof.profile_module(old, (example,)), fxprof.profile_module(new, (example,)))


def test_operators_know_their_shapes() -> None:
    profile = fxprof.profile_module(Net(Fused), (torch.zeros(2, 6, 8),))
    shapes = {
        row.op: row.shapes for row in profile.components["model"].calls[0].ops if row.path in {"blocks.0", "blocks.0.qkv"}
    }
    assert shapes["aten.linear.default"] == "2x6x8, 24x8, 24 -> 2x6x24"
    assert shapes["aten.scaled_dot_product_attention.default"] == "2x6x8, 2x6x8, 2x6x8 -> 2x6x8"
    assert shapes["aten.chunk.default"] == "2x6x24 -> 2x6x8, 2x6x8, 2x6x8"


def test_attention_spelled_out_is_seen_though_it_costs_the_same() -> None:
    found = compared(Net(Fused), Net(Spelled))
    assert found.delta.macs == 0
    (part,) = found.components
    (group,) = [group for group in group_changes(part.loud) if "ops" in group.first.aspects]
    assert (group.new_path, group.first.aspects[:2]) == ("blocks.0…2", ("class", "ops"))
    assert group.lost == (("aten.scaled_dot_product_attention.default", 1),)
    assert {("aten.matmul.default", 2), ("aten.softmax.int", 1)} <= set(group.gained)


def test_a_renamed_layer_is_recognised() -> None:
    (part,) = compared(Net(Fused), Net(Fused, "final")).components
    (row,) = part.modules
    assert row.old
    assert row.new
    assert (row.change, row.old.path, row.new.path) == ("moved", "head_out", "final_out")
    assert row.evidence
    assert (row.evidence.class_name, row.evidence.params, row.evidence.ops) == ("Linear", 45, 1)
    assert row.evidence.before == ("blocks", "blocks")
