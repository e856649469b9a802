"""The changes from one profile to another, as frozen records.

Rows of changed modules and the sums of equal ones add up to the difference of the components, and these to that of the totals.
`diff(b, a) == -diff(a, b)`, and `diff(a, a)` has no changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import TypeVar

from fxprof.compare.delta import Delta
from fxprof.compare.paths import natural_key
from fxprof.errors import UsageError
from fxprof.result.profile import Component, Profile
from fxprof.result.records import Total

Plain = int | float | str | bool | None

_NOTHING = Delta()


@dataclass(frozen=True, slots=True)
class Setting:
    """A version, an argument or a size that differs."""

    name: str
    old: Plain
    """The old value; None if the old side has none."""
    new: Plain

    def __neg__(self) -> Setting:
        """The reverse diff."""
        return Setting(self.name, self.new, self.old)


@dataclass(frozen=True, slots=True)
class CallSide:
    """One side of matching calls of a component."""

    entry: str
    """The module that the pipeline calls; "" is the component itself."""
    count: int
    """Calls in one run of the pipeline."""
    each: Total | None
    """The cost of one call; None for several calls of different cost."""
    total: Total
    """The cost of all calls in one run of the pipeline."""


@dataclass(frozen=True, slots=True)
class CallChange:
    """Matching calls of a component; None for a side without calls."""

    old: CallSide | None
    new: CallSide | None

    def __neg__(self) -> CallChange:
        """The reverse diff."""
        return CallChange(self.new, self.old)

    @property
    def delta(self) -> Delta:
        """MACs in one run of the pipeline."""
        return Delta(self.old.total.of_macs if self.old else Total(), self.new.total.of_macs if self.new else Total())

    @property
    def split(self) -> tuple[int, int] | None:
        """MACs due to a changed number of calls, and MACs due to a changed cost per call; they add up to the difference.

        The part that needs both changes is split evenly. None if the split is unknown: for several calls of different cost,
        or with uncounted or bounded operators.
        """
        delta = self.delta
        if delta.sign:
            return None
        if not self.old or not self.new:
            return delta.macs, 0
        if self.old.each is None or self.new.each is None:
            return None
        twice = (self.new.count - self.old.count) * (self.old.each.macs + self.new.each.macs)
        by_calls = abs(twice) // 2 * (1 if twice > 0 else -1)
        return by_calls, delta.macs - by_calls


@dataclass(frozen=True, slots=True)
class OpUse:
    """Executions of one operator on the same shapes."""

    op: str
    kind: str
    shapes: str
    count: int
    macs: int | None
    """MACs of all `count` executions; None if unknown."""
    bounded: bool = False


@dataclass(frozen=True, slots=True)
class ModuleSide:
    """One or several modules of a profile that make up one side of a row."""

    path: str
    """The path of the module, or of the one that contains the others."""
    class_name: str
    block: str
    """Class of the nearest numbered module around it, or of the component; `block` and `place` together give its position."""
    place: str
    """The path below that module."""
    modules: int
    params: int
    """Parameters of all modules of the side."""
    calls: int
    """Calls of the outermost module in one run of the pipeline."""
    visits: int
    """Calls of the outermost module in one execution of each call that both profiles have."""
    total: Total
    """Cost of their own operators in one run of the pipeline."""
    ops: tuple[OpUse, ...]
    """Their own operators in one execution of each call that both profiles have."""
    types: str = ""
    """Element types of these operators' operands: `bfloat16`, or `float32; int8, float32` for several operators."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence that a module equals one with another path."""

    class_name: str
    modules: int
    """Number of modules that are the same on both sides, including itself."""
    params: int
    """Parameters of these modules."""
    ops: int
    """Executions of these modules' operators, in one execution of each call that both profiles have."""
    before: tuple[str, str] | None = None
    """Old and new name of the previous sibling, if these match as well."""
    after: tuple[str, str] | None = None
    """Old and new name of the next sibling, if these match as well."""

    def __neg__(self) -> Evidence:
        """The reverse diff."""
        before, after = (pair and (pair[1], pair[0]) for pair in (self.before, self.after))
        return Evidence(self.class_name, self.modules, self.params, self.ops, before, after)


ASPECTS = ("class", "params", "runs", "calls", "ops", "shapes", "types", "macs", "free ops")
"""Possible differences of a module: `runs` at all, `calls` in one call of the component, `free ops` (those without MACs)."""


@dataclass(frozen=True, slots=True)
class ModuleChange:
    """One row: a module that was added, removed, moved or changed, with the equal modules that came along with it."""

    change: str
    """`added`, `removed`, `moved` (or renamed) or `changed`."""
    old: ModuleSide | None
    new: ModuleSide | None
    aspects: tuple[str, ...] = ()
    """The differences, from `ASPECTS`, for modules on both sides."""
    evidence: Evidence | None = None
    """The evidence for a moved module."""

    def __neg__(self) -> ModuleChange:
        """The reverse diff."""
        back = {"added": "removed", "removed": "added"}.get(self.change, self.change)
        return ModuleChange(back, self.new, self.old, self.aspects, -self.evidence if self.evidence else None)

    @property
    def delta(self) -> Delta:
        """MACs of the modules' own operators in one run of the pipeline."""
        return Delta(self.old.total.of_macs if self.old else Total(), self.new.total.of_macs if self.new else Total())

    @property
    def quiet(self) -> bool:
        """Whether it differs only in operators without MACs."""
        return self.change == "changed" and self.aspects == ("free ops",)


_Item = TypeVar("_Item", CallChange, ModuleChange)


def sort_changes(items: Iterable[_Item]) -> tuple[_Item, ...]:
    """The items sorted by path, with numbers in paths as numbers."""
    return tuple(item for _, same in groupby(sorted(items, key=_key), _key) for item in _by_text(list(same)))


def _by_text(items: list[_Item]) -> list[_Item]:
    """The items of the same paths, sorted by text; there is rarely more than one, and the texts are long."""
    return sorted(items, key=repr) if len(items) > 1 else items


def _key(item: CallChange | ModuleChange) -> tuple[object, ...]:
    paths = [(side.entry if isinstance(side, CallSide) else side.path) if side else "" for side in (item.new, item.old)]
    return natural_key(paths[0] or paths[1]), natural_key(paths[1])


@dataclass(frozen=True)
class ComponentDiff:
    """A component before and after."""

    old: Component | None
    """The old component; None if it was added."""
    new: Component | None
    evidence: Evidence | None = None
    """The evidence that it equals one of another name."""
    calls: tuple[CallChange, ...] = ()
    modules: tuple[ModuleChange, ...] = ()
    """The changed modules, with their work."""
    equal: Delta = _NOTHING
    """The work of all other modules in one run of the pipeline; it differs if they run more often."""
    equal_modules: int = 0

    def __neg__(self) -> ComponentDiff:
        """The reverse diff."""
        evidence = -self.evidence if self.evidence else None
        calls = sort_changes(-call for call in self.calls)
        modules = sort_changes(-row for row in self.modules)
        return ComponentDiff(self.new, self.old, evidence, calls, modules, -self.equal, self.equal_modules)

    @property
    def name(self) -> str:
        """The new name; the old one if it was removed."""
        component = self.new or self.old
        return component.name if component else ""

    @property
    def change(self) -> str:
        """`added`, `removed`, `renamed`, `changed` or `equal`."""
        if self.old is None or self.new is None:
            return "added" if self.old is None else "removed"
        if self.old.name != self.new.name:
            return "renamed"
        same = self.old.class_name == self.new.class_name and self.old.params == self.new.params
        return "equal" if same and not self.delta.macs and not any(map(_differs, self.calls)) and not self.loud else "changed"

    @property
    def loud(self) -> tuple[ModuleChange, ...]:
        """The rows that differ in more than operators without MACs."""
        return tuple(row for row in self.modules if not row.quiet)

    @property
    def delta(self) -> Delta:
        """MACs in one run of the pipeline."""
        return Delta(self.old.total.of_macs if self.old else Total(), self.new.total.of_macs if self.new else Total())

    @property
    def counts(self) -> tuple[int, int]:
        """Calls before and after, in one run of the pipeline."""
        old, new = (sum(call.count for call in side.calls) if side else 0 for side in (self.old, self.new))
        return old, new

    @property
    def split(self) -> tuple[int, int] | None:
        """MACs due to the number of calls, and MACs due to the cost per call; see `CallChange.split`."""
        parts = [call.split for call in self.calls]
        known = [part for part in parts if part is not None]
        return (sum(part[0] for part in known), sum(part[1] for part in known)) if len(known) == len(parts) else None


def _differs(call: CallChange) -> bool:
    return call.old != call.new


@dataclass(frozen=True)
class Subject:
    """The facts about a whole profile, on one side of a diff."""

    target: str
    class_name: str
    workload: Mapping[str, Plain]
    versions: Mapping[str, str]
    total: Total
    has_shapes: bool
    """Whether the profile has the shapes of its operators; one that an early fxprof saved does not."""
    has_types: bool
    """Whether the profile has the element types of its operators."""
    approximations: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(cls, profile: Profile, *, has_shapes: bool, has_types: bool) -> Subject:
        """The facts about a profile."""
        return cls(
            profile.target,
            profile.class_name,
            dict(profile.workload),
            dict(profile.versions),
            profile.total.of_macs,
            has_shapes,
            has_types,
            profile.approximations,
            profile.remarks,
        )


@dataclass(frozen=True)
class Diff:
    """The changes from one profile to another. `-diff` is the reverse diff."""

    old: Subject
    new: Subject
    versions: tuple[Setting, ...]
    """Packages whose versions differ."""
    workload: tuple[Setting, ...]
    """Arguments that differ."""
    sizes: tuple[Setting, ...]
    """Sizes and options of the run that differ: latents, text lengths, calls of the denoiser, tiling ..."""
    components: tuple[ComponentDiff, ...]
    measure: str = "macs"
    """What is compared, one of `fxprof.result.measures.MEASURES`. In another measure than MACs, all totals and differences
    hold that one: read it as `amount`. The components have only what the measure needs."""

    def __neg__(self) -> Diff:
        """The reverse diff."""
        versions, workload, sizes = (tuple(-item for item in items) for items in (self.versions, self.workload, self.sizes))
        components = tuple(-component for component in self.components)
        return Diff(self.new, self.old, versions, workload, sizes, components, self.measure)

    @property
    def delta(self) -> Delta:
        """MACs of one run of the pipeline."""
        return Delta(self.old.total, self.new.total)

    @property
    def shapes_compared(self) -> bool:
        """Whether both profiles have the shapes of their operators."""
        return self.old.has_shapes and self.new.has_shapes

    @property
    def types_compared(self) -> bool:
        """Whether both profiles have the element types of their operators."""
        return self.old.has_types and self.new.has_types

    @cached_property
    def changed(self) -> bool:
        """Whether anything differs: a setting, a component, a module."""
        settings = self.versions or self.workload or self.sizes
        return bool(settings or self.delta.macs or any(part.change != "equal" or part.modules for part in self.components))

    def find_component(self, name: str) -> ComponentDiff:
        """Find the component of this name on either side.

        Raises:
            UsageError: neither side has it.
        """
        for part in self.components:
            if name in {side.name for side in (part.old, part.new) if side}:
                return part
        known = ", ".join(part.name for part in self.components) or "none"
        raise UsageError(f"neither {self.old.target} nor {self.new.target} has a component {name!r}", f"one of {known}")

    def only(self, names: Iterable[str]) -> Diff:
        """The diff of these components alone.

        Raises:
            UsageError: neither side has one of these names.
        """
        wanted = {id(self.find_component(name)) for name in names}
        parts = tuple(part for part in self.components if id(part) in wanted)
        delta = Delta.sum(part.delta for part in parts)
        old, new = replace(self.old, total=delta.old), replace(self.new, total=delta.new)
        return replace(self, old=old, new=new, components=parts)
