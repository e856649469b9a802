"""How much a total may grow: what is written, and what exceeds it."""

from __future__ import annotations

import pytest

from fxprof.compare.delta import Delta
from fxprof.compare.limits import read_limit
from fxprof.errors import UsageError
from fxprof.result import Total


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
        ("+1k", 0, 1001, True),
        ("+1g", 0, 10**9, False),
        ("0", 5, 6, True),
        ("0", 5, 5, False),
    ],
)
def test_growth_is_held_to_a_limit(text: str, old: int, new: int, exceeded: bool) -> None:
    assert read_limit(text).exceeded(Delta(Total(old), Total(new))) is exceeded


@pytest.mark.parametrize(
    "text", ["", "5", "+5", "-5%", "5 %%", "%", "G", "+1e3G", "\N{ARABIC-INDIC DIGIT FIVE}%", "+5%%", "unet:+5%", "+1.G"]
)
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"neither a percentage such as \+5% nor an amount of MACs such as \+10G"):
        read_limit(text)
