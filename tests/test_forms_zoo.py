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
from fxprof.capture import known_calls
from fxprof.capture.export import ExportedCall
from fxprof.capture.process_state import muted
from fxprof.capture.translate import translate
from fxprof.cost.count import CountedOp, count
from fxprof.cost.forms import Forms
from fxprof.source import names
from fxprof.trace import Expr, Tensor, Trace
from fxprof.trace.symbols import solve

SIZES = ((512, 512), (768, 640), (1024, 896))


class Called(NamedTuple):
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    trace: Trace

    @property
    def tensors(self) -> list[torch.Tensor]:
        return [leaf for leaf in pytree.tree_leaves((self.args, self.kwargs)) if isinstance(leaf, torch.Tensor)]


def calls_of(name: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], Called]:
    """The first call of each module that a model captures at a size."""
    found: dict[tuple[str, str], Called] = {}
    original = vars(known_calls)["export_call"]

    def noted(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], **options: Any) -> ExportedCall:
        call: ExportedCall = original(module, args, kwargs, **options)
        found.setdefault((type(module).__name__, options["prefix"]), Called(module, args, kwargs, call.trace))
        return call

    monkeypatch.setattr(known_calls, "export_call", noted)
    fxprof.profile(name, **{**WORKLOADS.get(name, {"steps": 2}), "height": size[0], "width": size[1]})
    monkeypatch.undo()
    return found


class Flat(nn.Module):
    """A call as a function of its tensors alone."""

    def __init__(self, call: Called) -> None:
        super().__init__()
        self.module = call.module
        self.leaves, self.spec = pytree.tree_flatten((call.args, call.kwargs))

    def forward(self, *tensors: torch.Tensor) -> Any:
        given = iter(tensors)
        leaves = [next(given) if isinstance(leaf, torch.Tensor) else leaf for leaf in self.leaves]
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        return self.module(*args, **kwargs)


def symbolic(one: Called, other: Called) -> Trace:
    """A trace in which those sizes are symbols that differ between two calls."""
    shapes = tuple(
        {axis: torch.export.Dim.AUTO for axis, (a, b) in enumerate(zip(left.shape, right.shape, strict=True)) if a != b}
        for left, right in zip(one.tensors, other.tensors, strict=True)
    )
    with torch.no_grad(), muted("stderr"):
        program = torch.export.export(Flat(one), tuple(one.tensors), strict=False, dynamic_shapes=(shapes,))
    return translate(program, skip=1)


def bound(trace: Trace, call: Called) -> dict[str, int]:
    """The sizes of the symbols in a call."""
    return dict(_bound(trace, call))


def _bound(trace: Trace, call: Called) -> Iterator[tuple[str, int]]:
    for (_, value), tensor in zip(trace.inputs, call.tensors, strict=True):
        assert isinstance(value, Tensor)
        for wanted, size in zip(value.shape, tensor.shape, strict=True):
            solved = solve(wanted, size) if isinstance(wanted, Expr) else None
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
        if len(calls) < len(SIZES) or shapes(calls[0]) == shapes(calls[1]) or macs(count(calls[0].trace)) == 0:
            continue
        forms = Forms(trace := symbolic(calls[0], calls[1]))
        for call in calls:
            assert macs(forms.at(bound(trace, call))) == macs(count(call.trace)), key
        compared += 1
    assert compared > 0


def shapes(call: Called) -> list[torch.Size]:
    return [tensor.shape for tensor in call.tensors]
