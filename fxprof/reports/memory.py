"""The report of `fxprof memory`: the timeline of a run on its device, its largest moment, and whether it fits."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from fxprof.cost.workspace import CUBLAS
from fxprof.reports.common import describe_profile, write_notes
from fxprof.reports.document import Column, Document, Note, Row, Section, Table
from fxprof.reports.rows import Field, Rows, Value
from fxprof.reports.words import format_count
from fxprof.result import Profile
from fxprof.result.memory import OFFLOADS, PIPELINE, Memory, Moment
from fxprof.units import format_memory


@dataclass(frozen=True, slots=True)
class Fit:
    """A budget, and what makes the run fit into it."""

    name: str
    """The device or the size, as the user named it."""
    bytes: int
    cure: str = ""
    """The least change that makes it fit, as options: `--offload model`; "" if it fits, or if none of those tried does."""
    cured_bytes: int = 0
    """The peak with that change."""
    tried: tuple[str, ...] = ()
    """The changes that were tried."""


def build_memory(profile: Profile, memory: Memory, fit: Fit | None = None) -> Document:
    """The document of the memory of one run.

    Args:
        profile: the profile.
        memory: its memory.
        fit: a budget to hold it to.
    """
    facts = [("offload", f"{memory.offload}: {OFFLOADS[memory.offload]}")]
    if memory.attention != "fused":
        facts.append(("attention", "math: as products, which hold all scores"))
    facts.append(("peak", _answer(memory)))
    overview = describe_profile(profile, *facts)
    values = {**overview.values, **_values(memory, fit)}
    lines = tuple(_sentences(memory, fit))
    hidden = {name for name in memory.weights if name not in profile.components}
    sections = [Section(tables=(_timeline(memory, hidden),), lines=lines)]
    largest = memory.largest
    if largest is not None and largest.peak is not None and largest.peak.alive:
        sections.append(_alive(largest))
    notes = Note("how to read it", tuple(_explain(memory)))
    sections.append(Section(notes=(notes, *write_notes(profile))))
    return Document(replace(overview, values=values), tuple(sections), _rows(memory))


def _answer(memory: Memory) -> str:
    largest = memory.largest
    if largest is None:
        return f"{format_memory(memory.peak_bytes)} of weights; no component is called"
    return f"{format_memory(largest.total, memory.sign)}, while {_place(largest)} runs"


def _place(moment: Moment) -> str:
    if moment.component == PIPELINE:
        return "the pipeline's own Python"
    name = f"{moment.component}.{moment.entry}" if moment.entry else moment.component
    return name if moment.count else f"the Python of {name}"


def _timeline(memory: Memory, hidden: Collection[str]) -> Table:
    columns = (
        Column("component", words=True, least=13),
        Column("weights"),
        Column("weights\non device"),
        Column("held by\nPython"),
        Column("made by\nthe call"),
        Column("sum"),
        Column("workspace\nestimate"),
    )
    shown = {moment.component for moment in memory.moments}
    rows = []
    for name in (*memory.weights, *(name for name in dict.fromkeys(shown) if name not in memory.weights)):
        moment = memory.of(name)
        if moment is not None:
            rows.append(Row(_cells(moment)))
        elif name not in hidden:
            rows.append(Row((name, format_memory(memory.weights[name]), None, None, None, None, None), "it is never called"))
    return Table(columns, tuple(rows))


def _cells(moment: Moment) -> tuple[str | None, ...]:
    numbers = (moment.weights, moment.resident, moment.held)
    more = moment.workspace + moment.rounding
    workspace = format_memory(more) if more else None
    made, total = (format_memory(number, moment.sign) for number in (moment.activations, moment.total))
    return (_place(moment), *map(format_memory, numbers), made, total, workspace)


def _sentences(memory: Memory, fit: Fit | None) -> Iterator[str]:
    largest = memory.largest
    if largest is None:
        return
    weights = sorted(memory.weights.items(), key=lambda item: -item[1])
    named = ", ".join(f"{name} {format_memory(size)}" for name, size in weights[:3] if size)
    if sum(1 for _, size in weights if size) > 3:  # noqa: PLR2004  # those that are named
        named += " ..."
    parts = {
        f"weights{f' ({named})' if memory.offload == 'none' and len(weights) > 1 else ''}": largest.resident,
        "tensors that the call makes": largest.activations,
        "tensors that Python holds outside of it": largest.held,
    }
    listed = [f"{format_memory(size)} {what}" for what, size in sorted(parts.items(), key=lambda item: -item[1]) if size]
    yield f"The peak is {_answer(memory)}: {'; '.join(listed)}."
    least, most = memory.workspace_bytes
    yield (
        f"Kernels and rounding take about {format_memory(least)} to {format_memory(most)} more (an estimate), of which "
        f"{format_memory(CUBLAS[0])} to {format_memory(CUBLAS[1])} are cuBLAS's buffers on a CUDA device."
    )
    if fit is not None:
        yield from _fit(memory, fit)


def _fit(memory: Memory, fit: Fit) -> Iterator[str]:
    left = fit.bytes - memory.peak_bytes
    low, high = memory.workspace_bytes
    size = f"{fit.name} ({format_memory(fit.bytes)})" if not fit.name[:1].isdigit() else fit.name
    if left >= 0 and memory.sign in {">=", "~"}:
        yield f"It may fit into {size}: {format_memory(left)} are left, but the size of some tensors is unknown."
    elif left < 0:
        yield f"It does not fit into {size}: {format_memory(-left)} too much."
    elif left < low:
        yield f"It is not likely to fit into {size}: {format_memory(left)} are left, less than kernels take for themselves."
    elif left < high:
        yield f"It may fit into {size}: {format_memory(left)} are left, which kernels may need for themselves."
    else:
        yield f"It fits into {size}: {format_memory(left)} are left, {format_memory(left - high)} after the estimate."
    if fit.cure:
        yield f"With {fit.cure} it fits: the peak is {format_memory(fit.cured_bytes)} then."
    elif fit.tried:
        yield f"None of {', '.join(fit.tried)} makes it fit; --weights was not tried."


def _alive(moment: Moment) -> Section:
    peak = moment.peak
    assert peak is not None, "a call"
    columns = (
        Column("size"),
        Column("shape", words=True, least=18),
        Column("made in", words=True, least=20, tail=True),
        Column("by", words=True, least=12),
        Column("since\noperator"),
    )
    rows = [
        Row(
            (
                format_memory(tensor.bytes),
                f"{'x'.join(map(str, tensor.shape)) or 'number'} {tensor.dtype}",
                tensor.path or "(itself)",
                tensor.op.split(".")[1] if tensor.op.startswith("aten.") else tensor.op,
                f"{tensor.since:,}",
            )
        )
        for tensor in peak.alive
    ]
    lines = []
    if peak.others:
        rest = peak.bytes - peak.inside - sum(tensor.bytes for tensor in peak.alive)
        lines.append(f"{format_count(peak.others, 'smaller tensor')} take {format_memory(rest)}.")
    if peak.inside:
        lines.append(f"{peak.op} takes {format_memory(peak.inside)} for tensors of its own, which it drops before it returns.")
    source = f", {peak.source}" if peak.source else ""
    where = f"{peak.path or moment.component}, operator {peak.at:,}: {peak.op}{source}"
    title = f"alive at the peak of {_place(moment)}"
    return Section(title, (Table(columns, tuple(rows)),), (f"The peak is in {where}.", *lines))


def _explain(memory: Memory) -> Iterator[str]:
    yield "a row is the largest moment of a component; weights on device: of all components, as the offload mode leaves them"
    if any(moment.eager is not None for moment in memory.moments):
        yield "made by the call: tensors alive at once as Python holds them in eager mode; a compiler may need less"
    if any(moment.eager is None and moment.graph is not None for moment in memory.moments):
        yield "a graph of a file does not say how long Python holds tensors, so they live until their last use"
    yield "workspace: what kernels take and the allocator rounds up, an estimate by docs/memory.md, no part of a sum"
    yield "left out: CUDA's context, fragments and reserves of the allocator"
    if any(moment.sign for moment in memory.moments):
        yield "≤: memory that may be shared counts as new; ≥: the size of some tensors is unknown"


def _values(memory: Memory, fit: Fit | None) -> dict[str, object]:
    low, high = memory.workspace_bytes
    largest = memory.largest
    budget: dict[str, object] = {}
    if fit is not None:
        budget = {"budget": fit.name, "budget_bytes": fit.bytes, "fits": memory.peak_bytes <= fit.bytes, "fits_with": fit.cure}
    return {
        "offload": memory.offload,
        "attention": memory.attention,
        "peak_bytes": memory.peak_bytes,
        "exactness": memory.sign,
        "peak_component": largest.component if largest else None,
        "peak_entry": largest.entry if largest else None,
        "workspace_bytes_least": low,
        "workspace_bytes_most": high,
        **budget,
        "components": [
            {
                "name": name,
                "weights_bytes": weights,
                "calls": [_call(moment) for moment in memory.moments if moment.component == name],
            }
            for name, weights in memory.weights.items()
        ],
    }


def _call(moment: Moment) -> dict[str, object]:
    return {
        "entry": moment.entry,
        "count": moment.count,
        "eager_peak_bytes": moment.eager.bytes if moment.eager else None,
        "graph_peak_bytes": moment.graph.bytes if moment.graph else None,
        "workspace_bytes": moment.workspace,
        "rounding_bytes": moment.rounding,
        "weights_bytes": moment.weights,
        "resident_bytes": moment.resident,
        "held_bytes": moment.held,
        "total_bytes": moment.total,
        "exactness": moment.sign,
    }


_FIELDS = (
    *(Field("component"), Field("entry"), Field("count", "calls"), Field("weights_bytes", "bytes")),
    *(
        Field(name, "bytes")
        for name in ("resident_bytes", "held_bytes", "activations_bytes", "total_bytes", "workspace_bytes", "rounding_bytes")
    ),
    *(Field("eager_peak_bytes", "bytes"), Field("graph_peak_bytes", "bytes"), Field("exactness")),
    *(Field("peak_path"), Field("peak_op"), Field("peak_source")),
)


def _rows(memory: Memory) -> Rows:
    return Rows(_FIELDS, tuple(map(_split, memory.moments)))


def _split(moment: Moment) -> tuple[Value, ...]:
    eager, graph, peak = moment.eager, moment.graph, moment.peak
    sums = (moment.resident, moment.held, moment.activations, moment.total, moment.workspace, moment.rounding)
    peaks = (eager.bytes if eager else None, graph.bytes if graph else None)
    where = (peak.path, peak.op, peak.source) if peak else (None, None, None)
    return (moment.component, moment.entry, moment.count, moment.weights, *sums, *peaks, moment.sign, *where)
