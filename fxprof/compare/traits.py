"""What the modules of two components are compared by: what each of them is and does.

The calls that both components have are numbered, so that what a module does in one call is held to what it does in the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fxprof.result.profile import Component, Profile
from fxprof.result.records import Call


class Use(NamedTuple):
    """What executions of operators have in common, whatever line they come from."""

    op: str
    kind: str
    shapes: str
    counted: bool
    bounded: bool


class Traits(NamedTuple):
    """What a module is and does, in one execution of each call that both components have."""

    class_name: str
    params: int
    visits: frozenset[tuple[int, int]]
    """(number of the call, how often the module is called in it)"""
    costly: frozenset[tuple[int, Use, int, int]]
    """(number of the call, operator, executions, MACs) of what costs something or is not known."""
    free: frozenset[tuple[int, Use, int, int]]
    """The same of operators that cost nothing."""


Types = Mapping[str, frozenset[tuple[int, str]]]
"""Module path to (number of the call, element types) of what costs something in it."""

NOTHING = Traits("", 0, frozenset(), frozenset(), frozenset())
"""Of a path that only holds other modules."""


def has_shapes(profile: Profile) -> bool:
    """Whether the profile knows the shapes of its operators; one of format 1 does not."""
    rows = (row for component in profile.components.values() for call in component.calls for row in call.ops)
    costly = [row for row in rows if row.macs != 0]
    return not costly or any(row.shapes for row in costly)


def has_types(profile: Profile) -> bool:
    """Whether the profile knows the element types of its operators; an early one does not."""
    rows = (row for component in profile.components.values() for call in component.calls for row in call.ops)
    costly = [row for row in rows if row.macs != 0]
    return not costly or any(row.types for row in costly)


def find_types(slots: Iterable[tuple[Call, ...]]) -> Types:
    """The element types that each module works on, in the calls that both components have."""
    found: dict[str, set[tuple[int, str]]] = {}
    for number, calls in enumerate(slots):
        for call in calls:
            for row in call.ops:
                if row.types and row.macs != 0:
                    found.setdefault(row.path, set()).add((number, row.types))
    return {path: frozenset(types) for path, types in found.items()}


def find_traits(component: Component, slots: Iterable[tuple[Call, ...]], *, shapes: bool) -> dict[str, Traits]:
    """Module path to what it is and does.

    Args:
        component: one of the two.
        slots: its calls that the other one has too, by number; several in one slot count as often as they happen.
        shapes: whether the shapes of operators are looked at.
    """
    costly: dict[str, dict[tuple[int, Use], list[int]]] = {}
    free: dict[str, dict[tuple[int, Use], list[int]]] = {}
    visits: dict[str, dict[int, int]] = {}
    for number, calls in enumerate(slots):
        for call in calls:
            times = call.count if len(calls) > 1 else 1
            _add_operators(call, number, times, costly, free, shapes=shapes)
            for path, count in call.visits.items():
                seen = visits.setdefault(path, {})
                seen[number] = seen.get(number, 0) + count * times
    records = {record.path: record for record in component.modules}
    found: dict[str, Traits] = {}
    for path in {**records, **visits, **costly, **free}:
        record = records.get(path)
        class_name, params = (record.class_name, record.params) if record else ("", 0)
        called = frozenset(visits[path].items()) if path in visits else NOTHING.visits
        found[path] = Traits(class_name, params, called, _frozen(costly, path), _frozen(free, path))
    return found


def _add_operators(
    call: Call,
    number: int,
    times: int,
    costly: dict[str, dict[tuple[int, Use], list[int]]],
    free: dict[str, dict[tuple[int, Use], list[int]]],
    *,
    shapes: bool,
) -> None:
    known: dict[tuple[str, str, str, bool, bool], Use] = {}
    for row in call.ops:
        macs = row.macs
        # What costs nothing is compared by its name: a profile of an early fxprof knows no shapes of it.
        values = (row.op, row.kind, row.shapes if shapes and macs != 0 else "", macs is not None, row.bounded)
        use = known.get(values)
        if use is None:
            use = known[values] = Use(*values)
        uses = (free if macs == 0 else costly).setdefault(row.path, {})
        sums = uses.get((number, use))
        if sums is None:
            sums = uses[number, use] = [0, 0]
        sums[0] += row.count * times
        sums[1] += (macs or 0) * times


def _frozen(uses: dict[str, dict[tuple[int, Use], list[int]]], path: str) -> frozenset[tuple[int, Use, int, int]]:
    found = uses.get(path)
    return frozenset([(*key, *sums) for key, sums in found.items()]) if found else frozenset()  # type: ignore[misc]
