"""What a comparison of two components finds, briefly."""

from __future__ import annotations

from mutations import profile

from fxprof.compare.diff import ComponentDiff, ModuleChange
from fxprof.compare.groups import Group, group_changes
from fxprof.compare.profiles import compare_profiles
from fxprof.result import Component

BLOCKS = "transformer_blocks"
"""The list of blocks in `mutations.net`."""


def compared(old: Component, new: Component) -> ComponentDiff:
    (part,) = compare_profiles(profile(old), profile(new)).components
    return part


def rows(old: Component, new: Component) -> list[ModuleChange]:
    return list(compared(old, new).modules)


def told(changes: list[ModuleChange] | tuple[ModuleChange, ...]) -> list[tuple[str, str | None, str | None]]:
    return [(row.change, row.old.path if row.old else None, row.new.path if row.new else None) for row in changes]


def grouped(old: Component, new: Component) -> list[Group]:
    return list(group_changes(compared(old, new).modules))
