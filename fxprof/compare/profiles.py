"""Comparing two profiles: what belongs together, and the rows of what differs. Pure; the standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from fxprof.compare.delta import Delta
from fxprof.compare.diff import CallChange, CallSide, ComponentDiff, Diff, Plain, Setting, Subject, in_order
from fxprof.compare.matching import Matching, Module
from fxprof.compare.rows import Rows, evidence_of, whole
from fxprof.compare.traits import CallPair, align_calls, facts_of, has_shapes, has_types, types_of
from fxprof.errors import UsageError
from fxprof.result.profile import Call, Component, Geometry, Profile, Total
from fxprof.trace.collector import uncollected


@uncollected()
def compare(old: Profile, new: Profile) -> Diff:
    """What changed from one profile to another."""
    known, typed = (has_shapes(old), has_shapes(new)), (has_types(old), has_types(new))
    pairs, common = _components(old, new), old.components.keys() & new.components.keys()
    return Diff(
        Subject.of(old, has_shapes=known[0], has_types=typed[0]),
        Subject.of(new, has_shapes=known[1], has_types=typed[1]),
        tuple(_settings(old.versions, new.versions)),
        tuple(_settings(old.workload, new.workload)),
        tuple(_settings(*(_sizes(side.geometry, common) for side in (old, new)))),
        tuple(_component(before, after, shapes=all(known), types=all(typed)) for before, after in pairs),
    )


def find_part(found: Diff, name: str) -> ComponentDiff:
    """The component of this name on either side.

    Raises:
        UsageError: neither side has it.
    """
    for part in found.components:
        if name in {side.name for side in (part.old, part.new) if side}:
            return part
    known = ", ".join(part.name for part in found.components) or "none"
    raise UsageError(f"neither {found.old.target} nor {found.new.target} has a component {name!r}", f"one of {known}")


def select(found: Diff, names: Iterable[str]) -> Diff:
    """The diff of these components alone.

    Raises:
        UsageError: neither side has one of these names.
    """
    wanted = {id(find_part(found, name)) for name in names}
    parts = tuple(part for part in found.components if id(part) in wanted)
    whole = Delta.sum(part.delta for part in parts)
    old, new = replace(found.old, total=whole.old), replace(found.new, total=whole.new)
    return replace(found, old=old, new=new, components=parts)


def _settings(old: Mapping[str, Plain], new: Mapping[str, Plain]) -> Iterator[Setting]:
    for name in _merged(old, new):
        if old.get(name) != new.get(name):
            yield Setting(name, old.get(name), new.get(name))


def _merged(old: Iterable[str], new: Iterable[str]) -> list[str]:
    """The names of both in an order that does not depend on which is which."""
    places = [{name: place for place, name in enumerate(side)} for side in (old, new)]

    def key(name: str) -> tuple[int, int, str]:
        found = sorted(places[side][name] for side in (0, 1) if name in places[side])
        return found[0], found[-1], name

    return sorted({**places[0], **places[1]}, key=key)


def _sizes(geometry: Geometry, common: AbstractSet[str]) -> dict[str, Plain]:
    """The geometry as texts, of the common components; what could not be found is not there."""
    found: dict[str, Plain] = {
        "pixels": _times(geometry.pixels_asked),
        "pixels computed": _times(geometry.pixels_computed),
        "latents": _times(geometry.latents),
    }
    found |= {
        f"{name} tokens": " and ".join(map(str, lengths)) or None for name, lengths in geometry.text_tokens if name in common
    }
    found |= {f"{name} longest attention": _times(pair) for name, pair in geometry.attention if name in common}
    found |= {"denoiser": geometry.denoiser or None, "denoiser calls": geometry.denoiser_calls or None}
    found |= {"denoiser batch": geometry.denoiser_batch or None, "guidance": geometry.guidance or None}
    on = {"tiling": geometry.tiling or None, "slicing": geometry.slicing or None}
    return {name: value for name, value in {**found, **on}.items() if value is not None}


def _times(sizes: tuple[int, ...] | None) -> str | None:
    return None if sizes is None else " x ".join(map(str, sizes)) or "scalar"


_Pair = tuple[Component | None, Component | None]


def _components(old: Profile, new: Profile) -> list[_Pair]:
    """Components of the same name and, of the others, those of the same class most of whose modules are the same."""
    names = [name for name in _merged(old.components, new.components) if name in old.components and name in new.components]
    pairs: dict[str, _Pair] = {name: (old.components[name], new.components[name]) for name in names}
    removed = [component for name, component in old.components.items() if name not in pairs]
    added = [component for name, component in new.components.items() if name not in pairs]
    alike = [(before, after) for before in removed for after in added if _alike(before, after)]
    for before, after in alike:
        if sum(before is pair[0] or after is pair[1] for pair in alike) == 1:
            pairs[before.name] = pairs[after.name] = before, after
    pairs |= {component.name: (component, None) for component in removed if component.name not in pairs}
    pairs |= {component.name: (None, component) for component in added if component.name not in pairs}
    ordered = (pairs[name] for name in _merged(old.components, new.components))
    return list({id(pair): pair for pair in ordered}.values())


def _alike(old: Component, new: Component) -> bool:
    """Whether two components are of one class, and at least half of the modules of each are in the other."""
    if old.class_name != new.class_name:
        return False
    sides = [{(module.path, module.class_name, module.params) for module in side.modules} for side in (old, new)]
    return 2 * len(sides[0] & sides[1]) >= max(map(len, sides))


def _component(old: Component | None, new: Component | None, *, shapes: bool, types: bool) -> ComponentDiff:
    if old is None or new is None:
        return ComponentDiff(old, new, None, _calls(_all_calls(old, new)), (whole(old, new),))
    pairs = align_calls(old.calls, new.calls)
    slots = [pair for pair in pairs if pair.matched]
    before, after = (
        Module(side.tree, None, 0, facts_of(side, calls, shapes=shapes), types_of(calls) if types else None)
        for side, calls in ((old, [pair.old for pair in slots]), (new, [pair.new for pair in slots]))
    )
    matching = Matching(before, after)
    rows = Rows(matching, before, after, (old.class_name, new.class_name))
    found = ComponentDiff(old, new, None, _calls(pairs), in_order(rows.changes()), rows.equal, rows.equal_modules)
    assert Delta.sum([found.equal, *(row.delta for row in found.modules)]) == found.delta, "rows add up to the component"
    if old.name == new.name:
        return found
    return replace(found, evidence=evidence_of(matching, before, after, old.class_name))


def _all_calls(old: Component | None, new: Component | None) -> tuple[CallPair, ...]:
    return align_calls(old.calls if old else (), new.calls if new else ())


def _calls(pairs: Iterable[CallPair]) -> tuple[CallChange, ...]:
    return in_order(CallChange(_call_side(pair.old), _call_side(pair.new)) for pair in pairs)


def _call_side(calls: tuple[Call, ...]) -> CallSide | None:
    if not calls:
        return None
    total = Total.sum(call.total * call.count for call in calls)
    each = calls[0].total if len({call.total for call in calls}) == 1 else None
    return CallSide(calls[0].entry, sum(call.count for call in calls), each, total)
