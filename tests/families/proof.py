"""The proof that a profile is what the real run does: each call, with its shapes and MACs, and the sum of everything."""

from __future__ import annotations

import re
from typing import Any

import oracle
import torch

import fxprof
from families.case import Case, Point, points
from fxprof.capture.optional import standing_in
from fxprof.result.profile import Profile

Calls = dict[tuple[str, str, oracle.Shapes], list[int]]


SOLVES = frozenset({"aten._linalg_solve_ex.default", "aten.linalg_cholesky_ex.default"})
"""Operators of schedulers on a few numbers, which have a formula and which `FlopCounterMode` does not count."""


def entries_of(profile: Profile) -> set[tuple[str, str]]:
    return {(name, call.entry) for name, component in profile.components.items() for call in component.calls}


def calls_of(profile: Profile) -> Calls:
    """Profiled calls in the form of the observed ones: MACs once per execution."""
    found: Calls = {}
    for name, component in profile.components.items():
        for call in component.calls:
            shapes = tuple(sorted(item.shape for item in call.inputs if item.shape is not None))
            found.setdefault((name, call.entry, shapes), []).extend([call.macs] * call.count)
    return found


def prove(name: str, case: Case) -> dict[str, int]:
    """The MACs at each point of a case, after they were found to agree with the real run."""
    found = {way: agreed(case, point) for way, point in points(name, case).items()}
    guides = "unguided" in found and case.guidance_costs
    for way in ("", "wide"):
        assert found["wide"] != found[""], "the other size is to be another one"
        out = found.get(f"unguided {way}".strip(), found[way])
        assert (found[way] > out) if guides else (found[way] == out), "guidance is to cost more where it does"
    return found


def agreed(case: Case, point: Point) -> int:
    """Profile the pipeline, then run it; the MACs, which both agree on."""
    pipeline = point.make()
    prompt: dict[str, Any] = {"prompt": "a photo of a cat"} if case.prompt else {}
    steps = {"num_inference_steps": case.steps} if case.steps else {}
    profile = fxprof.profile(pipeline, arguments={**steps, **prompt, **point.arguments})
    entries = {(part, entry) for part, entry in entries_of(profile) if part in pipeline.components}
    pipeline.set_progress_bar_config(disable=True)
    torch.manual_seed(0)
    with standing_in():  # what cleans texts and the like, where it is not installed
        observed = oracle.run(pipeline, entries, **steps, **prompt, **point.arguments, **case.beside)
    calls = [call for part in profile.components.values() for call in part.calls]
    assert {row.op for call in calls for row in call.ops if row.macs is None} == case.uncounted
    solved = sum(call.count * (row.macs or 0) for call in calls for row in call.ops if row.op in SOLVES)
    assert profile.macs - solved == observed.total > 0
    whole = {place: macs for place, macs in calls_of(profile).items() if place[2] and place[0] in pipeline.components}
    assert _settled({place: observed.calls.get(place, []) for place in whole}, case) == _settled(whole, case)
    return profile.macs


def _settled(calls: Calls, case: Case) -> Calls:
    """Calls that shapes decide, in the order of their costs: the pipeline can come back to an earlier one."""
    return {place: sorted(macs) for place, macs in calls.items() if not (case.routed and re.search(case.routed, place[1]))}
