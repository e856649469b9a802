"""Whether a total grew by more than a limit allows, when something is not known, too."""

from __future__ import annotations

from dataclasses import replace

import pytest
from mutations import net, profile, with_rows
from profiles import autoencoder

from fxprof.compare.limit_checks import check_limits, count_unknown_work
from fxprof.compare.limits import read_limit
from fxprof.compare.profiles import compare_profiles as diff
from fxprof.errors import UsageError
from fxprof.result import Component, OpRow


def test_limits_are_for_the_total_or_for_each_named_component() -> None:
    found = diff(profile(net(), autoencoder()), profile(net(calls=3), autoencoder()))
    limits = [read_limit("+5%"), read_limit("+1G")]
    assert [(item.name, item.limit.text, item.outcome) for item in check_limits(found, limits)] == [
        ("total", "+5%", "within"),
        ("total", "+1G", "within"),
    ]
    assert [(item.name, item.limit.text, item.outcome) for item in check_limits(found, limits, ["vae", "transformer"])] == [
        ("vae", "+5%", "within"),
        ("vae", "+1G", "within"),
        ("transformer", "+5%", "exceeded"),
        ("transformer", "+1G", "within"),
    ]
    with pytest.raises(UsageError, match="has a component 'unet'"):
        check_limits(found, limits, ["unet"])


def test_a_removed_component_is_within_and_a_new_one_over_any_percentage() -> None:
    found = diff(profile(net()), profile(autoencoder()))
    outcomes = check_limits(found, [read_limit("+999%")], ["transformer", "vae"])
    assert [(item.name, item.outcome) for item in outcomes] == [("transformer", "within"), ("vae", "exceeded")]


# --- what is not known


def outcome(old: Component, new: Component, text: str) -> str:
    (check,) = check_limits(diff(profile(old), profile(new)), [read_limit(text)])
    return check.outcome


def unknown(component: Component, shapes: str = "") -> Component:
    """With an operator at the end that is not counted."""
    row = OpRow("", "mylib.fused.default", "unknown", "", 1, None, shapes=shapes)
    return replace(component, calls=tuple(replace(call, ops=(*call.ops, row)) for call in component.calls))


def at_most(component: Component) -> Component:
    """With its attention as an upper bound."""
    return with_rows(component, lambda row: [row._replace(bounded=row.kind == "attention")])


def dearer(component: Component) -> Component:
    """With a product of a thousand times its MACs at the end."""
    row = OpRow("", "aten.mm.default", "matmul", "", 1, 1000 * component.calls[0].macs, shapes="1x1, 1x1 -> 1x1")
    return replace(component, calls=tuple(replace(call, ops=(*call.ops, row)) for call in component.calls))


def test_what_may_be_more_than_was_counted_exceeds_or_is_unsure() -> None:
    assert outcome(net(), unknown(dearer(net())), "+5%") == "exceeded"
    assert outcome(net(), unknown(net()), "+5%") == "unsure"
    assert outcome(at_most(net()), dearer(net()), "+5%") == "exceeded"
    assert outcome(at_most(net()), net(), "+5%") == "unsure"


def test_what_may_be_less_than_was_counted_is_within_or_unsure() -> None:
    assert outcome(unknown(net()), net(), "+5%") == "within"
    assert outcome(unknown(net()), dearer(net()), "+5%") == "unsure"
    assert outcome(net(), at_most(net()), "+5%") == "within"
    assert outcome(net(), at_most(dearer(net())), "+5%") == "unsure"


def test_unknown_work_that_is_the_same_cancels_in_an_amount_but_not_in_a_share() -> None:
    assert outcome(unknown(net()), unknown(dearer(net())), "+1K") == "exceeded"
    assert outcome(unknown(net()), unknown(dearer(net())), "+1P") == "within"
    assert outcome(unknown(net()), unknown(dearer(net())), "+5%") == "unsure"  # it may be nearly all of both
    assert outcome(unknown(net()), unknown(net()), "+0%") == "within"
    assert outcome(at_most(net()), at_most(dearer(net())), "+5%") == "exceeded"


def test_unknown_work_on_other_shapes_does_not_cancel() -> None:
    assert outcome(unknown(net(), "1x2 -> 1x2"), unknown(dearer(net()), "1x4 -> 1x4"), "+1K") == "unsure"
    assert outcome(unknown(net(), "1x2 -> 1x2"), unknown(net(), "1x4 -> 1x4"), "+1P") == "unsure"


def test_unknown_work_is_told_by_operator_and_shapes() -> None:
    found = diff(profile(unknown(net(calls=2), "1 -> 1")), profile(unknown(net(calls=5), "1 -> 1"), unknown(autoencoder())))
    assert count_unknown_work(found) == {
        ("mylib.fused.default", ""): (0, 2),
        ("mylib.fused.default", "1 -> 1"): (2, 5),
    }
    assert count_unknown_work(diff(profile(), profile())) == {}
