"""Matching names, components and calls of two profiles."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeVar

from fxprof.result.profile import Component, Profile
from fxprof.result.records import Call

_T = TypeVar("_T")


def merge_names(old: Iterable[str], new: Iterable[str]) -> list[str]:
    """The names of both sides, in an order that is the same if the sides change places."""
    places = [{name: place for place, name in enumerate(side)} for side in (old, new)]

    def key(name: str) -> tuple[int, int, str]:
        positions = sorted(places[side][name] for side in (0, 1) if name in places[side])
        return positions[0], positions[-1], name

    return sorted({**places[0], **places[1]}, key=key)


ComponentPair = tuple[Component | None, Component | None]
"""A component before and after; None on the missing side of an added or removed one."""


def pair_components(old: Profile, new: Profile) -> list[ComponentPair]:
    """Pair components of the same name, and then those of the same class if most of their modules are the same."""
    names = [name for name in merge_names(old.components, new.components) if name in old.components and name in new.components]
    pairs: dict[str, ComponentPair] = {name: (old.components[name], new.components[name]) for name in names}
    removed = [component for name, component in old.components.items() if name not in pairs]
    added = [component for name, component in new.components.items() if name not in pairs]
    looks = {id(component): _Look.of(component) for component in (*removed, *added)}
    for before in removed:
        after = _only_alike(before, added, looks)
        if after is not None and _only_alike(after, removed, looks) is before:
            pairs[before.name] = pairs[after.name] = before, after
    pairs |= {component.name: (component, None) for component in removed if component.name not in pairs}
    pairs |= {component.name: (None, component) for component in added if component.name not in pairs}
    ordered = (pairs[name] for name in merge_names(old.components, new.components))
    return list({id(pair): pair for pair in ordered}.values())


class _Look(NamedTuple):
    """The features by which a component is recognised under another name."""

    class_name: str
    modules: frozenset[tuple[str, str, int]]

    @classmethod
    def of(cls, component: Component) -> _Look:
        modules = frozenset((module.path, module.class_name, module.params) for module in component.modules)
        return cls(component.class_name, modules)

    def is_like(self, other: _Look) -> bool:
        """Whether both have the same class, and at least half of the modules of each are in the other."""
        if self.class_name != other.class_name:
            return False
        most = max(len(self.modules), len(other.modules))
        if 2 * min(len(self.modules), len(other.modules)) < most:
            return False
        return 2 * len(self.modules & other.modules) >= most


def _only_alike(component: Component, others: Iterable[Component], looks: Mapping[int, _Look]) -> Component | None:
    """The only one of the others that looks like the component; None if there are none or several."""
    look = looks[id(component)]
    alike = list(islice((other for other in others if look.is_like(looks[id(other)])), 2))
    return alike[0] if len(alike) == 1 else None


@dataclass(frozen=True, slots=True)
class CallPair:
    """Matching calls of both components: one of each, several that cannot be distinguished, or none on one side."""

    old: tuple[Call, ...]
    new: tuple[Call, ...]

    @property
    def matched(self) -> bool:
        """Whether there are calls on both sides."""
        return bool(self.old and self.new)


def pair_calls(old: Iterable[Call], new: Iterable[Call]) -> tuple[CallPair, ...]:
    """Pair the calls of two components.

    First calls of the same module with the same inputs; then those of the same module, in order, if both sides have equally
    many; then those of modules with different names but the same inputs, MACs and number of operators.
    """
    pairs: list[CallPair] = []
    unpaired = list(old), list(new)
    unpaired = _pair(unpaired, pairs, lambda call: (call.entry, call.inputs))
    unpaired = _pair(unpaired, pairs, lambda call: call.entry)
    unpaired = _pair(unpaired, pairs, lambda call: (call.inputs, call.total.of_macs, len(call.ops)))
    pairs += _in_groups(unpaired)
    return tuple(pairs)


_Sides = tuple[list[Call], list[Call]]


def _pair(sides: _Sides, pairs: list[CallPair], key: Callable[[Call], Hashable]) -> _Sides:
    """Pair calls of the same key in order if both sides have equally many, and return the unpaired calls."""
    old, new = group_by(sides[0], key), group_by(sides[1], key)
    for name, calls in old.items():
        if len(calls) == len(new.get(name, ())):
            pairs += [CallPair((before,), (after,)) for before, after in zip(calls, new[name], strict=True)]
    paired = {id(call) for pair in pairs for call in (*pair.old, *pair.new)}
    return [call for call in sides[0] if id(call) not in paired], [call for call in sides[1] if id(call) not in paired]


def _in_groups(sides: _Sides) -> Iterator[CallPair]:
    old, new = (group_by(calls, lambda call: call.entry) for calls in sides)
    for entry in {**old, **new}:
        if entry in old and entry in new:
            yield CallPair(tuple(old[entry]), tuple(new[entry]))
        else:
            yield from (CallPair((call,), ()) for call in old.get(entry, ()))
            yield from (CallPair((), (call,)) for call in new.get(entry, ()))


def group_by(items: Iterable[_T], key: Callable[[_T], Hashable]) -> dict[Hashable, list[_T]]:
    """Key to its items, in order."""
    groups: dict[Hashable, list[_T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
