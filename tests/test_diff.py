"""What a diff finds: each change of a small transformer, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from mutations import listed, net, profile, renamed, spelled_out, widened, with_record, with_rows, without
from profiles import Maker, autoencoder, normal, tensor, text_encoder, uncounted

from fxprof.compare.delta import Delta
from fxprof.compare.diff import ComponentDiff, ModuleChange, Setting
from fxprof.compare.groups import Group, group_changes
from fxprof.compare.paths import merge_paths
from fxprof.compare.profiles import compare_profiles as diff
from fxprof.errors import UsageError
from fxprof.result import Call, Component, Geometry, Input, OpRow, Profile, Total

BLOCKS = "transformer_blocks"


def compared(old: Component, new: Component) -> ComponentDiff:
    (part,) = diff(profile(old), profile(new)).components
    return part


def rows(old: Component, new: Component) -> list[ModuleChange]:
    return list(compared(old, new).modules)


def told(changes: list[ModuleChange] | tuple[ModuleChange, ...]) -> list[tuple[str, str | None, str | None]]:
    return [(row.change, row.old.path if row.old else None, row.new.path if row.new else None) for row in changes]


def folded(old: Component, new: Component) -> list[Group]:
    return list(group_changes(compared(old, new).modules))


# --- nothing, and what only the number of calls changes


def test_equal_components_have_no_rows() -> None:
    part = compared(net(), net())
    assert (part.change, part.modules, part.split) == ("equal", (), (0, 0))
    assert part.equal_modules == sum(1 for _ in net().tree.walk())
    assert part.equal == Delta(net().total, net().total)


def test_more_calls_are_no_change_of_any_layer() -> None:
    part = compared(net(calls=2), net(calls=5))
    each = net().calls[0].macs
    assert (part.change, part.modules, part.counts) == ("changed", (), (2, 5))
    assert part.split == (3 * each, 0)
    assert part.equal.macs == part.delta.macs == 3 * each


def test_dearer_calls_and_more_of_them_share_what_both_explain() -> None:
    old = Component("c", "C", (), (Call("", 2, (), (OpRow("", "aten.mm", "linear", "", 1, 10),)),))
    new = Component("c", "C", (), (Call("", 5, (), (OpRow("", "aten.mm", "linear", "", 1, 17),)),))
    # 2 x 10 -> 5 x 17: 3 calls at 13.5 are 40.5, and 7 MACs in 3.5 calls are 24.5; the half goes to the cost.
    assert compared(old, new).split == (40, 25)
    assert compared(new, old).split == (-40, -25)


def test_uncounted_work_has_no_split() -> None:
    unet = uncounted().components["unet"]
    more = replace(unet, calls=(replace(unet.calls[0], count=40), *unet.calls[1:]))
    part = compared(unet, more)
    assert part.split is None
    assert (part.delta.sign, part.delta.macs) == ("~", 10 * unet.calls[0].macs)


def test_calls_are_paired_by_their_inputs_before_their_order() -> None:
    maker = Maker("unet", "UNet")
    maker.linear("fc", 2, 3, 4)
    both, half = maker.call(20, tensor("x", 2, 3)), maker.call(10, tensor("x", 1, 3))
    part = compared(maker.component(maker.call(30, tensor("x", 2, 3))), maker.component(half, both))
    assert [(call.old and call.old.count, call.new and call.new.count) for call in part.calls] == [(30, 20), (None, 10)]
    assert part.modules == ()
    assert part.split == (0, 0)


def test_the_only_calls_of_a_module_belong_together_whatever_their_inputs() -> None:
    old, new = (text_encoder("text_encoder", "CLIP", 1, 4, length, calls=1) for length in (7, 9))
    part = compared(old, new)
    assert part.split == (0, new.macs - old.macs)
    assert {pair for group in group_changes(part.modules) for pair in group.sizes} == {("7", "9")}


def test_calls_that_cannot_be_told_apart_are_compared_as_a_whole() -> None:
    def component(*counts: tuple[int, int]) -> Component:
        calls = [
            Call("", count, (Input("x", (rows,), "float32"),), (OpRow("", "aten.mm", "linear", "", 1, rows),))
            for rows, count in counts
        ]
        return Component("c", "C", (), tuple(calls))

    part = compared(component((1, 1), (2, 1)), component((3, 1), (4, 1), (5, 2)))
    assert part.split is None
    assert [(row.change, row.delta.macs) for row in part.modules] == [("changed", 17 - 3)]


def test_modules_that_only_one_side_calls_run_now() -> None:
    whole = autoencoder()
    maker = Maker("vae", "AutoencoderKL")
    maker.convolution("encoder.conv", 4, 3, 2)
    encode = Call("encoder", 1, (tensor("x", 1, 3, 4),), tuple(maker.rows), {"encoder": 1, "encoder.conv": 1})
    maker.module("encoder.act", "SiLU")
    modules = (*whole.modules, *[record for record in maker.modules if record.path.startswith("encoder.")])
    idle = replace(whole, modules=modules)
    part = compared(idle, replace(idle, calls=(*whole.calls, encode)))
    assert [(row.change, row.old and row.old.path, row.aspects) for row in part.modules] == [("changed", "encoder", ("runs",))]
    assert part.modules[0].delta == Delta(Total(), Total(4 * 3 * 2 * 9))
    assert part.modules[0].new
    assert part.modules[0].new.modules == 2  # the activation runs on neither side
    assert part.split == (4 * 3 * 2 * 9, 0)


# --- changed


def test_widths_are_told_and_equal_blocks_are_one_row() -> None:
    new = net()
    for number in range(3):
        new = widened(new, f"{BLOCKS}.{number}.ff.in")
    (group,) = folded(net(), new)
    assert (group.first.change, group.new_path, len(group.members)) == ("changed", f"{BLOCKS}.0…2.ff.in", 3)
    assert group.first.aspects == ("params", "shapes", "macs")
    assert group.sizes == (("32", "64"),)
    assert group.delta == Delta(Total(3 * 2 * 6 * 8 * 32), Total(3 * 2 * 6 * 8 * 64))


def test_layers_whose_sizes_changed_otherwise_are_rows_of_their_own() -> None:
    new = widened(widened(net(), f"{BLOCKS}.0.ff.in", 2), f"{BLOCKS}.1.ff.in", 3)
    assert [(group.new_path, group.sizes) for group in folded(net(), new)] == [
        (f"{BLOCKS}.1.ff.in", (("32", "96"),)),
        (f"{BLOCKS}.0.ff.in", (("32", "64"),)),
    ]


def test_layers_of_one_block_that_changed_alike_are_one_row() -> None:
    new = net()
    for name in ("to_q", "to_k"):
        new = widened(new, f"{BLOCKS}.1.attn.{name}")
    assert [group.new_path for group in folded(net(), new)] == [f"{BLOCKS}.1.attn." + "{to_k,to_q}"]


def test_equal_macs_on_other_shapes_are_seen() -> None:
    def change(row: OpRow) -> list[OpRow]:
        return [row._replace(shapes="1x2x6x4 -> 1x2x6x4")] if row.kind == "attention" else [row]

    (group,) = folded(net(), with_rows(net(), change))
    assert (group.first.aspects, group.delta.macs) == (("shapes",), 0)
    assert group.sizes == (("1x6x8, 1x6x8, 1x6x8 -> 1x6x8", "1x2x6x4 -> 1x2x6x4"),)


def test_a_refactoring_with_equal_macs_is_seen_by_its_operators() -> None:
    new = spelled_out(net(), f"{BLOCKS}.1.attn")
    (group,) = folded(net(), new)
    assert new.total == net().total
    assert group.first.aspects == ("ops", "free ops")
    assert group.lost == (("aten.scaled_dot_product_attention.default", 1),)
    assert group.gained == (("aten.matmul.default", 2), ("aten.softmax.int", 1))
    assert not group.first.quiet


def test_operators_that_cost_nothing_make_a_quiet_row() -> None:
    def change(row: OpRow) -> list[OpRow]:
        return [row, OpRow(row.path, "aten.softmax.int", "normalisation", "", 1, 0)] if row.kind == "attention" else [row]

    part = compared(net(), with_rows(net(), change))
    assert {row.aspects for row in part.modules} == {("free ops",)}
    assert (part.change, part.loud, len(part.modules)) == ("equal", (), 3)


def test_where_an_operator_is_written_is_no_change() -> None:
    assert rows(net(), with_rows(net(), lambda row: [row._replace(source="elsewhere.py:1", note="why")])) == []


@pytest.mark.parametrize(
    ("fields", "aspects"), [({"class_name": "GEGLU"}, ("class",)), ({"params": 7}, ("params",)), ({"class_name": ""}, ())]
)
def test_another_class_or_other_parameters_are_seen(fields: dict[str, object], aspects: tuple[str, ...]) -> None:
    found = rows(net(), with_record(net(), f"{BLOCKS}.1.ff", **fields))
    assert [row.aspects for row in found] == ([aspects] if aspects else [])


def test_a_module_that_runs_twice_in_a_call_is_seen() -> None:
    path = f"{BLOCKS}.0.norm1"
    call = net().calls[0]
    twice = replace(net(), calls=(replace(call, visits={**call.visits, path: 2}),))
    (row,) = rows(net(), twice)
    assert row.old
    assert row.new
    assert (row.aspects, row.old.visits, row.new.visits, row.old.calls, row.new.calls) == (("calls",), 1, 2, 2, 4)


def test_an_operator_that_is_no_longer_counted_is_seen_and_no_zero() -> None:
    def change(row: OpRow) -> list[OpRow]:
        return [row._replace(macs=None)] if row.path == "proj_out" else [row]

    (row,) = rows(net(), with_rows(net(), change))
    assert row.aspects == ("macs",)
    assert (row.delta.old, row.delta.new, row.delta.sign) == (Total(2 * 6 * 8 * 64), Total(uncounted=2), ">=")


# --- added and removed


def test_a_dropped_block_is_one_row() -> None:
    (row,) = rows(net(), without(net(), f"{BLOCKS}.2"))
    assert told([row]) == [("removed", f"{BLOCKS}.2", None)]
    assert row.old
    assert row.old.modules == 10
    assert row.old.total == next(node.total for node in net().tree.walk() if node.path == f"{BLOCKS}.2")


def test_added_blocks_that_are_equal_are_folded() -> None:
    (group,) = [
        group for group in folded(net(blocks=3), net(blocks=6)) if group.first.change == "added" and len(group.members) > 1
    ]
    assert (group.new_path, group.old_path) == (f"{BLOCKS}.3…4", "")
    assert group.delta.old == Total()


def test_a_component_of_one_side_is_one_row() -> None:
    found = diff(profile(net()), profile(net(), autoencoder()))
    part = found.find_component("vae")
    assert (part.change, told(part.modules), part.delta.new) == ("added", [("added", None, "")], autoencoder().total)
    assert part.split == (autoencoder().macs, 0)


# --- moved and renamed


def test_a_renamed_list_is_one_row_with_the_evidence() -> None:
    (row,) = rows(net(), renamed(net(), BLOCKS, "blocks"))
    assert told([row]) == [("moved", BLOCKS, "blocks")]
    assert row.evidence
    inside = [node for node in net().tree.walk() if node.path.startswith(BLOCKS)]
    assert row.evidence.class_name == "ModuleList"
    assert row.evidence.modules == len(inside)
    assert row.evidence.params == sum(node.params for node in inside)
    assert row.evidence.ops == sum(1 for op in net().calls[0].ops if op.path.startswith(BLOCKS))
    assert (row.evidence.before, row.evidence.after) == (("pos_embed", "pos_embed"), ("proj_out", "proj_out"))
    assert row.delta == Delta(*[Total.sum(node.self_total for node in inside)] * 2)


def test_a_layer_that_is_renamed_in_every_block_is_one_row() -> None:
    new = net()
    for number in range(3):
        new = renamed(new, f"{BLOCKS}.{number}.attn", f"{BLOCKS}.{number}.attention")
    (group,) = folded(net(), new)
    assert (group.first.change, group.old_path, group.new_path) == (
        "moved",
        f"{BLOCKS}.0…2.attn",
        f"{BLOCKS}.0…2.attention",
    )
    assert group.first.evidence
    assert (group.first.evidence.before, group.first.evidence.after) == (("norm1", "norm1"), ("ff", "ff"))


def test_a_change_inside_a_renamed_list_has_a_row_of_its_own() -> None:
    new = widened(renamed(net(), BLOCKS, "blocks"), "blocks.1.ff.in")
    found = rows(net(), new)
    assert told(found) == [("moved", BLOCKS, "blocks"), ("changed", f"{BLOCKS}.1.ff.in", "blocks.1.ff.in")]
    assert found[1].aspects == ("params", "shapes", "macs")


def test_a_layer_that_moves_to_another_parent_is_recognised() -> None:
    (moved, *others) = sorted(rows(net(), renamed(net(), "proj_out", "head.linear")), key=lambda row: row.change != "moved")
    assert told([moved]) == [("moved", "proj_out", "head.linear")]
    assert told(others) == [("added", None, "head")]


def test_names_inside_may_change_as_well() -> None:
    new = renamed(net(), BLOCKS, "layers")
    for number in range(3):
        new = renamed(new, f"layers.{number}.attn.to_q", f"layers.{number}.attn.query")
    (outer, *inner) = rows(net(), new)
    assert told([outer]) == [("moved", BLOCKS, "layers")]
    (group,) = group_changes(inner)
    assert (group.old_path, group.new_path) == (f"{BLOCKS}.0…2.attn.to_q", "layers.0…2.attn.query")


def test_equal_siblings_are_told_by_their_order() -> None:
    new = net()
    for old_name, new_name in (("to_q", "query"), ("to_k", "key"), ("to_v", "value")):
        new = renamed(new, f"{BLOCKS}.0.attn.{old_name}", f"{BLOCKS}.0.attn.{new_name}")
    found = {row.old.path.split(".")[-1]: row.new.path.split(".")[-1] for row in rows(net(), new) if row.old and row.new}
    assert found == {"to_q": "query", "to_k": "key", "to_v": "value"}


def test_two_lists_that_became_one_are_neither_of_them() -> None:
    def side(**lists: int) -> Component:
        maker, outside = Maker("unet", "UNet"), 2
        for name, layers in lists.items():
            maker.module(name, "ModuleList")
            for number in range(layers):
                outside += 1
                maker.linear(f"{name}.{number}", 2, 3, outside)
        return maker.component(maker.call(1))

    found = rows(side(first=2, second=3), side(both=5))
    assert sorted(row.change for row in found) == ["added", *["moved"] * 5, "removed", "removed"]
    assert told([row for row in found if row.change == "added"]) == [("added", None, "both")]


def test_a_list_of_which_less_than_half_is_the_same_is_another_one() -> None:
    def side(name: str, *widths: int) -> Component:
        maker = Maker("unet", "UNet")
        maker.module(name, "ModuleList")
        for number, outside in enumerate(widths):
            maker.linear(f"{name}.{number}", 2, 3, outside)
        return maker.component(maker.call(1))

    few = rows(side("first", 4, 5, 6), side("other", 4, 7, 8))
    assert set(told(few)) == {("removed", "first", None), ("moved", "first.0", "other.0"), ("added", None, "other")}
    most = rows(side("first", 4, 5, 6), side("other", 4, 5, 8))
    assert set(told(most)) == {("moved", "first", "other"), ("changed", "first.2", "other.2")}


def test_what_is_ambiguous_stays_added_and_removed() -> None:
    old = net()
    for name in ("to_q", "to_k", "to_v"):
        old = renamed(old, f"{BLOCKS}.0.attn.{name}", f"{BLOCKS}.0.attn.old_{name}")
    new = without(without(net(), f"{BLOCKS}.0.attn.to_out"), f"{BLOCKS}.0.attn.to_v")
    old = without(old, f"{BLOCKS}.0.attn.to_out")
    changes = [row.change for row in rows(old, new)]
    assert sorted(changes) == ["added"] * 2 + ["removed"] * 3


def test_neighbours_tell_which_of_several_equal_layers_is_left() -> None:
    old = listed(("Linear", 3), ("Norm", 0), ("Linear", 3), ("Act", 0))
    old = renamed(renamed(renamed(renamed(old, "0", "a"), "1", "norm"), "2", "b"), "3", "act")
    new = renamed(without(old, "a"), "b", "c")
    assert told(rows(old, new)) == [("removed", "a", None), ("moved", "b", "c")]


def test_the_same_work_in_blocks_of_other_numbers_is_not_taken_for_a_move() -> None:
    def side(*numbers: int) -> Component:
        maker = Maker("unet", "UNet")
        for number in range(4):
            maker.module(f"b.{number}", "Block", number + 1)
            if number in numbers:
                maker.linear(f"b.{number}.attn", 2, 3, 4)
        return maker.component(maker.call(1))

    assert sorted(row.change for row in rows(side(0, 2), side(1, 3))) == ["added", "added", "removed", "removed"]


def test_activations_without_parameters_are_never_taken_for_moved() -> None:
    old, new = Maker("m", "M"), Maker("m", "M")
    old.module("a", "A")
    old.module("a.act", "SiLU")
    new.module("b", "B")
    new.module("b.act", "SiLU")
    assert sorted(row.change for row in rows(old.component(old.call(1)), new.component(new.call(1)))) == ["added", "removed"]


def test_a_list_that_got_one_more_is_not_all_changed() -> None:
    found = rows(
        listed(("Linear", 3), ("Act", 0), ("Gated", 5)), listed(("Linear", 3), ("Dropout", 0), ("Act", 0), ("Gated", 5))
    )
    assert set(told(found)) == {("moved", "2", "3"), ("moved", "1", "2"), ("added", None, "1")}


def test_a_layer_of_another_class_in_the_same_place_is_changed() -> None:
    (row,) = rows(listed(("Linear", 3), ("Conv", 4)), listed(("Linear", 3), ("Other", 5)))
    assert (row.change, row.aspects) == ("changed", ("class", "params", "shapes", "macs"))


def test_reordered_layers_are_moved() -> None:
    found = rows(listed(("Linear", 3), ("Gated", 5)), listed(("Gated", 5), ("Linear", 3)))
    assert told(found) == [("moved", "1", "0"), ("moved", "0", "1")]
    assert all(row.evidence and row.evidence.params in {15, 25} for row in found)


# --- components


def test_a_renamed_component_is_recognised_by_class_and_modules() -> None:
    movq = replace(autoencoder(), name="movq")
    found = diff(profile(net(), movq), profile(net(), autoencoder()))
    part = found.find_component("movq")
    assert (part.name, part.change, part.modules) == ("vae", "renamed", ())
    assert part.evidence
    assert part.evidence.class_name == "AutoencoderKL"
    assert part.evidence.params == autoencoder().params
    assert found.find_component("vae") is part


def test_components_of_another_class_or_of_several_candidates_are_added_and_removed() -> None:
    movq = replace(autoencoder(), name="movq", class_name="VQModel")
    assert [part.change for part in diff(profile(movq), profile(autoencoder())).components] == ["removed", "added"]
    other = replace(autoencoder(), name="movq", modules=autoencoder().modules[: len(autoencoder().modules) // 2 - 1])
    assert [part.change for part in diff(profile(other), profile(autoencoder())).components] == ["removed", "added"]
    two = [replace(autoencoder(), name=name) for name in ("first", "second")]
    assert sorted(part.change for part in diff(profile(*two), profile(autoencoder())).components) == [
        "added",
        "removed",
        "removed",
    ]


def test_components_are_selected_on_either_side() -> None:
    found = diff(profile(net(), autoencoder()), profile(net(calls=5)))
    chosen = found.only(["vae"])
    assert [part.name for part in chosen.components] == ["vae"]
    assert chosen.delta == Delta(autoencoder().total, Total())
    with pytest.raises(UsageError) as caught:
        found.only(["unet"])
    assert caught.value.message == "neither net nor net has a component 'unet'"
    assert caught.value.hint == "one of transformer, vae"


# --- the run


def test_settings_that_differ_are_told() -> None:
    old = replace(profile(net(), steps=2, height=64), versions={"torch": "2.12", "fxprof": "1"})
    new = replace(profile(net(), steps=4, width=64), versions={"torch": "2.13", "fxprof": "1"})
    sizes = Geometry((64, 64), denoiser="transformer", denoiser_calls=2, tiling=True, text_tokens=(("t", (7,)),))
    found = diff(old, replace(new, geometry=sizes))
    assert found.versions == (Setting("torch", "2.12", "2.13"),)
    assert found.workload == (Setting("steps", 2, 4), Setting("height", 64, None), Setting("width", None, 64))
    assert {(item.name, item.new) for item in found.sizes} == {
        ("pixels", "64 x 64"),
        ("denoiser", "transformer"),
        ("denoiser calls", 2),
        ("tiling", True),
    }


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


# --- folding


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a.b"], "a.b"),
        ([], ""),
        ([""], ""),
        (["b.0.x", "b.1.x", "b.2.x"], "b.0…2.x"),
        (["b.9.x", "b.10.x"], "b.9…10.x"),
        (["b.0.x", "b.2.x"], "b.{0,2}.x"),
        (["b.0.q", "b.0.k"], "b.0.{k,q}"),
        ([f"b.{name}" for name in "vwxyz"], "b.*"),
        (["down.0.attn.q", "mid.attn.q"], "….{0,mid}.attn.q"),
        (["down.0.attn.q", "down.1.attn.q", "down.2.attn.q", "up.0.attn.q", "mid.attn.q", "out.attn.q"], "….attn.q"),
    ],
)
def test_paths_are_written_as_one(paths: list[str], expected: str) -> None:
    assert merge_paths(paths) == expected


def test_groups_come_by_the_size_of_their_difference() -> None:
    new = widened(widened(net(), "proj_out"), f"{BLOCKS}.0.ff.in", 9)
    assert [group.new_path for group in folded(net(), new)] == [f"{BLOCKS}.0.ff.in", "proj_out"]
