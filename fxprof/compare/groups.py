"""Rows of a diff that say the same of several modules, as one: blocks that changed in the same way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

from fxprof.compare.delta import Delta
from fxprof.compare.diff import ModuleChange, ModuleSide, OpUse
from fxprof.compare.pairing import group_by
from fxprof.compare.paths import merge_paths, natural_key

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Group:
    """Modules that changed in the same way."""

    members: tuple[ModuleChange, ...]
    """By path."""
    sizes: tuple[Pair, ...]
    """Sizes of their operators' tensors that differ, before and after; whole shapes where these have other ranks."""
    lost: tuple[tuple[str, int], ...]
    """(operator, executions in one call) that only the old side has, of one member."""
    gained: tuple[tuple[str, int], ...]
    """The same of the new side."""

    @property
    def first(self) -> ModuleChange:
        """One that stands for all."""
        return self.members[0]

    @property
    def delta(self) -> Delta:
        """MACs in one run of the pipeline, of all of them."""
        return Delta.sum(member.delta for member in self.members)

    @property
    def old_path(self) -> str:
        """The paths on the old side as one; "" where there are none."""
        return merge_paths(member.old.path for member in self.members if member.old)

    @property
    def new_path(self) -> str:
        """The same of the new side."""
        return merge_paths(member.new.path for member in self.members if member.new)

    @property
    def costless(self) -> bool:
        """Whether nothing in it costs MACs, before or after, or is uncounted."""
        sides = [side for member in self.members for side in (member.old, member.new) if side]
        return not any(side.total.macs or side.total.uncounted or any(map(costs, side.ops)) for side in sides)


def group_changes(changes: Iterable[ModuleChange]) -> tuple[Group, ...]:
    """The rows in groups, those of the largest difference first.

    Changed modules belong together when they have the same class and place in blocks of the same class (names of neighbours may
    differ), the same sizes changed, and they lost and gained the same operators. Added and removed ones when they are alike in
    everything but their path; moved ones when they moved alike.
    """
    grouped = group_by(changes, _alike)
    found = [_group(members) for members in grouped.values()]
    return tuple(sorted(found, key=lambda item: (-abs(item.delta.macs), natural_key(item.new_path or item.old_path))))


def _group(members: list[ModuleChange]) -> Group:
    ordered = sorted(members, key=lambda member: [natural_key(side.path) for side in (member.new, member.old) if side])
    lost, gained = find_op_changes(members[0])
    return Group(tuple(ordered), find_size_changes(members[0]), lost, gained)


def _alike(change: ModuleChange) -> Hashable:
    where = tuple(_where(side) for side in (change.old, change.new) if side)
    if change.change == "moved":
        return change.change, where, change.aspects, change.evidence and change.evidence.params
    if change.change == "changed":
        types = find_type_change(change)
        return change.change, where, change.aspects, frozenset(find_size_changes(change)), find_op_changes(change), types
    return change.change, where, *((side.modules, side.params, side.calls, side.total, side.ops) for side in _sides(change))


def _sides(change: ModuleChange) -> Iterator[ModuleSide]:
    yield from (side for side in (change.old, change.new) if side)


def _where(side: ModuleSide) -> Hashable:
    return side.block, side.place.rpartition(".")[0], side.class_name


def costs(use: OpUse) -> bool:
    """Whether an operator costs MACs or is not counted."""
    return use.macs != 0


def find_op_changes(change: ModuleChange) -> tuple[tuple[tuple[str, int], ...], tuple[tuple[str, int], ...]]:
    """The operators that a module lost and gained, with executions in one call; a row of one side has neither."""
    if change.old is None or change.new is None:
        return (), ()
    old, new = _counts(change.old), _counts(change.new)
    return tuple(sorted((old - new).items())), tuple(sorted((new - old).items()))


def _counts(side: ModuleSide) -> Counter[str]:
    counts: Counter[str] = Counter()
    for use in side.ops:
        counts[use.op] += use.count
    return counts


def find_type_change(change: ModuleChange) -> Pair | None:
    """The element types before and after, where these differ."""
    if change.old is None or change.new is None or "types" not in change.aspects:
        return None
    return change.old.types, change.new.types


def find_size_changes(change: ModuleChange) -> tuple[Pair, ...]:
    """The sizes that differ, before and after, of the operators that both sides have."""
    if change.old is None or change.new is None or "shapes" not in change.aspects:
        return ()
    old, new = (group_by(filter(costs, side.ops), lambda use: use.op) for side in (change.old, change.new))
    found = [pair for op, uses in old.items() if op in new for pair in _shape_pairs(uses, new[op])]
    return tuple(sorted({pair for before, after in found for pair in _size_pairs(before, after)}, key=_largest))


def _largest(pair: Pair) -> tuple[object, ...]:
    return tuple(natural_key(size) for size in pair)


def _shape_pairs(old: list[OpUse], new: list[OpUse]) -> Iterator[Pair]:
    """The shapes that only one side has, in order, where there are as many on both."""
    before = sorted({use.shapes for use in old} - {use.shapes for use in new})
    after = sorted({use.shapes for use in new} - {use.shapes for use in old})
    if len(before) == len(after):
        yield from zip(before, after, strict=True)


def _size_pairs(old: str, new: str) -> Iterator[Pair]:
    before, after = (shapes.replace(" -> ", ", ").split(", ") for shapes in (old, new))
    if len(before) != len(after):
        yield old, new
        return
    for one, other in zip(before, after, strict=True):
        sizes = one.split("x"), other.split("x")
        if len(sizes[0]) != len(sizes[1]):
            yield one, other
        else:
            yield from ((size, now) for size, now in zip(*sizes, strict=True) if size != now)
