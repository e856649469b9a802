"""Rows that say the same are one group."""

from __future__ import annotations

from compared import BLOCKS, grouped
from mutations import net, widened, with_rows

from fxprof.compare.delta import Delta
from fxprof.result import OpRow, Total


def test_widths_are_told_and_equal_blocks_are_one_row() -> None:
    new = net()
    for number in range(3):
        new = widened(new, f"{BLOCKS}.{number}.ff.in")
    (group,) = grouped(net(), new)
    assert (group.first.change, group.new_path, len(group.members)) == ("changed", f"{BLOCKS}.0…2.ff.in", 3)
    assert group.first.aspects == ("params", "shapes", "macs")
    assert group.sizes == (("32", "64"),)
    assert group.delta == Delta(Total(3 * 2 * 6 * 8 * 32), Total(3 * 2 * 6 * 8 * 64))


def test_layers_whose_sizes_changed_otherwise_are_rows_of_their_own() -> None:
    new = widened(widened(net(), f"{BLOCKS}.0.ff.in", 2), f"{BLOCKS}.1.ff.in", 3)
    assert [(group.new_path, group.sizes) for group in grouped(net(), new)] == [
        (f"{BLOCKS}.1.ff.in", (("32", "96"),)),
        (f"{BLOCKS}.0.ff.in", (("32", "64"),)),
    ]


def test_layers_of_one_block_that_changed_alike_are_one_row() -> None:
    new = net()
    for name in ("to_q", "to_k"):
        new = widened(new, f"{BLOCKS}.1.attn.{name}")
    assert [group.new_path for group in grouped(net(), new)] == [f"{BLOCKS}.1.attn." + "{to_k,to_q}"]


def test_equal_macs_on_other_shapes_are_seen() -> None:
    def change(row: OpRow) -> list[OpRow]:
        return [row._replace(shapes="1x2x6x4 -> 1x2x6x4")] if row.kind == "attention" else [row]

    (group,) = grouped(net(), with_rows(net(), change))
    assert (group.first.aspects, group.delta.macs) == (("shapes",), 0)
    assert group.sizes == (("1x6x8, 1x6x8, 1x6x8 -> 1x6x8", "1x2x6x4 -> 1x2x6x4"),)


def test_added_blocks_that_are_equal_are_folded() -> None:
    (group,) = [
        group for group in grouped(net(blocks=3), net(blocks=6)) if group.first.change == "added" and len(group.members) > 1
    ]
    assert (group.new_path, group.old_path) == (f"{BLOCKS}.3…4", "")
    assert group.delta.old == Total()


def test_groups_come_by_the_size_of_their_difference() -> None:
    new = widened(widened(net(), "proj_out"), f"{BLOCKS}.0.ff.in", 9)
    assert [group.new_path for group in grouped(net(), new)] == [f"{BLOCKS}.0.ff.in", "proj_out"]
