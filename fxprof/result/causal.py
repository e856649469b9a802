"""A profile whose causal attention counts only the pairs that its mask leaves; see `fxprof.cost.causal` for the rule."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from fxprof.errors import TargetError, UsageError
from fxprof.result.records import Call, OpRow
from fxprof.trace.collector import uncollected

if TYPE_CHECKING:  # for annotations alone: a profile imports this file
    from fxprof.result.profile import Component, Profile

CHOICES = ("full", "half")
"""How causal attention is counted: every pair of a query and a key, or those of the lower triangle."""


def check_causal(causal: str) -> None:
    """Check the choice.

    Raises:
        UsageError: it is none of `CHOICES`.
    """
    if causal not in CHOICES:
        raise UsageError(f"causal attention cannot be counted {causal!r}", f"one of {', '.join(CHOICES)}")


_HALF = ": attention that says it is causal counts half, the lower triangle of its scores"
_NONE = "no attention says by its own argument that it is causal, so counting that half changes nothing"


@uncollected()
def count_causal(profile: Profile, causal: str) -> Profile:
    """The profile with causal attention counted in full or half; one that is counted half already stays so.

    Raises:
        UsageError: `causal` is none of `CHOICES`.
        TargetError: the profile does not say which attention is causal.
    """
    check_causal(causal)
    if causal == "full":
        return profile
    if any(row.masked is None for component in profile.components.values() for call in component.calls for row in call.ops):
        message = f"{profile.target} cannot be counted with causal attention half: the profile does not say which is causal"
        raise TargetError(message, "profile the target again: an early fxprof did not save that")
    components = {name: _halved(component) for name, component in profile.components.items()}
    changed = [name for name, component in components.items() if component is not profile.components[name]]
    if not changed and any(remark.endswith(_HALF) for remark in profile.remarks):
        return profile
    remark = f"{', '.join(changed)}{_HALF}" if changed else _NONE
    return replace(profile, components=components, remarks=(*profile.remarks, remark))


def _halved(component: Component) -> Component:
    if not any(row.masked for call in component.calls for row in call.ops):
        return component
    return replace(component, calls=tuple(map(_half, component.calls)))


def _half(call: Call) -> Call:
    ops = tuple([_seen(row) if row.masked else row for row in call.ops])
    if not call.unused:
        return replace(call, ops=ops)
    before, after = _by_path(call.ops), _by_path(ops)
    unused = {path: after[path] if macs == before[path] else min(macs, after[path]) for path, macs in call.unused.items()}
    return replace(call, ops=ops, unused={path: macs for path, macs in unused.items() if macs})


def _seen(row: OpRow) -> OpRow:
    return row._replace(macs=(row.macs or 0) - (row.masked or 0), masked=0)


def _by_path(ops: tuple[OpRow, ...]) -> Counter[str]:
    macs: Counter[str] = Counter()
    for row in ops:
        macs[row.path] += row.macs or 0
    return macs
