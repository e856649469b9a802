"""The comparison of two profiles: from matching parts to the records of their differences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from fxprof.compare.delta import Delta
from fxprof.compare.diff import CallChange, CallSide, ComponentDiff, Diff, Plain, Setting, Subject, sort_changes
from fxprof.compare.matching import Matching, Module
from fxprof.compare.pairing import CallPair, merge_names, pair_calls, pair_components
from fxprof.compare.rows import Rows, find_evidence, make_component_row
from fxprof.compare.traits import find_traits, find_types, has_shapes, has_types
from fxprof.result.measures import find_measure
from fxprof.result.profile import Component, Profile
from fxprof.result.records import Call, Geometry, Total
from fxprof.trace.collector import uncollected


@uncollected()
def compare_profiles(old: Profile, new: Profile, measure: str = "macs") -> Diff:
    """Compare two profiles in a measure, one of `fxprof.result.measures.MEASURES`.

    Raises:
        UsageError: there is no such measure.
        TargetError: a profile lacks what the measure needs.
    """
    counted = find_measure(measure)
    known, typed = (has_shapes(old), has_shapes(new)), (has_types(old), has_types(new))
    old, new = counted.of(old), counted.of(new)
    pairs, common = pair_components(old, new), old.components.keys() & new.components.keys()
    return Diff(
        Subject.of(old, has_shapes=known[0], has_types=typed[0]),
        Subject.of(new, has_shapes=known[1], has_types=typed[1]),
        tuple(_settings(old.versions, new.versions)),
        tuple(_settings(old.workload, new.workload)),
        tuple(_settings(*(_sizes(side.geometry, common) for side in (old, new)))),
        tuple(_component(before, after, shapes=all(known), types=all(typed)) for before, after in pairs),
        measure,
    )


def _settings(old: Mapping[str, Plain], new: Mapping[str, Plain]) -> Iterator[Setting]:
    for name in merge_names(old, new):
        if old.get(name) != new.get(name):
            yield Setting(name, old.get(name), new.get(name))


def _sizes(geometry: Geometry, common: AbstractSet[str]) -> dict[str, Plain]:
    """The geometry of the common components as texts, without unknown sizes."""
    texts: dict[str, Plain] = {
        "pixels": _times(geometry.pixels_asked),
        "pixels computed": _times(geometry.pixels_computed),
        "latents": _times(geometry.latents),
    }
    texts |= {
        f"{name} tokens": " and ".join(map(str, lengths)) or None for name, lengths in geometry.text_tokens if name in common
    }
    texts |= {f"{name} longest attention": _times(pair) for name, pair in geometry.attention if name in common}
    texts |= {"denoiser": geometry.denoiser or None, "denoiser calls": geometry.denoiser_calls or None}
    texts |= {"denoiser batch": geometry.denoiser_batch or None, "guidance": geometry.guidance or None}
    on = {"tiling": geometry.tiling or None, "slicing": geometry.slicing or None}
    return {name: value for name, value in {**texts, **on}.items() if value is not None}


def _times(sizes: tuple[int, ...] | None) -> str | None:
    return None if sizes is None else " x ".join(map(str, sizes)) or "scalar"


def _component(old: Component | None, new: Component | None, *, shapes: bool, types: bool) -> ComponentDiff:
    if old is None or new is None:
        return ComponentDiff(old, new, None, _calls(_all_calls(old, new)), (make_component_row(old, new),))
    pairs = pair_calls(old.calls, new.calls)
    slots = [pair for pair in pairs if pair.matched]
    before, after = (
        Module(side.tree, None, 0, find_traits(side, calls, shapes=shapes), find_types(calls) if types else None)
        for side, calls in ((old, [pair.old for pair in slots]), (new, [pair.new for pair in slots]))
    )
    matching = Matching(before, after)
    rows = Rows(matching, before, after, (old.class_name, new.class_name))
    diff = ComponentDiff(old, new, None, _calls(pairs), sort_changes(rows.changes()), rows.equal, rows.equal_modules)
    assert Delta.sum([diff.equal, *(row.delta for row in diff.modules)]) == diff.delta, "rows add up to the component"
    if old.name == new.name:
        return diff
    return replace(diff, evidence=find_evidence(matching, before, after, old.class_name))


def _all_calls(old: Component | None, new: Component | None) -> tuple[CallPair, ...]:
    return pair_calls(old.calls if old else (), new.calls if new else ())


def _calls(pairs: Iterable[CallPair]) -> tuple[CallChange, ...]:
    return sort_changes(CallChange(_call_side(pair.old), _call_side(pair.new)) for pair in pairs)


def _call_side(calls: tuple[Call, ...]) -> CallSide | None:
    if not calls:
        return None
    total = Total.sum(call.total.of_macs * call.count for call in calls)
    each = calls[0].total.of_macs if len({call.total.of_macs for call in calls}) == 1 else None
    return CallSide(calls[0].entry, sum(call.count for call in calls), each, total)
