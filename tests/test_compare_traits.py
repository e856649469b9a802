"""What modules are compared by, and what is no difference."""

from __future__ import annotations

from dataclasses import replace

from compared import rows
from mutations import net, widened, with_rows
from profiles import normal

from fxprof.compare.profiles import compare_profiles as diff
from fxprof.result import Profile


def test_where_an_operator_is_written_is_no_change() -> None:
    assert rows(net(), with_rows(net(), lambda row: [row._replace(source="elsewhere.py:1", note="why")])) == []


def shapeless(found: Profile) -> Profile:
    """The profile as the first format has it."""
    parts = {name: with_rows(part, lambda row: [row._replace(shapes="")]) for name, part in found.components.items()}
    return replace(found, components=parts)


def test_shapes_are_compared_only_where_both_sides_know_them() -> None:
    found = diff(shapeless(normal()), normal())
    assert not found.shapes_compared
    assert not found.changed
    both = diff(shapeless(normal()), shapeless(normal()))
    assert (both.shapes_compared, both.changed) == (False, False)
    wide = replace(normal(), components={"transformer": widened(normal().components["transformer"], "proj_out")})
    (row,) = diff(shapeless(normal()), wide).find_component("transformer").modules
    assert row.aspects == ("params", "macs")
