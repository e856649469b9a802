"""Which calls and components of two profiles belong together."""

from __future__ import annotations

from dataclasses import replace

import pytest
from compared import compared
from mutations import net, profile
from profiles import Maker, autoencoder, tensor, text_encoder

from fxprof.compare import pairing
from fxprof.compare.groups import group_changes
from fxprof.compare.profiles import compare_profiles as diff
from fxprof.result import Call, Component, Input, OpRow


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


def test_components_that_all_look_alike_are_looked_at_twice_each(monkeypatch: pytest.MonkeyPatch) -> None:
    looked, own = [0], pairing._Look.is_like

    def is_like(look: pairing._Look, other: pairing._Look) -> bool:
        looked[0] += 1
        return own(look, other)

    monkeypatch.setattr(pairing._Look, "is_like", is_like)
    old, new = (profile(*(replace(net(), name=f"{side}{number}") for number in range(100))) for side in ("old", "new"))
    pairs = pairing.pair_components(old, new)
    assert all(before is None or after is None for before, after in pairs)
    assert len(pairs) == 200
    assert looked[0] == 2 * 100
