"""What `fxprof diff` does: get both profiles, write the report, and hold what grew to the limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import click

from fxprof.cli.options import Request
from fxprof.cli.work import prepare, profile_of, refuse_changes, strict_error, write
from fxprof.errors import FxprofError
from fxprof.reports import Document
from fxprof.reports.tables import Growth, display
from fxprof.result.compare import compare, select
from fxprof.result.diff import Diff
from fxprof.result.limits import Limit, Verdict, judge
from fxprof.result.profile import Profile
from fxprof.result.store import looks_like_profile


class GrowthError(FxprofError):
    """A total grew by more than `--fail-over` allows."""

    exit_code = 1


def report_diff(old: Request, new: Request, limits: tuple[Limit, ...], build: Callable[[Diff], Document]) -> None:
    """Compare two targets, write the document that `build` makes of it, then judge it.

    Raises:
        FxprofError: anything that fxprof refuses; after the report is written, what grew too much or is uncounted.
    """
    form = prepare(old.output)
    profiles = _profiles(old, new)
    names = old.counting.component
    whole = compare(*profiles)
    found = select(whole, names) if names else whole
    write(form.render(build(found)), old.output)
    _judge(judge(whole, limits, names), strict=old.counting.strict)
    if old.counting.strict:
        _refuse_uncounted(found)


def _profiles(old: Request, new: Request) -> tuple[Profile, Profile]:
    """Both profiles; options of the workload are for the sides that are not saved ones."""
    saved = [looks_like_profile(side.target) for side in (old, new)]
    if all(saved):
        refuse_changes(old, old.target, new.target)
    asked = [_bare(side) if is_saved else side for side, is_saved in zip((old, new), saved, strict=True)]
    return profile_of(asked[0]), profile_of(asked[1])


def _bare(request: Request) -> Request:
    return replace(request, workload={}, counting=replace(request.counting, formulas=()))


def _judge(verdicts: Iterable[Verdict], *, strict: bool) -> None:
    found = tuple(verdicts)
    exceeded = [_told(verdict) for verdict in found if verdict.outcome == "exceeded"]
    unsure = [_told(verdict) for verdict in found if verdict.outcome == "unsure"]
    if exceeded:
        raise GrowthError(f"grew by more than allowed: {'; '.join(exceeded)}")
    if unsure:
        message = f"uncounted or bounded work may decide whether it grew by more than allowed: {'; '.join(unsure)}"
        if strict:
            raise GrowthError(message, "declare the missing formulas in a file and name it with --formulas")
        click.echo(f"fxprof: {message}", err=True)


def _told(verdict: Verdict) -> str:
    """`transformer 249.3 T → 315.0 T MACs, +65.67 T (+26.3%), over +5%`."""
    delta = verdict.delta
    change = f"{display(delta.old)} -> {display(delta.new)} MACs, {display(delta)} ({display(Growth(delta))})"
    return f"{verdict.name} {change}, limit {verdict.limit.text}"


def _refuse_uncounted(found: Diff) -> None:
    for side in ("old", "new"):
        components = {part.name: component for part in found.components if (component := getattr(part, side))}
        subject = getattr(found, side)
        profile = Profile(subject.target, subject.class_name, subject.workload, subject.versions, components)
        if profile.total.uncounted:
            raise strict_error(profile)
