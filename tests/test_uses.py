"""Who uses which value: unread weights, results that nobody needs, and the work behind them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_values import Gated, X, traced
from torch import nn

from fxprof.capture.translate import translate
from fxprof.cost.count import count
from fxprof.trace import Trace
from fxprof.trace.uses import readers, unneeded, weights_read


def macs(trace: Trace, read: tuple[int, ...] | None = None) -> int:
    """MACs of what is not needed."""
    return sum((op.macs or 0) * op.times for op in count(Trace(unneeded(trace, read), symbols=trace.symbols)))


def test_readers_and_weights() -> None:
    trace = traced(Gated(), X, torch.ones(3)).expanded()
    linear, add, *_ = trace.ops
    assert [op.target for op in readers(trace)[add.makes[0]]] == ["aten.linear.default", "aten.chunk.default"]
    assert readers(trace)[linear.makes[0]] == (add,)
    assert weights_read(trace) == {"first.weight", "second.weight", "table", "lifted_tensor_0"}


class Heads(nn.Module):
    """Two results, a shared trunk of 2 x 8 x 8 MACs, and 2 x 8 x 3 and 2 x 8 x 5 for each."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 3), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        hidden = self.trunk(x)
        return self.one(hidden), self.two(hidden)


def test_what_is_behind_results_that_are_not_read() -> None:
    trace = traced(Heads(), X)
    assert macs(trace) == 0
    assert macs(trace, (0,)) == 2 * 8 * 5
    assert macs(trace, (1,)) == 2 * 8 * 3
    assert macs(trace, ()) == 2 * 8 * (8 + 3 + 5)


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.other, self.third = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.register_buffer("state", torch.zeros(2, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        held = torch.zeros(2, 8)
        held[:, :4] = self.layer(x)[:, :4]  # written through a view, and read by its old name
        lost = torch.zeros(2, 8)
        lost.add_(self.other(x))  # written, and never read
        self.get_buffer("state").copy_(self.third(x))  # kept
        return held


def test_what_writes_to_memory_that_is_read_is_needed() -> None:
    with torch.no_grad():
        program = torch.export.export(InPlace(), (X,), strict=False)
    assert macs(translate(program)) == 2 * 8 * 8
    (other,) = [op for op in unneeded(translate(program)) if op.target == "aten.linear.default"]
    assert other.stack[-1].path == "other"


class InRegions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads = Heads()

    def forward(self, x: torch.Tensor) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            one, two = self.heads(x)
        return one.float(), two.float()


def test_bodies_are_looked_into() -> None:
    program = torch.export.export(InRegions(), (X,), strict=False)
    trace = translate(program)
    assert any(op.subgraphs for op in trace.ops)
    assert macs(trace, (0,)) == 2 * 8 * 5
    assert macs(trace, ()) == 2 * 8 * (8 + 3 + 5)


class Layered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Heads() for _ in range(4))

    def forward(self, x: torch.Tensor) -> Any:
        return [layer(x)[number % 2] for number, layer in enumerate(self.layers)]


@pytest.mark.parametrize("whole", [True, False])
def test_repeated_blocks_are_told_apart(whole: bool) -> None:
    trace = traced(Layered(), X, whole=whole)
    assert macs(trace) == 2 * (2 * 8 * 5) + 2 * (2 * 8 * 3)
    assert macs(trace, (0, 1)) == 2 * 8 * (5 + 3) + 2 * (2 * 8 * (8 + 3 + 5))
