"""The report of `fxprof profile`: what each component costs, by call and by kind of work, and the geometry it follows from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fxprof.reports.common import about, inexact_notes, title_of, workload_of
from fxprof.reports.tables import Column, Document, Note, Params, Row, Share, Table, dimensions, plural
from fxprof.result import Call, Component, Geometry, Input, Profile, Total
from fxprof.result.views import by_kind
from fxprof.units import format_flops, format_macs, unit_name

MAIN_KINDS = ("linear", "convolution", "attention", "matmul")
"""Kinds that every report shows; further ones appear where they cost something."""

_CALLS = 12
"""Calls of one component that get a row each; a component that is captured by its children has hundreds."""


def summary(profile: Profile, unit: str = "auto") -> Document:
    """The document of a whole profile; as JSON it is the saved profile."""
    return Document(
        title=title_of(profile),
        facts=(("workload", workload_of(profile)), *_geometry(profile)),
        tables=(_components(profile, unit),),
        result=tuple(_results(profile)),
        extra=(_kinds(profile, unit),),
        notes=tuple(_notes(profile)),
        about=about(profile),
        saved=profile,
        unit=unit,
    )


def _span(profile: Profile) -> str:
    """What one run of the pipeline makes."""
    return "image" if profile.workload.get("images") == 1 else "run"


def _geometry(profile: Profile) -> Iterator[tuple[str, str]]:
    geometry = profile.geometry
    if geometry.pixels_asked:
        differ = geometry.pixels_computed not in {None, geometry.pixels_asked}
        computed = f" asked, {dimensions(geometry.pixels_computed or ())} computed" if differ else ""
        yield "pixels", dimensions(geometry.pixels_asked) + computed
    if geometry.latents:
        yield "latents", dimensions(geometry.latents)
    if geometry.text_tokens:
        yield "text", ", ".join(f"{name} {_lengths(lengths)}" for name, lengths in geometry.text_tokens) + " tokens"
    if geometry.attention:
        yield "attention", "longest: " + ", ".join(f"{name} {dimensions(pair)}" for name, pair in geometry.attention)
    if geometry.denoiser:
        yield "denoiser", _denoiser(geometry, profile.workload.get("steps"))
    if geometry.tiling or geometry.slicing:
        on = [word for word, active in (("tiling", geometry.tiling), ("slicing", geometry.slicing)) if active]
        yield "autoencoder", f"{' and '.join(on)} on"


def _lengths(lengths: tuple[int, ...]) -> str:
    return " and ".join(map(str, lengths)) or "no"


def _denoiser(geometry: Geometry, steps: object) -> str:
    steps_text = f" for {plural(steps, 'step')}" if isinstance(steps, int) else ""
    guidance = f", guidance {geometry.guidance}" if geometry.guidance else ""
    calls = plural(geometry.denoiser_calls, "call")
    return f"{geometry.denoiser}: {calls}{steps_text}, batch {geometry.denoiser_batch}{guidance}"


def _components(profile: Profile, unit: str) -> Table:
    name, span = unit_name(unit), _span(profile)
    columns = (
        Column("component", "component", words=True, least=20),
        Column("class", "class / input", words=True),
        Column("params", "params"),
        Column("calls", "calls"),
        Column("macs_per_call", f"{name}\nper call", programs=False),
        Column("macs", f"{name}\nper {span}"),
        Column("share", "share", programs=False),
    )
    rows = [row for component in profile.components.values() for row in _component(component, profile.macs)]
    params = Params(sum(component.params for component in profile.components.values()))
    whole = Share.of(profile.total, profile.macs)
    return Table(columns, tuple(rows), last=("total", "", params, None, None, profile.total, whole))


def _component(component: Component, whole: int) -> Iterator[Row]:
    """The component, and its calls where they are several."""
    calls = sum(call.count for call in component.calls)
    each = component.calls[0].total if len(component.calls) == 1 else None
    share = Share.of(component.total, whole)
    yield Row((component.name, component.class_name, Params(component.params), calls, each, component.total, share))
    if len(component.calls) > 1:
        yield from _calls(component.calls, whole)


def _calls(calls: tuple[Call, ...], whole: int) -> Iterator[Row]:
    """A row for each call; where they are very many, for the dearest of them, and one for the rest."""
    ranked = sorted(range(len(calls)), key=lambda index: -calls[index].macs * calls[index].count)
    shown = set(ranked if len(calls) <= _CALLS else ranked[: _CALLS - 1])
    for index in sorted(shown):
        call, total = calls[index], calls[index].total * calls[index].count
        told = (f"  {call.entry or 'forward'}", _main_input(call, calls))
        yield Row((*told, None, call.count, call.total, total, Share.of(total, whole)), detail=True)
    rest = [call for index, call in enumerate(calls) if index not in shown]
    if rest:
        total = Total.sum(call.total * call.count for call in rest)
        counts = sum(call.count for call in rest)
        yield Row((f"  {len(rest):,} more", "", None, counts, None, total, Share.of(total, whole)), detail=True)


def _main_input(call: Call, calls: tuple[Call, ...]) -> str:
    """The first tensor or, among calls of the same entry, the argument that tells them apart."""
    rivals = [other for other in calls if other.entry == call.entry]
    tensors = [argument for argument in call.inputs if argument.shape is not None]
    main = tensors[0] if tensors else None
    for argument in [*tensors[:1], *call.inputs]:
        if any(argument not in other.inputs for other in rivals):
            return _sizes(argument) if argument == main else f"{argument.name} {_sizes(argument)}"
    return _sizes(main) if main else ""


def _sizes(argument: Input) -> str:
    return argument.value if argument.shape is None else "x".join(map(str, argument.shape)) or "scalar"


def _results(profile: Profile) -> Iterator[str]:
    images = profile.workload.get("images")
    if not isinstance(images, int) or images <= 1:
        yield _both(f"per {_span(profile)}", profile.total)
        return
    yield _both(f"per run of {images} images", profile.total)
    if profile.macs % images == 0:
        yield _both("per image", replace(profile.total, macs=profile.macs // images))


def _both(label: str, total: Total) -> str:
    macs, flops = format_macs(total.macs, sign=total.sign), format_flops(total.macs, sign=total.sign)
    return f"{label}: {macs} MACs, which is {flops} FLOPs (two per MAC)"


def _kinds(profile: Profile, unit: str) -> Table:
    found = {name: by_kind(component) for name, component in profile.components.items()}
    others = sorted({kind for kinds in found.values() for kind in kinds if kind not in MAIN_KINDS})
    shown = [*MAIN_KINDS, *others]
    columns = (Column("component", "component", words=True, least=14), *(Column(kind, kind) for kind in shown))
    rows = tuple(Row((name, *(kinds.get(kind, Total()) for kind in shown))) for name, kinds in found.items())
    sums = (Total.sum(kinds.get(kind, Total()) for kinds in found.values()) for kind in shown)
    return Table(columns, rows, title=f"{unit_name(unit)} per {_span(profile)} by kind of work", last=("total", *sums))


def _notes(profile: Profile) -> Iterator[Note]:
    if profile.approximations:
        yield Note("approximate", profile.approximations)
    if profile.remarks:
        yield Note("remarks", profile.remarks)
    yield from inexact_notes(profile)
    captured = dict.fromkeys(
        f"{name}{f'.{call.entry}' if call.entry else ''}: {call.note}"
        for name, component in profile.components.items()
        for call in component.calls
        if call.note
    )
    if captured:
        yield Note("captured otherwise than by exporting the module that the pipeline calls", tuple(captured))
