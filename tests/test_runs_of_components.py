"""What a component's calls from outside were made of: saved, checked when read, and shown by distinct cost. No torch."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from profiles import normal

from fxprof.errors import ProfileError
from fxprof.reports.summary import build_summary as summary
from fxprof.result.profile import Component, Profile
from fxprof.result.records import Call, OpRow, Run, Total
from fxprof.result.saved.read import loads
from fxprof.result.saved.write import dumps


def call(entry: str, count: int, macs: int) -> Call:
    return Call(entry, count, (), (OpRow(entry, "aten.mm.default", "matmul", "", 1, macs),), {"": 1, entry: 1})


def profile_with(*runs: Run) -> Profile:
    base = normal()
    calls = (call("head", 6, 5), call("block", 3, 100))
    component = Component("denoiser", "Denoiser", base.components["transformer"].modules[:1], calls, runs, 4096)
    return replace(base, components={"denoiser": component})


RUNS = (Run(3, ((0, 1), (1, 1))), Run(3, ((0, 1),)))


def test_calls_add_up_to_what_each_run_costs() -> None:
    component = profile_with(*RUNS).components["denoiser"]
    assert component.costs == {Total(105): 3, Total(5): 3}
    assert Total.sum(cost * count for cost, count in component.costs.items()) == component.total.of_macs


def test_runs_that_cost_alike_are_one_cost() -> None:
    runs = (Run(2, ((1, 1), (0, 1))), Run(1, ((0, 1), (1, 1))), Run(3, ((0, 1),)))
    assert list(profile_with(*runs).components["denoiser"].costs.values()) == [3, 3]


def test_what_was_saved_is_read() -> None:
    profile = profile_with(*RUNS)
    assert loads(dumps(profile)) == profile
    component = json.loads(dumps(profile))["components"][0]
    assert component["runs"] == [
        {"count": 3, "macs": 105, "calls": [[0, 1], [1, 1]]},
        {"count": 3, "macs": 5, "calls": [[0, 1]]},
    ]
    assert component["stored_bytes"] == 4096


DAMAGE: dict[str, tuple[Any, str]] = {
    "another sum": ([{"count": 3, "macs": 6, "calls": [[0, 1]]}], "components[0].runs[0].macs is 6, but its calls add up to 5"),
    "a call that is not there": ([{"count": 3, "macs": 5, "calls": [[7, 1]]}], "not a place among the component's calls"),
    "no pair": ([{"count": 3, "macs": 5, "calls": [[0]]}], "not a place among the component's calls"),
    "a negative number": ([{"count": -3, "macs": 5, "calls": [[0, 1]]}], "is -3, not a count"),
    "more than there were": ([{"count": 7, "macs": 5, "calls": [[0, 1]]}], "make calls[0] 7 times, but it is made 6 times"),
    "no list": ({}, "is an object, not a list"),
    "a stranger": ([{"count": 1, "macs": 5, "calls": [[0, 1]], "who": 1}], "who is not a field of this format"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_does_not_fit_is_named(name: str) -> None:
    runs, message = DAMAGE[name]
    value = json.loads(dumps(profile_with(*RUNS)))
    value["components"][0]["runs"] = runs
    with pytest.raises(ProfileError) as error:
        loads(json.dumps(value))
    assert message in str(error.value)


def test_the_report_shows_calls_by_distinct_cost() -> None:
    (table,) = summary(profile_with(*RUNS)).sections[0].tables
    assert [row.cells[:4] for row in table.rows][1:] == [
        ("  3 of 6 calls", "of equal cost", None, 3),
        ("  3 of 6 calls", "of equal cost", None, 3),
    ]
    assert table.rows[0].cells[3] == 6


def test_an_approximate_sum_is_called_so() -> None:
    profile = replace(profile_with(*RUNS), approximations=("it depends",))
    assert summary(profile).sections[0].lines[0].startswith("per image, approximately: ")
