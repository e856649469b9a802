"""The difference of two totals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fxprof.result.records import Total

_NONE = Total()


@dataclass(frozen=True, slots=True)
class Delta:
    """A total before and after."""

    old: Total = _NONE
    new: Total = _NONE

    @property
    def macs(self) -> int:
        """The difference of the counted MACs."""
        return self.new.macs - self.old.macs

    @property
    def amount(self) -> int:
        """The difference, whatever the diff measures: MACs by default."""
        return self.macs

    @staticmethod
    def sum(deltas: Iterable[Delta]) -> Delta:
        """The sums of all."""
        items = tuple(deltas)
        return Delta(Total.sum(delta.old for delta in items), Total.sum(delta.new for delta in items))

    @property
    def sign(self) -> str:
        """The sign as in `Total.sign`: ">=" if the difference may be more than `macs`, "<=" if it may be less, "~" for both."""
        more = self.new.uncounted or self.old.bounded
        less = self.new.bounded or self.old.uncounted
        return "~" if more and less else ">=" if more else "<=" if less else ""

    def __add__(self, other: Delta) -> Delta:
        """The sums of both."""
        return Delta(self.old + other.old, self.new + other.new)

    def __neg__(self) -> Delta:
        """The reverse diff."""
        return Delta(self.new, self.old)
