"""The difference of two totals."""

from __future__ import annotations

from fxprof.compare.delta import Delta
from fxprof.result import Total


def test_a_delta_of_what_is_uncounted_says_so() -> None:
    exact, least, most = Total(5), Total(5, uncounted=1), Total(5, bounded=1)
    signs = {(old, new): Delta(old, new).sign for old in (exact, least, most) for new in (exact, least, most)}
    assert signs == {
        (exact, exact): "",
        (exact, least): ">=",
        (exact, most): "<=",
        (least, exact): "<=",
        (least, least): "~",
        (least, most): "<=",
        (most, exact): ">=",
        (most, least): ">=",
        (most, most): "~",
    }
