"""How much a total may grow, and whether it did. Pure; the standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from fxprof.errors import UsageError
from fxprof.result.compare import find_part
from fxprof.result.diff import Delta, Diff
from fxprof.result.profile import Component

_SCALES = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_WRITTEN = re.compile(r"\+?(\d{1,12}(?:\.\d{1,9})?)([%KMGTP])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Limit:
    """The largest growth that passes: a share of what was there before, or an amount of MACs."""

    text: str
    """As it was written."""
    amount: Fraction
    percent: bool

    def exceeded(self, delta: Delta) -> bool:
        """Whether what was counted grew by more; where there was nothing before, any growth is more than a percentage."""
        allowed = self.amount * delta.old.macs / 100 if self.percent else self.amount
        return delta.macs > allowed


def read_limit(text: str) -> Limit:
    """Read `+5%` or `+10G`; K, M, G, T and P are thousands of MACs.

    Raises:
        UsageError: it is neither.
    """
    match = _WRITTEN.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is neither a percentage such as +5% nor an amount of MACs such as +10G")
    amount, unit = Fraction(match[1]), match[2]
    return Limit(text.strip(), amount * _SCALES.get(unit, 1), percent=unit == "%")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a limit says about a component or the total."""

    name: str
    """Of the component, or `total`."""
    limit: Limit
    delta: Delta
    outcome: str
    """`within`, `exceeded`, or `unsure` where uncounted or bounded work may decide."""


def judge(found: Diff, limits: Iterable[Limit], components: Iterable[str] = ()) -> tuple[Verdict, ...]:
    """What the limits say about the named components, or about the total when none is named.

    Raises:
        UsageError: a name is a component of neither side.
    """
    names = tuple(dict.fromkeys(components))
    rows = [(name, find_part(found, name).delta, _settled(found, [name])) for name in names]
    rows = rows or [("total", found.delta, _settled(found, ()))]
    return tuple(
        Verdict(name, limit, delta, _outcome(limit, delta, settled=settled))
        for name, delta, settled in rows
        for limit in limits
    )


def _outcome(limit: Limit, delta: Delta, *, settled: bool) -> str:
    """Where something is not known, only what holds whatever it is.

    Work that is not known but is the same on both sides cancels in a difference, and can be any share of the whole.
    """
    if settled and delta.macs <= 0:
        return "within"
    against = Delta(delta.old) if limit.percent else Delta()
    sign = against.sign if settled else delta.sign
    if limit.exceeded(delta):
        return "exceeded" if sign in {"", ">="} else "unsure"
    return "within" if sign in {"", "<="} else "unsure"


_Work = dict[tuple[str, str], int]


def unknown_work(found: Diff) -> dict[tuple[str, str], tuple[int, int]]:
    """(operator, shapes) of what is uncounted or bounded to its executions before and after, in one run of the pipeline."""
    shapes = found.shapes_compared
    old, new = (_unknown((getattr(part, side) for part in found.components), shapes=shapes) for side in ("old", "new"))
    return {key: (old.get(key, 0), new.get(key, 0)) for key in sorted({**old, **new})}


def _settled(found: Diff, names: Iterable[str]) -> bool:
    """Whether what is not known is the same on both sides, as far as operators and shapes tell."""
    parts = [find_part(found, name) for name in names] or found.components
    old, new = (_unknown((getattr(part, side) for part in parts), shapes=True) for side in ("old", "new"))
    return found.shapes_compared and old == new


def _unknown(components: Iterable[Component | None], *, shapes: bool) -> _Work:
    work: _Work = {}
    for call in (call for component in components if component for call in component.calls):
        for row in call.ops:
            if row.macs is None or row.bounded:
                key = row.op, row.shapes if shapes else ""
                work[key] = work.get(key, 0) + row.count * call.count
    return work
