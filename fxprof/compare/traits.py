"""The traits by which modules of two components are compared.

The calls that both components have are numbered, so that a module's work is compared within the same call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fxprof.result.profile import Component, Profile
from fxprof.result.records import Call


class Use(NamedTuple):
    """The common properties of executions of an operator, whatever their source line."""

    op: str
    kind: str
    shapes: str
    counted: bool
    bounded: bool


class Traits(NamedTuple):
    """The class and work of a module, in one execution of each call that both components have."""

    class_name: str
    params: int
    visits: frozenset[tuple[int, int]]
    """(number of the call, calls of the module in it)"""
    costly: frozenset[tuple[int, Use, int, int]]
    """(number of the call, operator, executions, MACs) of operators that cost MACs or are uncounted."""
    free: frozenset[tuple[int, Use, int, int]]
    """(number of the call, operator, executions, MACs) of operators without MACs."""


Types = Mapping[str, frozenset[tuple[int, str]]]
"""Module path to (number of the call, element types) of its operators that cost MACs."""

NOTHING = Traits("", 0, frozenset(), frozenset(), frozenset())
"""The traits of a path that only contains other modules."""


def has_shapes(profile: Profile) -> bool:
    """Whether the profile has the shapes of its operators; one of format 1 does not."""
    rows = (row for component in profile.components.values() for call in component.calls for row in call.ops)
    costly = [row for row in rows if row.macs != 0]
    return not costly or any(row.shapes for row in costly)


def has_types(profile: Profile) -> bool:
    """Whether the profile has the element types of its operators; an early one does not."""
    rows = (row for component in profile.components.values() for call in component.calls for row in call.ops)
    costly = [row for row in rows if row.macs != 0]
    return not costly or any(row.types for row in costly)


def find_types(slots: Iterable[tuple[Call, ...]]) -> Types:
    """The element types of each module's operators, in the calls that both components have."""
    types: dict[str, set[tuple[int, str]]] = {}
    for number, calls in enumerate(slots):
        for call in calls:
            for row in call.ops:
                if row.types and row.macs != 0:
                    types.setdefault(row.path, set()).add((number, row.types))
    return {path: frozenset(of_path) for path, of_path in types.items()}


def find_traits(component: Component, slots: Iterable[tuple[Call, ...]], *, shapes: bool) -> dict[str, Traits]:
    """Module path to its traits.

    Args:
        component: one of the two components.
        slots: its calls that the other component also has, by number; several calls in one slot count with their counts.
        shapes: whether the shapes of operators are compared.
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
    traits: dict[str, Traits] = {}
    for path in {**records, **visits, **costly, **free}:
        record = records.get(path)
        class_name, params = (record.class_name, record.params) if record else ("", 0)
        called = frozenset(visits[path].items()) if path in visits else NOTHING.visits
        traits[path] = Traits(class_name, params, called, _frozen(costly, path), _frozen(free, path))
    return traits


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
        # Operators without MACs are compared by name: a profile of an early fxprof lacks their shapes.
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
    of_path = uses.get(path)
    return frozenset([(*key, *sums) for key, sums in of_path.items()]) if of_path else frozenset()  # type: ignore[misc]
