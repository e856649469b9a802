"""Parts that the reports of one profile share: its overview, the workload in words, remarks and inexact numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from fxprof.errors import LONGEST
from fxprof.reports.document import Note, Overview
from fxprof.reports.rows import name_values
from fxprof.reports.words import format_count, shorten
from fxprof.result import OpRow, Profile
from fxprof.result.measures import MACS, Measure
from fxprof.result.remarks import fold_remarks
from fxprof.result.views import fold_repeats

_PROMPT = 50
"""Characters that a report quotes of a text in the workload."""
_FRAMES = ("frames", "num_frames", "video_length")
"""Arguments that the workload of a video has."""
_REMEDY = "to count these, declare formulas in a file and name it with --formulas; docs/counting.md shows how"
_MODULES = 3
"""Modules that a note names."""


def describe_profile(profile: Profile, *facts: tuple[str, str], measure: Measure = MACS) -> Overview:
    """The overview of a report of one profile.

    Args:
        profile: the profile, in the measure.
        facts: (label, text), further facts for people.
        measure: what the report counts.
    """
    return Overview(
        title=f"{profile.target}  {profile.class_name}",
        facts=(("workload", format_workload(profile)), *describe_measure(measure), *facts),
        values=collect_values(profile, measure),
        sentences=fold_sentences((*profile.remarks, *profile.approximations)),
    )


def describe_measure(measure: Measure) -> tuple[tuple[str, str], ...]:
    """What the report counts, as a fact for people; none for MACs."""
    return (("measure", f"{measure.name}: {measure.meaning}"),) if measure.meaning else ()


def format_workload(profile: Profile) -> str:
    """The call's arguments on one line, without those that are None."""
    names = {"images": f"{name_product(profile.workload)}s"}
    given = {names.get(name, name): value for name, value in profile.workload.items() if value is not None}
    if given.get("frames") == given.get("num_frames"):
        given.pop("frames", None)  # the pipeline made the requested number
    return ", ".join(f"{name} {format_value(value)}" for name, value in given.items())


def name_product(workload: Mapping[str, object]) -> str:
    """The product of a pipeline: an `image`, or a `video` if the workload has frames."""
    return "video" if any(name in workload for name in _FRAMES) else "image"


def name_span(workload: Mapping[str, object]) -> str:
    """The product of one run of the pipeline: one `image`, one `video`, or just a `run`."""
    return name_product(workload) if workload.get("images") == 1 else "run"


def format_value(value: object) -> str:
    """A value of the workload; a text of several words is shortened and quoted."""
    return f'"{shorten(value, _PROMPT)}"' if isinstance(value, str) and " " in value else str(value)


def collect_values(profile: Profile, measure: Measure = MACS) -> dict[str, object]:
    """Plain values of a profile as a whole, for programs; `macs` are unscaled, `uncounted` and `bounded` executions.

    Another measure has its own names of these, and `measure` before them.
    """
    total = {**({} if measure is MACS else {"measure": measure.name}), **name_values(profile.total, measure)}
    named = {"target": profile.target, "class_name": profile.class_name, "workload": dict(profile.workload)}
    remarks = {"approximations": fold_sentences(profile.approximations), "remarks": fold_sentences(profile.remarks)}
    return {**named, "versions": dict(profile.versions), **total, **remarks}


def fold_sentences(sentences: Iterable[str]) -> tuple[str, ...]:
    """The sentences in at most `LONGEST` characters each; equal sentences about many modules become one."""
    return tuple(shorten(sentence, LONGEST) for sentence in fold_remarks(sentences))


def write_notes(profile: Profile, measure: Measure = MACS) -> Iterator[Note]:
    """Approximations and remarks, then the operators that are uncounted and those with an upper bound, with their modules."""
    for title, sentences in (("approximate", profile.approximations), ("remarks", profile.remarks)):
        if sentences:
            yield Note(title, fold_sentences(sentences))
    missing = tuple(describe_ops(profile, lambda row: row.macs is None)) if profile.total.uncounted else ()
    bounded = tuple(describe_ops(profile, lambda row: row.bounded)) if profile.total.bounded else ()
    if missing:
        missing += (_REMEDY,) if any(line.endswith("; no formula") for line in missing) else ()
        yield Note(f"{measure.missing} (sums with ≥ are lower bounds; shares are of the counted {measure.word})", missing)
    if bounded:
        yield Note("counted as upper bounds (sums with ≤ are upper bounds)", bounded)


def describe_ops(profile: Profile, concerned: Callable[[OpRow], bool]) -> Iterator[str]:
    """One line for each operator: its number of runs, its modules, and the reason for concern."""
    by_op: dict[str, list[tuple[str, OpRow]]] = {}
    for component in profile.components.values():
        for node in fold_repeats(component.tree).walk():
            for row in filter(concerned, node.ops):
                by_op.setdefault(row.op, []).append((f"{component.name}.{node.path}" if node.path else component.name, row))
    for op in sorted(by_op):
        places = list(dict.fromkeys(place for place, _ in by_op[op]))
        notes = dict.fromkeys(row.note for _, row in by_op[op] if row.note)
        count = sum(row.count for _, row in by_op[op])
        yield "".join([f"{op}, {format_count(count, 'time')}, in {_join_places(places)}", *(f"; {note}" for note in notes)])


def _join_places(places: list[str]) -> str:
    more = len(places) - _MODULES
    return ", ".join(places[:_MODULES]) + (f" and {more} more" if more > 0 else "")
