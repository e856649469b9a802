"""What the records of a diff derive from their two sides."""

from __future__ import annotations

from dataclasses import replace

import pytest
from compared import compared
from mutations import net, profile
from profiles import autoencoder, uncounted

from fxprof.compare.delta import Delta
from fxprof.compare.profiles import compare_profiles as diff
from fxprof.errors import UsageError
from fxprof.result import Call, Component, OpRow, Total


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


def test_components_are_selected_on_either_side() -> None:
    found = diff(profile(net(), autoencoder()), profile(net(calls=5)))
    chosen = found.only(["vae"])
    assert [part.name for part in chosen.components] == ["vae"]
    assert chosen.delta == Delta(autoencoder().total.of_macs, Total())
    with pytest.raises(UsageError) as caught:
        found.only(["unet"])
    assert caught.value.message == "neither net nor net has a component 'unet'"
    assert caught.value.hint == "one of transformer, vae"
