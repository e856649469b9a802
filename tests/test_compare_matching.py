"""Modules that moved or got another name are recognised; what is ambiguous is not guessed."""

from __future__ import annotations

from compared import BLOCKS, grouped, rows, told
from mutations import listed, net, renamed, widened, without
from profiles import Maker

from fxprof.compare.delta import Delta
from fxprof.compare.groups import group_changes
from fxprof.compare.matching import Matching, Module
from fxprof.compare.traits import find_traits
from fxprof.result import Component, Total


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
    assert row.delta == Delta(*[Total.sum(node.self_total.of_macs for node in inside)] * 2)


def test_a_layer_that_is_renamed_in_every_block_is_one_row() -> None:
    new = net()
    for number in range(3):
        new = renamed(new, f"{BLOCKS}.{number}.attn", f"{BLOCKS}.{number}.attention")
    (group,) = grouped(net(), new)
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


def test_reordered_layers_are_moved() -> None:
    found = rows(listed(("Linear", 3), ("Gated", 5)), listed(("Gated", 5), ("Linear", 3)))
    assert told(found) == [("moved", "1", "0"), ("moved", "0", "1")]
    assert all(row.evidence and row.evidence.params in {15, 25} for row in found)


def test_a_long_row_of_look_alikes_is_paired_in_a_bounded_number_of_rounds() -> None:
    """Without weights, other names on both sides, a number among them on each, and one more than before."""

    def row(names: list[str]) -> Component:
        maker = Maker("x", "Net")
        maker.module("list", "Layers")
        maker.module("list.anchor", "Anchor")
        for name in names:
            maker.module(f"list.{name}", "Identity")
        return Component(maker.name, maker.class_name, tuple(maker.modules), ())

    old = row([*(f"o{number}" for number in range(400)), "7"])
    new = row([*(f"n{number}" for number in range(401)), "8"])
    trees = [Module(side.tree, None, 0, find_traits(side, (), shapes=True)) for side in (old, new)]
    assert Matching(*trees)._rounds <= 60
