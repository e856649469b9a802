"""What the reports of one profile share: its title, the workload, and what is not exact about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from fxprof.errors import LONGEST
from fxprof.reports.tables import Note, plural, shorten
from fxprof.result import OpRow, Profile
from fxprof.result.remarks import fold_remarks
from fxprof.result.views import fold_repeats

_PROMPT = 50
"""Characters of a text of the workload that a report quotes."""
_FRAMES = ("frames", "num_frames", "video_length")
"""What the workload of a video says."""
_REMEDY = "a file that declares formulas, named with --formulas, counts what has none; docs/counting.md shows one"
_MODULES = 3
"""Modules that a note names."""


def title_of(profile: Profile) -> str:
    """Target and pipeline class."""
    return f"{profile.target}  {profile.class_name}"


def workload_of(profile: Profile) -> str:
    """The call's arguments on one line; those that are None are the absence of an argument."""
    names = {"images": f"{noun_of(profile.workload)}s"}
    given = {names.get(name, name): value for name, value in profile.workload.items() if value is not None}
    if given.get("frames") == given.get("num_frames"):
        given.pop("frames", None)  # what was asked for is what came out
    return ", ".join(f"{name} {value_of(value)}" for name, value in given.items())


def noun_of(workload: Mapping[str, object]) -> str:
    """What a pipeline makes: an `image` or, where frames are counted, a `video`."""
    return "video" if any(name in workload for name in _FRAMES) else "image"


def span_of(workload: Mapping[str, object]) -> str:
    """What one run of the pipeline makes: one `image`, one `video`, or just a `run`."""
    return noun_of(workload) if workload.get("images") == 1 else "run"


def value_of(value: object) -> str:
    """A value of the workload; texts of several words in quotes, and shortened."""
    return f'"{shorten(value, _PROMPT)}"' if isinstance(value, str) and " " in value else str(value)


def about(profile: Profile) -> dict[str, object]:
    """What programs are told about a profile besides the rows of a report."""
    total = {"macs": profile.macs, "uncounted": profile.total.uncounted, "bounded": profile.total.bounded}
    named = {"target": profile.target, "class_name": profile.class_name, "workload": dict(profile.workload)}
    told = {"approximations": sentences(profile.approximations), "remarks": sentences(profile.remarks)}
    return {**named, "versions": dict(profile.versions), **total, **told}


def sentences(told: Iterable[str]) -> tuple[str, ...]:
    """What is said of a profile as a whole, for people: what is said of many modules as one, and no sentence for ever."""
    return tuple(shorten(sentence, LONGEST) for sentence in fold_remarks(told))


def told_of(profile: Profile) -> tuple[str, ...]:
    """All sentences about a profile as a whole."""
    return sentences((*profile.remarks, *profile.approximations))


def told_notes(profile: Profile) -> Iterator[Note]:
    """What is approximate, and what else is to be known about the run."""
    for title, told in (("approximate", profile.approximations), ("remarks", profile.remarks)):
        if told:
            yield Note(title, sentences(told))


def inexact_notes(profile: Profile) -> tuple[Note, ...]:
    """What is uncounted and what is an upper bound, with the operators and the modules they occur in."""
    missing = tuple(describe(profile, lambda row: row.macs is None)) if profile.total.uncounted else ()
    bounded = tuple(describe(profile, lambda row: row.bounded)) if profile.total.bounded else ()
    notes = []
    if missing:
        missing += (_REMEDY,) if any(line.endswith("; no formula") for line in missing) else ()
        notes.append(Note("uncounted (sums with ≥ are lower bounds, shares are of what was counted)", missing))
    if bounded:
        notes.append(Note("counted as upper bounds (sums with ≤ are at most this)", bounded))
    return tuple(notes)


def describe(profile: Profile, concerned: Callable[[OpRow], bool]) -> Iterator[str]:
    """One line for each operator: how often it runs, in which modules, and why it is a concern."""
    found: dict[str, list[tuple[str, OpRow]]] = {}
    for component in profile.components.values():
        for node in fold_repeats(component.tree).walk():
            for row in filter(concerned, node.ops):
                found.setdefault(row.op, []).append((f"{component.name}.{node.path}" if node.path else component.name, row))
    for op in sorted(found):
        places = list(dict.fromkeys(place for place, _ in found[op]))
        notes = dict.fromkeys(row.note for _, row in found[op] if row.note)
        count = sum(row.count for _, row in found[op])
        yield "".join([f"{op}, {plural(count, 'time')}, in {_listed(places)}", *(f"; {note}" for note in notes)])


def _listed(places: list[str]) -> str:
    more = len(places) - _MODULES
    return ", ".join(places[:_MODULES]) + (f" and {more} more" if more > 0 else "")
