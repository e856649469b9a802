"""The tree of a component, and profiles that are saved and loaded: the identity, or one line about what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import Golden
from hypothesis import given, settings
from hypothesis import strategies as st
from profiles import BUILDERS, VERSIONS, Maker, normal, tensor

from fxprof.cost.traffic import Traffic
from fxprof.errors import OutputError
from fxprof.result import Call, Component, Geometry, Input, ModuleRecord, OpRow, Profile, Total
from fxprof.result.saved.read import loads
from fxprof.result.saved.write import dumps


def row(path: str, macs: int | None, count: int = 1, **more: Any) -> OpRow:
    return OpRow(path, "aten.mm.default", "linear", "a.py:1", count, macs, **more)


def small() -> Component:
    modules = (ModuleRecord("", "Model", 1), ModuleRecord("a", "Linear", 10), ModuleRecord("b", "Linear", 100))
    first = Call("", 3, (tensor("x", 2),), (row("a", 5), row("a", 7), row("z.y", None, 2)), {"": 1, "a": 2})
    second = Call("a", 2, (tensor("x", 3),), (row("a", 1), row("", 4)), {"a": 1})
    return Component("unet", "Model", modules, (first, second))


# --- totals and trees


@pytest.mark.parametrize(
    ("total", "sign"), [(Total(1), ""), (Total(1, 1), ">="), (Total(1, 0, 1), "<="), (Total(1, 1, 1), "~"), (Total(), "")]
)
def test_sign_of_a_total(total: Total, sign: str) -> None:
    assert total.sign == sign


def test_tree_lists_modules_and_the_paths_that_only_operators_mention() -> None:
    tree = small().tree
    found = {node.path: (node.class_name, node.params, node.total_params, node.calls) for node in tree.walk()}
    assert found == {
        "": ("Model", 1, 111, 3),
        "a": ("Linear", 10, 10, 8),
        "b": ("Linear", 100, 100, 0),
        "z": ("", 0, 0, 0),
        "z.y": ("", 0, 0, 0),
    }


def test_tree_multiplies_calls_and_merges_equal_operators() -> None:
    tree = small().tree
    totals = {node.path: (node.self_total.of_macs, node.total.of_macs) for node in tree.walk()}
    a, z = Total(3 * (5 + 7) + 2 * 1), Total(uncounted=6)
    assert totals == {
        "": (Total(8), Total(8) + a + z),
        "a": (a, a),
        "b": (Total(), Total()),
        "z": (Total(), z),
        "z.y": (z, z),
    }
    assert [node.ops for node in tree.walk() if node.path == "a"] == [(row("a", 38, count=8),)]


def test_operators_that_differ_in_source_kind_shapes_or_knowledge_stay_apart() -> None:
    rows = (
        row("", 1),
        row("", None),
        row("", 1, bounded=True),
        row("", 1, note="why"),
        row("", 1, shapes="1"),
        OpRow("", "o", "k", "s", 1, 1),
    )
    tree = Component("c", "C", (), (Call("", 1, (), rows),)).tree
    assert tree.ops == rows


def test_shorthands_of_the_records() -> None:
    profile = Profile("t", "P", {}, {}, {"unet": small()})
    assert (profile.macs, profile.flops) == (8 + 38, 2 * (8 + 38))
    assert [call.macs for call in small().calls] == [12, 5]
    assert [(node.name, node.self_macs, node.total_macs) for node in small().tree.walk()][:2] == [("", 8, 46), ("a", 38, 38)]


def test_tree_of_a_component_without_modules_or_calls() -> None:
    tree = Component("c", "C", (), ()).tree
    assert (tree.path, tree.total, tree.children) == ("", Total(), ())


def test_deep_tree_is_built_and_walked_without_recursion() -> None:
    path = ".".join(["m"] * 5000)
    tree = Component("c", "C", (), (Call("", 1, (), (row(path, 3),)),)).tree
    assert sum(1 for _ in tree.walk()) == 5001
    assert tree.total.of_macs == Total(3)


# --- saving and loading


@pytest.mark.parametrize("name", BUILDERS)
def test_committed_profile_is_what_the_builder_makes(name: str, golden: Golden) -> None:
    golden(f"data/{name}.json", dumps(BUILDERS[name]()))


def test_loading_gives_back_what_was_saved(any_profile: Profile) -> None:
    assert loads(dumps(any_profile)) == any_profile
    assert dumps(loads(dumps(any_profile))) == dumps(any_profile)


_names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="."), min_size=1, max_size=4)
_counts = st.integers(0, 10**12)
_paths = st.lists(_names, max_size=3).map(".".join)
_rows = st.builds(
    OpRow,
    _paths,
    st.text(max_size=4),
    _names,
    _names,
    st.integers(0, 99),
    st.none() | _counts,
    st.booleans(),
    st.text(),
    st.text(max_size=3),
    st.text(max_size=3),
    st.none() | st.builds(Traffic, _counts, _counts, st.booleans()),
    st.sampled_from([None, 0]),
).map(lambda item: item._replace(masked=item.macs) if item.macs and item.bounded else item)
_inputs = st.one_of(
    st.builds(Input, _names, st.lists(_counts, max_size=3).map(tuple), _names),
    st.builds(Input, _names, st.none(), st.just(""), st.text()),
)
_calls = st.builds(
    Call,
    _paths,
    st.integers(0, 99),
    st.lists(_inputs, max_size=2).map(tuple),
    st.lists(_rows, max_size=5).map(tuple),
    st.dictionaries(_paths, st.integers(0, 9), max_size=3),
    st.text(max_size=3),
)


@st.composite
def _components(draw: st.DrawFn, name: str) -> Component:
    paths = [path.split(".") for path in draw(st.lists(_paths, max_size=5, unique=True))]
    records = [ModuleRecord(".".join(path), draw(_names), draw(_counts)) for path in sorted(paths)]
    calls = tuple(draw(st.lists(_calls, max_size=3)))
    built = Component(name, "C", tuple(records), calls).tree
    known = {record.path: record for record in records}
    return Component(name, "C", tuple(known[node.path] for node in built.walk() if node.path in known), calls)


_pairs = st.none() | st.tuples(_counts, _counts)
_geometries = st.builds(
    Geometry,
    _pairs,
    _pairs,
    st.none() | st.lists(_counts).map(tuple),
    st.lists(st.tuples(_names, st.lists(_counts, max_size=2).map(tuple)), max_size=2).map(tuple),
    st.lists(st.tuples(_names, st.tuples(_counts, _counts)), max_size=2).map(tuple),
    denoiser=_names,
    denoiser_calls=_counts,
    denoiser_batch=_counts,
    guidance=_names,
    tiling=st.booleans(),
    slicing=st.booleans(),
)
_plain = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(allow_nan=False, allow_infinity=False), st.text()
)


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    components = [draw(_components(name)) for name in draw(st.lists(_names, max_size=3, unique=True))]
    return Profile(
        target=draw(st.text()),
        class_name=draw(st.text()),
        workload=draw(st.dictionaries(st.text(), _plain, max_size=4)),
        versions=draw(st.dictionaries(_names, _names, max_size=2)),
        components={component.name: component for component in components},
        geometry=draw(_geometries),
        approximations=tuple(draw(st.lists(st.text(), max_size=2))),
        remarks=tuple(draw(st.lists(st.text(), max_size=2))),
    )


@settings(max_examples=60, deadline=None)
@given(profiles())
def test_round_trip_is_the_identity(profile: Profile) -> None:
    text = dumps(profile)
    again = loads(text)
    assert again == profile
    assert list(again.components) == list(profile.components)
    assert dumps(again) == text


def test_text_is_plain_ascii_with_one_operator_a_line() -> None:
    text = dumps(BUILDERS["odd"]())
    assert text.isascii()
    lines = [line for line in text.splitlines() if '"op": ' in line]
    assert len(lines) == 3
    assert all(line.count('"op": ') == 1 for line in lines)


def test_one_changed_number_changes_one_operator_line_and_the_sums() -> None:
    text = dumps(normal())
    parts = json.loads(text)
    changed = text.replace('"count": 28,\n', '"count": 29,\n')
    assert sum(old != new for old, new in zip(text.splitlines(), changed.splitlines(), strict=True)) == 1
    assert [part["name"] for part in parts["components"]][-1] == "vae"


def test_infinite_workload_cannot_be_saved() -> None:
    profile = Profile("t", "P", {"guidance_scale": float("inf")}, VERSIONS, {})
    with pytest.raises(OutputError, match="workload holds a number that is not finite"):
        dumps(profile)


def test_maker_counts_a_linear_layer() -> None:
    maker = Maker("c", "C")
    maker.linear("fc", 2, 3, 5)
    assert maker.component(maker.call(7)).macs == 7 * 2 * 3 * 5
