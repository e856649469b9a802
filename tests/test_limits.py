"""How much a total may grow: what is written, and what is exceeded when something is not known."""

from __future__ import annotations

from dataclasses import replace

import pytest
from mutations import net, profile, with_rows
from profiles import autoencoder

from fxprof.compare.delta import Delta
from fxprof.compare.limit_checks import check_limits, count_unknown_work
from fxprof.compare.limits import read_limit
from fxprof.compare.profiles import compare_profiles as diff
from fxprof.errors import UsageError
from fxprof.result import Component, OpRow, Total


@pytest.mark.parametrize(
    ("text", "old", "new", "exceeded"),
    [
        ("+5%", 100, 105, False),
        ("+5%", 100, 106, True),
        ("5%", 100, 106, True),
        ("+2.5%", 1000, 1025, False),
        ("+2.5%", 1000, 1026, True),
        ("+0%", 100, 100, False),
        ("+0%", 100, 101, True),
        ("+5%", 100, 1, False),
        ("+5%", 0, 0, False),
        ("+5%", 0, 1, True),
        ("+900%", 0, 1, True),
        ("+33.3%", 3 * 10**18, 4 * 10**18, True),
        ("+10K", 0, 10_000, False),
        ("+10K", 0, 10_001, True),
        ("+1.5M", 0, 1_500_001, True),
        ("+10G", 5, 10**10 + 5, False),
        ("+1T", 0, 10**12 + 1, True),
        ("+1P", 0, 10**15, False),
    ],
)
def test_growth_is_held_to_a_limit(text: str, old: int, new: int, exceeded: bool) -> None:
    assert read_limit(text).exceeded(Delta(Total(old), Total(new))) is exceeded


@pytest.mark.parametrize(
    "text", ["", "5", "+5", "-5%", "5 %%", "%", "G", "+1e3G", "+5g", "\N{ARABIC-INDIC DIGIT FIVE}%", "+5%%", "unet:+5%", "+1.G"]
)
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"neither a percentage such as \+5% nor an amount of MACs such as \+10G"):
        read_limit(text)


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
