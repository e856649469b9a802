"""The report of `fxprof profile`: the cost of each component, by call and by kind of work, and the geometry behind it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from fxprof.compare.paths import merge_paths
from fxprof.reports.cells import Params, Share
from fxprof.reports.common import describe_profile, fold_sentences, name_product, name_span, write_notes
from fxprof.reports.document import Column, Document, Note, Row, Section, Table
from fxprof.reports.rows import Field, Rows, Value, name_total, split_total
from fxprof.reports.words import clean, format_count, format_sizes, shorten
from fxprof.result import Call, Component, Geometry, Input, Profile, Total
from fxprof.result.views import by_kind
from fxprof.units import format_flops, format_macs, unit_name

MAIN_KINDS = ("linear", "convolution", "attention", "matmul")
"""Kinds that every report shows; others appear if they cost something."""

_CALLS = 6
"""Rows for the calls of one component; a component captured by its children has hundreds of calls."""
_KINDS = 4
"""Other kinds that get a column each."""
_KIND = 16
"""Characters shown of the name of a kind."""


def build_summary(profile: Profile, unit: str = "auto") -> Document:
    """The document of a whole profile, its MACs in a unit of `fxprof.units.UNITS`; as JSON it is the saved profile."""
    sections = (
        Section(tables=(_tabulate_components(profile, unit),), lines=tuple(_write_totals(profile))),
        Section(f"{unit_name(unit)} per {name_span(profile.workload)} by kind of work", (_tabulate_kinds(profile, unit),)),
        Section(notes=tuple(_write_notes(profile))),
    )
    overview = replace(describe_profile(profile, *_describe_geometry(profile)), saved=profile)
    return Document(overview, sections, _list_components(profile))


def _list_components(profile: Profile) -> Rows:
    """A row for each component, with the MACs of one run."""
    fields = (
        Field("component"),
        Field("class"),
        Field("params", "parameters"),
        Field("calls", "calls"),
        *name_total(),
    )
    values: Iterator[tuple[Value, ...]] = (
        (component.name, component.class_name, component.params, _count_calls(component), *split_total(component.total))
        for component in profile.components.values()
    )
    return Rows(fields, tuple(values))


def _count_calls(component: Component) -> int:
    return sum(component.costs.values()) or sum(call.count for call in component.calls)


def _describe_geometry(profile: Profile) -> Iterator[tuple[str, str]]:
    geometry = profile.geometry
    if geometry.pixels_asked:
        differ = geometry.pixels_computed not in {None, geometry.pixels_asked}
        computed = f" asked, {format_sizes(geometry.pixels_computed or ())} computed" if differ else ""
        yield "pixels", format_sizes(geometry.pixels_asked) + computed
    if geometry.latents:
        yield "latents", format_sizes(geometry.latents)
    if geometry.text_tokens:
        yield "text", ", ".join(f"{name} {_join_lengths(lengths)}" for name, lengths in geometry.text_tokens) + " tokens"
    if geometry.attention:
        yield (
            "attention",
            "longest (queries x keys): " + ", ".join(f"{name} {format_sizes(pair)}" for name, pair in geometry.attention),
        )
    if geometry.denoiser:
        yield "denoiser", _describe_denoiser(geometry, profile.workload.get("steps"))
    if geometry.tiling or geometry.slicing:
        on = [word for word, active in (("tiling", geometry.tiling), ("slicing", geometry.slicing)) if active]
        yield "autoencoder", f"{' and '.join(on)} on"


def _join_lengths(lengths: tuple[int, ...]) -> str:
    return " and ".join(map(str, lengths)) or "no"


def _describe_denoiser(geometry: Geometry, steps: object) -> str:
    steps_text = f" for {format_count(steps, 'step')}" if isinstance(steps, int) else ""
    doubled = geometry.guidance == "in the batch"
    guidance = ": guidance doubles it" if doubled else f", guidance {geometry.guidance}" if geometry.guidance else ""
    calls = format_count(geometry.denoiser_calls, "call")
    return f"{geometry.denoiser}: {calls}{steps_text}, batch {geometry.denoiser_batch}{guidance}"


def _tabulate_components(profile: Profile, unit: str) -> Table:
    name, span = unit_name(unit), name_span(profile.workload)
    columns = (
        Column("component", words=True, least=20),
        Column("class / input", words=True),
        Column("params"),
        Column("calls"),
        Column(f"{name}\nper call"),
        Column(f"{name}\nper {span}"),
        Column("share"),
    )
    rows = [row for component in profile.components.values() for row in _show_component(component, profile.macs)]
    params = Params(sum(component.params for component in profile.components.values()))
    whole = Share.of(profile.total, profile.macs)
    return Table(columns, tuple(rows), last=("total", "", params, None, None, profile.total, whole), unit=unit)


def _show_component(component: Component, whole: int) -> Iterator[Row]:
    """The component, and its calls if there are several; `whole` is the MACs of the profile."""
    costs = component.costs
    calls = _count_calls(component)
    each = next(iter(costs)) if len(costs) == 1 else component.calls[0].total if len(component.calls) == 1 else None
    share = Share.of(component.total, whole)
    yield Row((component.name, component.class_name, Params(component.params), calls, each, component.total, share))
    if len(costs) > 1:
        yield from _show_costs(costs, calls, whole)
    elif len(component.calls) > 1:
        yield from _show_calls(component.calls, whole)


def _show_costs(costs: Mapping[Total, int], calls: int, whole: int) -> Iterator[Row]:
    """A row for all calls of equal cost; if there are too many costs, for those with the largest sums."""
    ranked = sorted(costs, key=lambda cost: -(cost * costs[cost]).macs)
    shown = set(ranked if len(ranked) <= _CALLS else ranked[: _CALLS - 1])
    for cost in (cost for cost in costs if cost in shown):
        count, total = costs[cost], cost * costs[cost]
        label = f"  {count:,} of {calls:,} calls"
        yield Row((label, "of equal cost", None, count, cost, total, Share.of(total, whole)))
    rest = [cost for cost in costs if cost not in shown]
    if rest:
        total = Total.sum(cost * costs[cost] for cost in rest)
        count = sum(costs[cost] for cost in rest)
        label = f"  {count:,} of {calls:,} calls"
        yield Row((label, f"of {len(rest):,} other costs", None, count, None, total, Share.of(total, whole)))


def _show_calls(calls: tuple[Call, ...], whole: int) -> Iterator[Row]:
    """A row for each call, or for equal calls of equal modules; if there are too many, for the most expensive."""
    alike = _group_alike(calls)
    ranked = sorted(range(len(alike)), key=lambda index: -_add_up(alike[index]).macs)
    shown = set(ranked if len(alike) <= _CALLS else ranked[: _CALLS - 1])
    common = _find_common_inputs(calls, {alike[index][0].entry for index in shown})
    for index in sorted(shown):
        group, total = alike[index], _add_up(alike[index])
        counts, each = sum(call.count for call in group), group[0].total
        named = (f"  {_name_entry(group)}", _pick_input(group[0], common[group[0].entry]))
        yield Row((*named, None, counts, each, total, Share.of(total, whole)))
    rest = [call for index, group in enumerate(alike) if index not in shown for call in group]
    if rest:
        counts, total = sum(call.count for call in rest), _add_up(rest)
        yield Row((f"  {len(rest):,} more", "", None, counts, None, total, Share.of(total, whole)))


def _group_alike(calls: tuple[Call, ...]) -> list[list[Call]]:
    """The calls in groups, in order: a group has modules whose names differ only in numbers, equal arguments and equal cost."""
    groups: dict[tuple[object, ...], list[Call]] = {}
    for index, call in enumerate(calls):
        entry = re.sub(r"\b\d+\b", "0", call.entry)
        numbered = re.search(r"\b\d+\b", call.entry)
        groups.setdefault((entry, call.count, call.inputs, call.total) if numbered else (index,), []).append(call)
    return list(groups.values())


def _add_up(calls: list[Call]) -> Total:
    return Total.sum(call.total * call.count for call in calls)


def _name_entry(group: list[Call]) -> str:
    entries = dict.fromkeys(call.entry for call in group)
    times = f" \N{MULTIPLICATION SIGN}{len(entries)}" if len(entries) > 1 else ""
    return (merge_paths(entries) or "forward") + times


def _find_common_inputs(calls: tuple[Call, ...], entries: Iterable[str]) -> dict[str, set[Input]]:
    """Entry to the arguments that all its calls share."""
    common: dict[str, set[Input]] = {}
    wanted = set(entries)
    for call in calls:
        if call.entry in common:
            common[call.entry].intersection_update(call.inputs)
        elif call.entry in wanted:
            common[call.entry] = set(call.inputs)
    return common


def _pick_input(call: Call, common: AbstractSet[Input]) -> str:
    """The first tensor or, among calls of the same entry, the argument that tells them apart.

    Args:
        call: one of these calls.
        common: the arguments that all of them share.
    """
    tensors = [argument for argument in call.inputs if argument.shape is not None]
    main = tensors[0] if tensors else None
    for argument in [*tensors[:1], *call.inputs]:
        if argument not in common:
            return _write_input(argument) if argument == main else f"{argument.name} {_write_input(argument)}"
    return _write_input(main) if main else ""


def _write_input(argument: Input) -> str:
    """Its shape, such as `2x4x64x64`, or its plain value."""
    return argument.value if argument.shape is None else "x".join(map(str, argument.shape)) or "scalar"


def _write_totals(profile: Profile) -> Iterator[str]:
    images = profile.workload.get("images")
    how = ", approximately" if profile.approximations else ""
    if not isinstance(images, int) or images <= 1:
        yield _write_total(f"per {name_span(profile.workload)}{how}", profile.total)
        return
    noun = name_product(profile.workload)
    yield _write_total(f"per run of {images} {noun}s{how}", profile.total)
    if profile.macs % images == 0:
        yield _write_total(f"per {noun}{how}", replace(profile.total, macs=profile.macs // images))


def _write_total(label: str, total: Total) -> str:
    """MACs and FLOPs, each with the scale that fits."""
    macs, flops = format_macs(total.macs, sign=total.sign), format_flops(total.macs, sign=total.sign)
    return f"{label}: {macs} MACs, which is {flops} FLOPs (two per MAC)"


def _tabulate_kinds(profile: Profile, unit: str) -> Table:
    by_component = {name: by_kind(component) for name, component in profile.components.items()}
    others = sorted({kind for kinds in by_component.values() for kind in kinds if kind not in MAIN_KINDS})
    shown: list[tuple[str, ...]] = [(kind,) for kind in (*MAIN_KINDS, *others)]
    if len(others) > _KINDS:
        shown[len(MAIN_KINDS) + _KINDS - 1 :] = [tuple(others[_KINDS - 1 :])]
    titles = [kinds[0] if len(kinds) == 1 else f"{len(kinds):,} others" for kinds in shown]
    named = (Column(shorten(clean(title), _KIND)) for title in titles)
    rows = tuple(Row((name, *(_add_kinds(kinds, column) for column in shown))) for name, kinds in by_component.items())
    sums = (Total.sum(_add_kinds(kinds, column) for kinds in by_component.values()) for column in shown)
    columns = (Column("component", words=True, least=14), *named)
    return Table(columns, rows, last=("total", *sums), unit=unit)


def _add_kinds(sums: Mapping[str, Total], kinds: tuple[str, ...]) -> Total:
    return Total.sum(sums[kind] for kind in kinds if kind in sums)


def _write_notes(profile: Profile) -> Iterator[Note]:
    yield from write_notes(profile)
    captured = dict.fromkeys(
        f"{name}{f'.{call.entry}' if call.entry else ''}: {call.note}"
        for name, component in profile.components.items()
        for call in component.calls
        if call.note
    )
    if captured:
        yield Note("not captured by an export of the whole module that the pipeline calls", fold_sentences(captured))
