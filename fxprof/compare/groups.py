"""Groups of diff rows: blocks that changed in the same way become one."""

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
    """The rows, sorted by path."""
    sizes: tuple[Pair, ...]
    """Changed sizes of their operators' tensors, before and after; whole shapes if the ranks differ."""
    lost: tuple[tuple[str, int], ...]
    """(operator, executions in one call) that only the old side of a member has."""
    gained: tuple[tuple[str, int], ...]
    """(operator, executions in one call) that only the new side of a member has."""

    @property
    def first(self) -> ModuleChange:
        """The first member, which represents all."""
        return self.members[0]

    @property
    def delta(self) -> Delta:
        """MACs of all members in one run of the pipeline."""
        return Delta.sum(member.delta for member in self.members)

    @property
    def old_path(self) -> str:
        """The paths of the old side, merged into one text; "" if there are none."""
        return merge_paths(member.old.path for member in self.members if member.old)

    @property
    def new_path(self) -> str:
        """The paths of the new side, merged into one text; "" if there are none."""
        return merge_paths(member.new.path for member in self.members if member.new)

    @property
    def costless(self) -> bool:
        """Whether no operator in it costs MACs or is uncounted, before and after."""
        sides = [side for member in self.members for side in (member.old, member.new) if side]
        return not any(side.total.macs or side.total.uncounted or any(map(costs, side.ops)) for side in sides)


def group_changes(changes: Iterable[ModuleChange]) -> tuple[Group, ...]:
    """Group the rows; the groups with the largest difference come first.

    Changed modules form a group if they have the same class and the same place in blocks of the same class (names of neighbours
    may differ), if the same sizes changed, and if they lost and gained the same operators. Added and removed modules form a
    group if they are equal in everything except their path, and moved modules if they moved in the same way.
    """
    grouped = group_by(changes, _alike)
    groups = [_group(members) for members in grouped.values()]
    return tuple(sorted(groups, key=lambda item: (-abs(item.delta.macs), natural_key(item.new_path or item.old_path))))


def _group(members: list[ModuleChange]) -> Group:
    ordered = sorted(members, key=lambda member: [natural_key(side.path) for side in (member.new, member.old) if side])
    lost, gained = find_op_changes(members[0])
    return Group(tuple(ordered), find_size_changes(members[0]), lost, gained)


def _alike(change: ModuleChange) -> Hashable:
    places = tuple(_where(side) for side in (change.old, change.new) if side)
    if change.change == "moved":
        return change.change, places, change.aspects, change.evidence and change.evidence.params
    if change.change == "changed":
        types = find_type_change(change)
        return change.change, places, change.aspects, frozenset(find_size_changes(change)), find_op_changes(change), types
    return change.change, places, *((side.modules, side.params, side.calls, side.total, side.ops) for side in _sides(change))


def _sides(change: ModuleChange) -> Iterator[ModuleSide]:
    yield from (side for side in (change.old, change.new) if side)


def _where(side: ModuleSide) -> Hashable:
    return side.block, side.place.rpartition(".")[0], side.class_name


def costs(use: OpUse) -> bool:
    """Whether an operator costs MACs or is uncounted."""
    return use.macs != 0


def find_op_changes(change: ModuleChange) -> tuple[tuple[tuple[str, int], ...], tuple[tuple[str, int], ...]]:
    """The operators that a module lost and gained, with executions in one call; both are empty for a row of one side."""
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
    """The element types before and after, if they differ."""
    if change.old is None or change.new is None or "types" not in change.aspects:
        return None
    return change.old.types, change.new.types


def find_size_changes(change: ModuleChange) -> tuple[Pair, ...]:
    """The changed sizes, before and after, of the operators that both sides have."""
    if change.old is None or change.new is None or "shapes" not in change.aspects:
        return ()
    old, new = (group_by(filter(costs, side.ops), lambda use: use.op) for side in (change.old, change.new))
    shapes = [pair for op, uses in old.items() if op in new for pair in _shape_pairs(uses, new[op])]
    return tuple(sorted({pair for before, after in shapes for pair in _size_pairs(before, after)}, key=_largest))


def _largest(pair: Pair) -> tuple[object, ...]:
    return tuple(natural_key(size) for size in pair)


def _shape_pairs(old: list[OpUse], new: list[OpUse]) -> Iterator[Pair]:
    """The shapes that only one side has, paired in order if both sides have equally many."""
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
