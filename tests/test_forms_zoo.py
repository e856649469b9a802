"""Bundled models with sizes that are symbols: at three sizes, their modules cost what static traces of these sizes do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from test_zoo_exact import WORKLOADS
from torch import nn
from torch.utils import _pytree as pytree

import fxprof
from fxprof.capture import known_calls, pipeline
from fxprof.capture.export import ExportedCall
from fxprof.capture.process_state import muted
from fxprof.capture.translate import translate
from fxprof.cost.count import CountedOp, count
from fxprof.cost.forms import Forms
from fxprof.source import names
from fxprof.source.stand_ins import StandIn
from fxprof.trace import Expr, Tensor, Trace
from fxprof.trace.symbols import solve

SIZES = ((512, 512), (768, 640), (1024, 896))


class Called(NamedTuple):
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    trace: Trace

    @property
    def leaves(self) -> list[Any]:
        return pytree.tree_leaves((self.args, self.kwargs))

    @property
    def shapes(self) -> list[torch.Size]:
        return [leaf.shape for leaf in self.leaves if isinstance(leaf, torch.Tensor)]


def workload(name: str, size: tuple[int, int]) -> dict[str, Any]:
    """The workload of a model at a size, which may be that of the picture that it changes."""
    given = WORKLOADS.get(name, {"steps": 2})
    pictures = {key: StandIn(value.kind, (size[1], size[0])) for key, value in given.get("arguments", {}).items()}
    return {**given, "arguments": pictures} if pictures else {**given, "height": size[0], "width": size[1]}


def calls_of(name: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], Called]:
    """The first call of each module that a model captures at a size."""
    found: dict[tuple[str, str], Called] = {}
    original = vars(known_calls)["export_call"]

    def noted(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], **options: Any) -> ExportedCall:
        given = pytree.tree_map(lambda leaf: leaf, args), pytree.tree_map(lambda leaf: leaf, kwargs)  # it may change lists
        call: ExportedCall = original(module, args, kwargs, **options)
        found.setdefault((type(module).__name__, options["prefix"]), Called(module, given[0], given[1], call.trace))
        return call

    monkeypatch.setattr(known_calls, "export_call", noted)
    # Only remarks come from the runs that try other values, and of HiDream they take several minutes for each size.
    monkeypatch.setattr(pipeline, "read_remarks", lambda *_, **__: ((), ()))
    fxprof.profile(name, **workload(name, size))
    monkeypatch.undo()
    return found


class Flat(nn.Module):
    """A call as a function of its leaves at some places alone."""

    def __init__(self, call: Called, places: list[int]) -> None:
        super().__init__()
        self.module, self.places = call.module, places
        self.leaves, self.spec = pytree.tree_flatten((call.args, call.kwargs))

    def forward(self, *given: Any) -> Any:
        leaves = {**dict(enumerate(self.leaves)), **dict(zip(self.places, given, strict=True))}
        args, kwargs = pytree.tree_unflatten(list(leaves.values()), self.spec)
        return self.module(*args, **kwargs)


def places_of(one: Called, other: Called) -> list[int]:
    """The places of tensors, and of numbers that differ between two calls, among the leaves."""
    pairs = enumerate(zip(one.leaves, other.leaves, strict=True))
    return [place for place, (a, b) in pairs if isinstance(a, torch.Tensor) or (type(a) is type(b) is int and a != b)]


def symbolic(one: Called, other: Called) -> Trace:
    """A trace in which those sizes and numbers are symbols that differ between two calls."""
    places = places_of(one, other)
    shapes = tuple(varying(one.leaves[place], other.leaves[place]) for place in places)
    with torch.no_grad(), muted("stderr"):
        given = tuple(one.leaves[place] for place in places)
        program = torch.export.export(Flat(one, places), given, strict=False, dynamic_shapes=(shapes,))
    return translate(program, skip=1)


def varying(one: Any, other: Any) -> Any:
    """What torch is told of a leaf: the axes that differ, or that a number does."""
    if not isinstance(one, torch.Tensor):
        return torch.export.Dim.AUTO
    axes = enumerate(zip(one.shape, other.shape, strict=True))
    return {axis: torch.export.Dim.AUTO for axis, (a, b) in axes if a != b}


def bound(trace: Trace, call: Called, places: list[int]) -> dict[str, int]:
    """The sizes of the symbols in a call."""
    return dict(_bound(trace, [call.leaves[place] for place in places]))


def _bound(trace: Trace, leaves: list[Any]) -> Iterator[tuple[str, int]]:
    for (_, value), leaf in zip(trace.inputs, leaves, strict=True):
        wanted, found = (value.shape, leaf.shape) if isinstance(value, Tensor) else ((value,), (leaf,))
        for expression, size in zip(wanted, found, strict=True):
            solved = solve(expression, size) if isinstance(expression, Expr) else None
            if solved is not None:
                yield solved


def macs(ops: tuple[CountedOp, ...]) -> int:
    assert all(op.macs is not None for op in ops)
    return sum((op.macs or 0) * op.times for op in ops)


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_denoisers_and_decoders_cost_the_same_with_symbols(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [calls_of(name, size, monkeypatch) for size in SIZES]
    compared = 0
    for key in runs[0]:
        calls = [run[key] for run in runs if key in run]
        if len(calls) < len(SIZES) or calls[0].shapes == calls[1].shapes or macs(count(calls[0].trace)) == 0:
            continue
        forms, places = Forms(trace := symbolic(calls[0], calls[1])), places_of(calls[0], calls[1])
        for call in calls:
            assert macs(forms.at(bound(trace, call, places))) == macs(count(call.trace)), key
        compared += 1
    assert compared > 0
