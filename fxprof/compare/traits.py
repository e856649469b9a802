"""What two components are compared by: which of their calls belong together, and what each module does in these.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from fxprof.result.profile import Call, Component, Profile

_T = TypeVar("_T")


class Use(NamedTuple):
    """What executions of operators have in common, whatever line they come from."""

    op: str
    kind: str
    shapes: str
    counted: bool
    bounded: bool


class Facts(NamedTuple):
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

NOTHING = Facts("", 0, frozenset(), frozenset(), frozenset())
"""Of a path that only holds other modules."""


@dataclass(frozen=True, slots=True)
class CallPair:
    """Calls of both components that belong together: one of each, several that cannot be told apart, or none on one side."""

    old: tuple[Call, ...]
    new: tuple[Call, ...]

    @property
    def matched(self) -> bool:
        """Whether there are calls on both sides."""
        return bool(self.old and self.new)


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


def types_of(slots: Iterable[tuple[Call, ...]]) -> Types:
    """The element types that each module works on, in the calls that both components have."""
    found: dict[str, set[tuple[int, str]]] = {}
    for number, calls in enumerate(slots):
        for call in calls:
            for row in call.ops:
                if row.types and row.macs != 0:
                    found.setdefault(row.path, set()).add((number, row.types))
    return {path: frozenset(types) for path, types in found.items()}


def align_calls(old: Iterable[Call], new: Iterable[Call]) -> tuple[CallPair, ...]:
    """The calls of two components in pairs.

    Calls of the same module with the same inputs belong together; then those of the same module, in order, where there are as
    many on both sides; then those of modules with different names that do as much with the same inputs.
    """
    pairs: list[CallPair] = []
    left = list(old), list(new)
    left = _pair(left, pairs, lambda call: (call.entry, call.inputs))
    left = _pair(left, pairs, lambda call: call.entry)
    left = _pair(left, pairs, lambda call: (call.inputs, call.total, len(call.ops)))
    pairs += _in_groups(left)
    return tuple(pairs)


_Sides = tuple[list[Call], list[Call]]


def _pair(sides: _Sides, pairs: list[CallPair], key: Callable[[Call], Hashable]) -> _Sides:
    """Pair calls of the same key in order where there are as many on both sides, and give back those that are left."""
    old, new = group(sides[0], key), group(sides[1], key)
    for name, calls in old.items():
        if len(calls) == len(new.get(name, ())):
            pairs += [CallPair((before,), (after,)) for before, after in zip(calls, new[name], strict=True)]
    paired = {id(call) for pair in pairs for call in (*pair.old, *pair.new)}
    return [call for call in sides[0] if id(call) not in paired], [call for call in sides[1] if id(call) not in paired]


def _in_groups(sides: _Sides) -> Iterator[CallPair]:
    old, new = (group(calls, lambda call: call.entry) for calls in sides)
    for entry in {**old, **new}:
        if entry in old and entry in new:
            yield CallPair(tuple(old[entry]), tuple(new[entry]))
        else:
            yield from (CallPair((call,), ()) for call in old.get(entry, ()))
            yield from (CallPair((), (call,)) for call in new.get(entry, ()))


def group(items: Iterable[_T], key: Callable[[_T], Hashable]) -> dict[Hashable, list[_T]]:
    """Key to the items that have it, in their order."""
    groups: dict[Hashable, list[_T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def facts_of(component: Component, slots: Iterable[tuple[Call, ...]], *, shapes: bool) -> dict[str, Facts]:
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
    found: dict[str, Facts] = {}
    for path in {**records, **visits, **costly, **free}:
        record = records.get(path)
        class_name, params = (record.class_name, record.params) if record else ("", 0)
        called = frozenset(visits[path].items()) if path in visits else NOTHING.visits
        found[path] = Facts(class_name, params, called, _frozen(costly, path), _frozen(free, path))
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
        values = (row.op, row.kind, row.shapes if shapes else "", macs is not None, row.bounded)
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
