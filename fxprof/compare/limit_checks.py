"""The check whether a total grew by more than a limit allows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fxprof.compare.delta import Delta
from fxprof.compare.diff import Diff
from fxprof.compare.limits import Limit
from fxprof.errors import UsageError
from fxprof.result.measures import find_measure
from fxprof.result.profile import Component


@dataclass(frozen=True, slots=True)
class LimitCheck:
    """The outcome of a limit for a component or the total."""

    name: str
    """The name of the component, or `total`."""
    limit: Limit
    delta: Delta
    outcome: str
    """`within`, `exceeded`, or `unsure` if uncounted or bounded work may decide."""


def check_limits(diff: Diff, limits: Iterable[Limit], components: Iterable[str] = ()) -> tuple[LimitCheck, ...]:
    """Check the limits for the named components, or for the total if none is named.

    Raises:
        UsageError: a name is a component of neither side, or a limit is in another unit than the diff.
    """
    limits = tuple(limits)
    check_units(limits, diff.measure)
    names = tuple(dict.fromkeys(components))
    rows = [(name, diff.find_component(name).delta, _settled(diff, [name])) for name in names]
    rows = rows or [("total", diff.delta, _settled(diff, ()))]
    return tuple(
        LimitCheck(name, limit, delta, _outcome(limit, delta, settled=settled))
        for name, delta, settled in rows
        for limit in limits
    )


def check_units(limits: Iterable[Limit], measure: str) -> None:
    """Check that limits in bytes meet a measure of bytes.

    Raises:
        UsageError: a limit is in bytes, and the measure is not.
    """
    counted = find_measure(measure)
    wrong = [limit.text for limit in limits if limit.in_bytes and counted.field_unit != "bytes"]
    if wrong:
        raise UsageError(f"the limit {wrong[0]} is in bytes, and the measure {measure} is in {counted.field_unit}")


def _outcome(limit: Limit, delta: Delta, *, settled: bool) -> str:
    """The outcome of one limit; with unknown work, only an outcome that holds for any amount of it.

    Unknown work that is the same on both sides cancels in a difference, but can be any share of the whole.
    """
    if settled and delta.macs <= 0:
        return "within"
    against = Delta(delta.old) if limit.percent else Delta()
    sign = against.sign if settled else delta.sign
    if limit.exceeded(delta):
        return "exceeded" if sign in {"", ">="} else "unsure"
    return "within" if sign in {"", "<="} else "unsure"


_Work = dict[tuple[str, str], int]


def count_unknown_work(diff: Diff) -> dict[tuple[str, str], tuple[int, int]]:
    """(operator, shapes) of uncounted or bounded work to its executions before and after, in one run of the pipeline."""
    shapes = diff.shapes_compared
    old, new = (_unknown((getattr(part, side) for part in diff.components), shapes=shapes) for side in ("old", "new"))
    return {key: (old.get(key, 0), new.get(key, 0)) for key in sorted({**old, **new})}


def _settled(diff: Diff, names: Iterable[str]) -> bool:
    """Whether the unknown work is the same on both sides, by its operators and shapes."""
    parts = [diff.find_component(name) for name in names] or diff.components
    old, new = (_unknown((getattr(part, side) for part in parts), shapes=True) for side in ("old", "new"))
    return diff.shapes_compared and old == new


def _unknown(components: Iterable[Component | None], *, shapes: bool) -> _Work:
    work: _Work = {}
    for call in (call for component in components if component for call in component.calls):
        for row in call.ops:
            if row.macs is None or row.bounded:
                key = row.op, row.shapes if shapes else ""
                work[key] = work.get(key, 0) + row.count * call.count
    return work
