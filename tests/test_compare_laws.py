"""Laws of diffs: they add up, the way back is the negative, and nothing differs from itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import net, profile, renamed, spelled_out, widened, without

from fxprof.compare.delta import Delta
from fxprof.compare.diff import Diff
from fxprof.compare.groups import group_changes
from fxprof.compare.profiles import compare_profiles as diff
from fxprof.result import Call, Component, Input, ModuleRecord, OpRow, Profile

# Few names and few numbers, so that modules that look the same, and moved ones, are common.
_paths = st.lists(st.sampled_from(["0", "1", "2", "a", "b", "10"]), max_size=3).map(".".join)
_rows = st.builds(
    OpRow,
    _paths,
    st.sampled_from(["aten.mm", "aten.conv2d", "aten.relu"]),
    st.sampled_from(["linear", "unknown"]),
    st.sampled_from(["a.py:1", ""]),
    st.integers(1, 2),
    st.sampled_from([None, 0, 1, 1, 1000]),
    st.booleans(),
    st.just(""),
    st.sampled_from(["2x3 -> 2x4", "2x3 -> 2x5", ""]),
)
_inputs = st.sampled_from([(), (Input("x", (2, 3), "float32"),), (Input("x", (1, 3), "float32"),)])
_calls = st.builds(
    Call,
    st.sampled_from(["", "a"]),
    st.integers(1, 3),
    _inputs,
    st.lists(_rows, max_size=10).map(tuple),
    st.dictionaries(_paths, st.integers(1, 2), max_size=6),
)
_modules = st.dictionaries(
    _paths, st.tuples(st.sampled_from(["Linear", "Block"]), st.sampled_from([0, 1, 7])), max_size=10
).map(lambda found: tuple(ModuleRecord(path, *rest) for path, rest in found.items()))
_components = st.builds(
    Component, st.just(""), st.sampled_from(["UNet", "VAE"]), _modules, st.lists(_calls, max_size=3).map(tuple)
)


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    names = draw(st.lists(st.sampled_from(["unet", "vae", "movq"]), unique=True, max_size=3))
    components = {name: replace(draw(_components), name=name) for name in names}
    workload = draw(st.dictionaries(st.sampled_from(["steps", "height"]), st.integers(1, 2)))
    versions = draw(st.dictionaries(st.sampled_from(["torch", "fxprof"]), st.sampled_from(["1", "2"])))
    return Profile("t", "P", workload, versions, components)


@st.composite
def altered(draw: st.DrawFn) -> tuple[Profile, Profile]:
    """A profile, and the same with one part of every path named otherwise: modules move, and some fall together."""
    profile = draw(profiles())
    before, after = draw(st.tuples(st.sampled_from("012ab"), st.sampled_from(["0", "1", "c", "3"])))

    def renamed(path: str) -> str:
        return ".".join(after if part == before else part for part in path.split("."))

    def again(component: Component) -> Component:
        modules = {renamed(record.path): replace(record, path=renamed(record.path)) for record in component.modules}
        calls = tuple(
            replace(
                call,
                ops=tuple(row._replace(path=renamed(row.path)) for row in call.ops),
                visits={renamed(path): count for path, count in call.visits.items()},
            )
            for call in component.calls
        )
        return replace(component, modules=tuple(modules.values()), calls=calls)

    return profile, replace(profile, components={name: again(part) for name, part in profile.components.items()})


_BLOCKS = "transformer_blocks"
_MUTATIONS: tuple[Callable[[Component], Component], ...] = (
    lambda part: renamed(part, f"{_BLOCKS}.1.attn", f"{_BLOCKS}.1.attention"),
    lambda part: renamed(part, "proj_out", "head.proj"),
    lambda part: widened(part, f"{_BLOCKS}.0.ff.in"),
    lambda part: spelled_out(part, f"{_BLOCKS}.2.attn"),
    lambda part: without(part, f"{_BLOCKS}.1"),
    lambda part: without(part, f"{_BLOCKS}.2.norm1"),
    lambda part: replace(part, calls=tuple(replace(call, count=call.count + 3) for call in part.calls)),
    lambda part: renamed(part, _BLOCKS, "blocks"),
)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[Profile, Profile]:
    """A small transformer, and the same after a few changes."""
    part = net()
    for number in draw(st.lists(st.integers(0, len(_MUTATIONS) - 1), unique=True, min_size=1, max_size=4).map(sorted)):
        paths = {record.path for record in part.modules}
        if {
            _BLOCKS,
            f"{_BLOCKS}.0",
            f"{_BLOCKS}.1",
            f"{_BLOCKS}.2",
        } <= paths:  # otherwise they look for what is no longer there
            part = _MUTATIONS[number](part)
    return profile(net()), profile(part)


_pairs = st.one_of(st.tuples(profiles(), profiles()), altered(), mutated())


def holds_together(found: Diff) -> None:
    assert Delta.sum(part.delta for part in found.components) == found.delta
    for part in found.components:
        assert Delta.sum([part.equal, *(row.delta for row in part.modules)]) == part.delta
        assert Delta.sum(call.delta for call in part.calls) == part.delta
        assert Delta.sum(group.delta for group in group_changes(part.modules)) == Delta.sum(row.delta for row in part.modules)
        if part.split is not None:
            assert sum(part.split) == part.delta.macs


@settings(max_examples=150, deadline=None)
@given(_pairs)
def test_rows_add_up_to_components_and_these_to_the_totals(pair: tuple[Profile, Profile]) -> None:
    old, new = pair
    found = diff(old, new)
    holds_together(found)
    assert (found.delta.old, found.delta.new) == (old.total.of_macs, new.total.of_macs)
    assert found.delta.macs == new.macs - old.macs


@settings(max_examples=200, deadline=None)
@given(_pairs)
def test_the_way_back_is_the_negative(pair: tuple[Profile, Profile]) -> None:
    old, new = pair
    found = diff(old, new)
    assert diff(new, old) == -found
    back = -found
    assert -back == found


@settings(max_examples=60, deadline=None)
@given(mutated())
def test_what_was_changed_is_reported(pair: tuple[Profile, Profile]) -> None:
    old, new = pair
    (part,) = diff(old, new).components
    assert part.change == "changed"
    moved = {row.old.path: row.new.path for row in part.modules if row.change == "moved" and row.old and row.new}
    before, after = ({record.path for record in side.components["transformer"].modules} for side in pair)
    assert (_BLOCKS in moved) == (_BLOCKS in before - after)
    assert ("proj_out" in moved) == ("proj_out" in before - after)


@settings(max_examples=60, deadline=None)
@given(profiles())
def test_nothing_differs_from_itself(profile: Profile) -> None:
    found = diff(profile, profile)
    assert not found.changed
    assert [part.change for part in found.components] == ["equal"] * len(profile.components)
    assert all(not part.modules and part.equal == Delta(part.delta.old, part.delta.new) for part in found.components)
    assert all(part.split in {None, (0, 0)} for part in found.components)


@settings(max_examples=100, deadline=None)
@given(_pairs)
def test_every_module_has_one_place(pair: tuple[Profile, Profile]) -> None:
    for part in diff(*pair).components:
        for side in ("old", "new"):
            component = getattr(part, side)
            rows = [getattr(row, side) for row in part.modules]
            shown = sum(row.modules for row in rows if row) + part.equal_modules
            assert shown == (sum(1 for _ in component.tree.walk()) if component else 0)


@settings(max_examples=100, deadline=None)
@given(_pairs)
def test_the_split_of_the_way_back_is_its_negative(pair: tuple[Profile, Profile]) -> None:
    found = diff(*pair)
    for part, back in zip(found.components, (-found).components, strict=True):
        split = part.split
        assert back.split == (split and (-split[0], -split[1]))
