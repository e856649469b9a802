"""The rows of what changed in a small transformer, was added, and was removed; and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from compared import BLOCKS, compared, grouped, rows, told
from mutations import listed, net, profile, spelled_out, with_record, with_rows, without
from profiles import Maker, autoencoder, tensor

from fxprof.compare.delta import Delta
from fxprof.compare.profiles import compare_profiles as diff
from fxprof.result import Call, OpRow, Total


def test_equal_components_have_no_rows() -> None:
    part = compared(net(), net())
    assert (part.change, part.modules, part.split) == ("equal", (), (0, 0))
    assert part.equal_modules == sum(1 for _ in net().tree.walk())
    assert part.equal == Delta(net().total.of_macs, net().total.of_macs)


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


def test_a_refactoring_with_equal_macs_is_seen_by_its_operators() -> None:
    new = spelled_out(net(), f"{BLOCKS}.1.attn")
    (group,) = grouped(net(), new)
    assert new.total.macs == net().total.macs
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


def test_a_layer_of_another_class_in_the_same_place_is_changed() -> None:
    (row,) = rows(listed(("Linear", 3), ("Conv", 4)), listed(("Linear", 3), ("Other", 5)))
    assert (row.change, row.aspects) == ("changed", ("class", "params", "shapes", "macs"))


def test_a_dropped_block_is_one_row() -> None:
    (row,) = rows(net(), without(net(), f"{BLOCKS}.2"))
    assert told([row]) == [("removed", f"{BLOCKS}.2", None)]
    assert row.old
    assert row.old.modules == 10
    assert row.old.total == next(node.total.of_macs for node in net().tree.walk() if node.path == f"{BLOCKS}.2")


def test_a_component_of_one_side_is_one_row() -> None:
    found = diff(profile(net()), profile(net(), autoencoder()))
    part = found.find_component("vae")
    assert (part.change, told(part.modules), part.delta.new) == ("added", [("added", None, "")], autoencoder().total.of_macs)
    assert part.split == (autoencoder().macs, 0)
