"""Limits for the growth of a total. Every command imports this file to describe its options, so it imports very little."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from fxprof.errors import UsageError

if TYPE_CHECKING:
    from fxprof.compare.delta import Delta

_SCALES = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_WRITTEN = re.compile(r"\+?(\d{1,12}(?:\.\d{1,9})?)(?:(%)|([KMGTPkmgtp])(i?B)?)|(0)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Limit:
    """The largest allowed growth: a share of the old total, or an amount of MACs or of another measure."""

    text: str
    """The limit as the user wrote it."""
    amount: Fraction
    percent: bool
    in_bytes: bool = False
    """Whether the amount is written in bytes, which not every measure has."""

    def exceeded(self, delta: Delta) -> bool:
        """Whether the counted MACs grew by more; from zero, any growth exceeds a percentage."""
        allowed = self.amount * delta.old.macs / 100 if self.percent else self.amount
        return delta.macs > allowed


def read_limit(text: str) -> Limit:
    """Read `+5%` or `+10G`; K, M, G, T and P are powers of a thousand, before `iB` of 1024 bytes.

    Raises:
        UsageError: it is neither.
    """
    match = _WRITTEN.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is neither a percentage such as +5% nor an amount of MACs such as +10G (K, M, G, T or P)")
    amount, scale = Fraction(match[1] or match[5]), _SCALES.get((match[3] or "").upper(), 1)
    if match[4] == "iB":
        scale = 1024 ** (len(str(scale)) // 3)
    return Limit(text.strip(), amount * scale, percent=bool(match[2]), in_bytes=bool(match[4]))
