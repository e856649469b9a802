"""The work of `fxprof diff`: get both profiles, write the report, and hold the growth to the limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from fxprof.cli.beside import both, pays
from fxprof.cli.group import say
from fxprof.cli.options import Request
from fxprof.cli.work import check_shown, options_of, prepare, profile_of, rendered, strict_error, write
from fxprof.compare.diff import Diff
from fxprof.compare.limit_checks import LimitCheck, check_limits, check_units
from fxprof.compare.limits import Limit
from fxprof.compare.profiles import compare_profiles
from fxprof.errors import FxprofError
from fxprof.reports import Document
from fxprof.reports.cells import Growth, display
from fxprof.result.measures import MACS, Measure, find_measure
from fxprof.result.profile import Profile
from fxprof.source.targets import CAPTURED, Target, find_target, refuse_untaken


class GrowthError(FxprofError):
    """A total grew by more than `--fail-over` allows."""

    exit_code = 1


Build = Callable[[Diff, tuple[LimitCheck, ...]], Document]
"""A function from a diff and the outcomes of its limits to a report."""


def report_diff(old: Request, new: Request, limits: tuple[Limit, ...], build: Build, measure: str = "macs") -> None:
    """Compare two targets in a measure, write the document that `build` makes of it, then hold it to the limits.

    Raises:
        FxprofError: anything that fxprof refuses; after the report is written, too much growth or uncounted work.
    """
    form = prepare(old.output)
    check_units(limits, measure)
    check_shown(old.counting, measure)
    profiles = _profiles(old, new)
    names = old.counting.component
    whole = compare_profiles(*profiles, measure)
    selected = whole.only(names) if names else whole
    checks = check_limits(whole, limits, names)
    write(rendered(form, build(selected, checks), old.output), old.output)
    _refuse_growth(whole, checks, strict=old.counting.strict)
    if old.counting.strict:
        _refuse_uncounted(selected)


def _profiles(old: Request, new: Request) -> tuple[Profile, Profile]:
    """Both profiles; each side gets the options that it takes.

    Raises:
        UsageError: an option that neither side takes.
    """
    with find_target(old.target) as first, find_target(new.target) as second:
        refuse_untaken((first, second), options_of(old))
        sides = partial(profile_of, _fit(old, first), first), partial(profile_of, _fit(new, second), second)
        captured = first.sort in CAPTURED or second.sort in CAPTURED
        if not captured and old.target != new.target and pays():
            return both(*sides)
        return sides[0](), sides[1]()


def _fit(request: Request, target: Target) -> Request:
    """The request without the options that its target does not take."""
    takes = target.sort.takes
    workload = {name: value for name, value in request.workload.items() if name in takes}
    formulas = request.counting.formulas if "formulas" in takes else ()
    whole = request.counting.whole and "whole" in takes
    return replace(request, workload=workload, counting=replace(request.counting, formulas=formulas, whole=whole))


def _refuse_growth(diff: Diff, checks: tuple[LimitCheck, ...], *, strict: bool) -> None:
    measure = find_measure(diff.measure)
    exceeded = [_told(check, measure) for check in checks if check.outcome == "exceeded"]
    unsure = [_told(check, measure) for check in checks if check.outcome == "unsure"]
    names = ", ".join(item.name for item in diff.workload)
    differs = f"; the workload differs in {names}" if names else ""
    if exceeded:
        hint = "compare runs of one workload: give the options of the old profile" if names else ""
        raise GrowthError(f"grew by more than allowed: {'; '.join(exceeded)}{differs}", hint)
    if unsure:
        decides = f"{measure.missing} or bounded work may decide whether it grew by more than allowed"
        message = f"{decides}: {'; '.join(unsure)}{differs}"
        if strict:
            hint = "declare the missing formulas in a file and name it with --formulas" if measure is MACS else ""
            raise GrowthError(message, hint)
        say(f"fxprof: {message}")


def _told(check: LimitCheck, measure: Measure) -> str:
    """`transformer 249.3 T -> 315.0 T MACs, +65.67 T (+26.3%), limit +5%`."""
    delta, unit = check.delta, measure.unit
    old, new = display(delta.old, unit), display(delta.new, unit)
    change = f"{old} -> {new} {measure.word}, {display(delta, unit)} ({display(Growth(delta))})"
    return f"{check.name} {change}, limit {check.limit.text}"


def _refuse_uncounted(diff: Diff) -> None:
    for side in ("old", "new"):
        components = {part.name: component for part in diff.components if (component := getattr(part, side))}
        subject = getattr(diff, side)
        profile = Profile(subject.target, subject.class_name, subject.workload, subject.versions, components)
        if profile.total.uncounted:
            raise strict_error(profile, find_measure(diff.measure))
