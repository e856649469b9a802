"""The same graphs after `run_decompositions()`: other operators, other formulas, equal totals."""

from __future__ import annotations

from typing import Any

import pytest
import tiny

import fxprof
from fxprof.capture.export import ExportedCall, export_call
from fxprof.capture.translate import translate
from fxprof.cost.count import count
from fxprof.source import names
from fxprof.trace import Trace


def total(trace: Trace) -> tuple[int, int]:
    """MACs, and operators without a formula."""
    counted = count(trace)
    return sum((op.macs or 0) * op.times for op in counted), sum(op.macs is None for op in counted)


def totals_of(target: Any, monkeypatch: pytest.MonkeyPatch, **workload: Any) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """(before, after) for each call that profiling the target captures."""
    found: list[tuple[tuple[int, int], tuple[int, int]]] = []

    def export_and_compare(*args: Any, **kwargs: Any) -> ExportedCall:
        made = export_call(*args, **{**kwargs, "whole": True})
        assert made.program is not None
        found.append((total(made.trace), total(translate(made.program.run_decompositions()))))
        return made

    monkeypatch.setattr("fxprof.capture.known_calls.export_call", export_and_compare)
    fxprof.profile(target, **workload)
    return found


QUICK = ("stable_diffusion",)
"""It has convolutions, linear layers and attention."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in tiny.PIPELINES]
)
def test_every_call_of_a_tiny_pipeline_costs_the_same_decomposed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = tiny.UNBINNED.get(name)
    found = totals_of(tiny.make(name), monkeypatch, height=32, width=32, steps=2, arguments=arguments)
    assert len(found) >= 3
    for before, after in found:
        assert before == after
        assert before[1] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_every_call_at_full_size_costs_the_same_decomposed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = totals_of(name, monkeypatch, height=512, width=512, steps=2)
    for before, after in found:
        assert before == after
        assert before[1] == 0
