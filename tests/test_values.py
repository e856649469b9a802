"""Values of a graph: which operator reads which one, what those are that no operator makes, and what a graph gives back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import tiny
import torch
from torch import nn

from fxprof.api import notable_with
from fxprof.capture.export import export_call
from fxprof.capture.module import capture_module
from fxprof.capture.pipeline import capture_pipeline
from fxprof.cost.registry import BUILT_IN
from fxprof.source.workload import Workload
from fxprof.trace import Op, Origin, Trace

X = torch.zeros(2, 8)


def traced(module: nn.Module, *args: Any, whole: bool = False) -> Trace:
    with torch.no_grad():
        return export_call(module, args, {}, prefix="", aliases={}, whole=whole).trace


class Gated(nn.Module):
    """One weight that nothing reads, one result that nothing reads, one constant, and an input that is given back."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.idle = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False), nn.Linear(8, 8)
        self.table: torch.Tensor
        self.register_buffer("table", torch.ones(8))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.first(x) + self.table
        self.second(hidden)
        return hidden.chunk(2, -1)[1] * torch.tensor([2.0]), mask


def test_every_operator_says_what_it_reads_and_makes() -> None:
    trace = traced(Gated(), X, torch.ones(3)).expanded()
    made = {number: op for op in trace.ops for number in op.makes}
    origins = dict(trace.origins)
    linear, add, dead, chunk, *_, product = trace.ops
    assert [origins.get(number) for number in linear.reads] == [Origin("input", "args_0"), Origin("parameter", "first.weight")]
    assert [made.get(add.reads[0]), origins.get(add.reads[1])] == [linear, Origin("buffer", "table")]
    assert dead.reads[0] == chunk.reads[0] == add.makes[0]
    assert origins[dead.reads[1]] == Origin("parameter", "second.weight")
    assert len(chunk.makes) == 2
    assert product.reads[0] == chunk.makes[1]
    assert trace.gives[0] == product.makes[0]
    assert origins[trace.gives[1]] == Origin("input", "args_1")
    used = {number for op in trace.ops for number in op.reads} | set(trace.gives)
    assert {number for number in made if number not in used} == {dead.makes[0], chunk.makes[0]}
    assert not any(origin.name.startswith("idle") for origin in origins.values())
    assert [origin.kind for origin in origins.values()].count("constant") == 1


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: torch.Tensor, shift: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.up(x + shift)
        return x + self.down(hidden), hidden


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(4))

    def forward(self, x: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        kept = []
        for layer in self.layers:
            x, hidden = layer(x, shift)
            kept.append(hidden)
        return x + kept[1].sum() + kept[3].sum()  # type: ignore[no-any-return]


def test_a_block_takes_and_gives_what_each_of_its_modules_does() -> None:
    shared, whole = traced(Layers(), X, X), traced(Layers(), X, X, whole=True)
    assert len(shared.parts) < len(whole.parts)
    assert shared == whole
    names = {origin.name for _, origin in shared.origins if origin.kind == "parameter"}
    assert names == {name for name, _ in Layers().named_parameters()}


def test_a_trace_whose_values_go_elsewhere_is_another_one() -> None:
    class Other(Layers):
        def forward(self, x: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
            kept = []
            for layer in self.layers:
                x, hidden = layer(x, shift)
                kept.append(hidden)
            return x + kept[0].sum() + kept[3].sum()  # type: ignore[no-any-return]

    assert traced(Layers(), X, X) != traced(Other(), X, X)


def test_a_body_names_the_values_around_it() -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cond(x.sum() > 0, self.layer, lambda y: y * 2, (x,))  # type: ignore[no-any-return]

    trace = traced(Branch(), X).expanded()
    (cond,) = (op for op in trace.ops if op.subgraphs)
    origins = dict(trace.origins)
    body = cond.subgraphs[0]
    taken = {outer for _, outer in body.takes}
    assert taken <= set(cond.reads)
    assert {origins[outer].name for outer in taken} == {"args_0", "layer.weight", "layer.bias"}
    (linear,) = body.parts
    assert isinstance(linear, Op)
    assert set(linear.reads) == {inner for inner, _ in body.takes}
    assert body.gives == linear.makes


def ordered(ops: tuple[Op, ...], known: set[int]) -> Iterator[int]:
    """Values that are read before anything makes them."""
    known = set(known)
    for op in ops:
        yield from (number for number in op.reads if number not in known)
        for body in op.subgraphs:
            yield from ordered(body.ops, {inner for inner, _ in body.takes})
        known.update(op.makes)


@pytest.mark.parametrize("name", ["flux", pytest.param("stable_diffusion", marks=pytest.mark.slow)])
def test_what_is_read_was_made_before_or_is_known_where_it_comes_from(name: str) -> None:
    captured = capture_pipeline(
        tiny.make(name), Workload(height=64, width=64, steps=1, prompt="a cat"), notable=notable_with(BUILT_IN)
    )
    calls = [call for component in captured.components for call in component.calls if call.program is not None]
    assert len(calls) > 2
    for call in calls:
        trace = call.trace
        assert list(ordered(trace.ops, {number for number, _ in trace.origins})) == []
        makes = [number for op in trace.ops for number in op.makes]
        assert len(makes) == len(set(makes))
        assert trace.gives


class Reads(nn.Module):
    """Runs for real: its Python reads a value."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.ones(2, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        product = x @ x.T + self.gate @ self.gate
        if bool(product.sum() > 1):
            product = product * 2
        return (product @ product).relu_() @ product


def test_operators_that_are_seen_one_by_one_name_their_values_too() -> None:
    (part,) = capture_module(Reads(), (X,), {}, notable=lambda name: "mm" in name or "relu" in name).components
    (call,) = part.calls
    first, gate, square, positive, last = call.trace.ops
    origins = dict(call.trace.origins)
    assert first.reads[0] != first.reads[1]  # a matrix, and the same one transposed
    assert [origins[number] for number in gate.reads] == [Origin("parameter", "gate")] * 2
    assert square.reads[0] == square.reads[1] == last.reads[1]
    assert origins[square.reads[0]] == Origin("input", "")  # a sum, which is not recorded
    assert positive.reads == square.makes
    assert positive.makes != square.makes  # it wrote to its operand
    assert last.reads[0] == positive.makes[0]
    assert call.trace.gives == tuple(number for op in call.trace.ops for number in op.makes)
