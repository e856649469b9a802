"""From captured graphs to a profile: count every call, group its operators by module, find the sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from fxprof import limits
from fxprof.cost.count import CountedOp, count
from fxprof.cost.lifetimes import Lifetimes, find_lifetimes
from fxprof.cost.registry import BUILT_IN, Formulas
from fxprof.cost.traffic import Traffic
from fxprof.errors import TargetError
from fxprof.result.geometry import geometry_of
from fxprof.result.profile import Component, Profile
from fxprof.result.records import LARGEST, Call, Input, ModuleRecord, OpRow, Run
from fxprof.result.remarks import fold_remarks
from fxprof.result.tree import has_plausible_size
from fxprof.trace import Sizes, Tensor, Trace, Value
from fxprof.trace.captured import NOT_CAPTURED, Capture, CapturedCall, CapturedComponent
from fxprof.trace.collector import uncollected
from fxprof.trace.element_types import UnknownTypeError, bytes_of
from fxprof.trace.uses import unneeded
from fxprof.units import format_macs


@uncollected()
def assemble(capture: Capture, formulas: Formulas = BUILT_IN, *, lifetimes: bool = True) -> Profile:
    """Make the profile of a captured run.

    Args:
        capture: the calls of the run, with their graphs.
        formulas: the table to count with.
        lifetimes: whether to find the peaks of calls, which takes as long as counting.

    Raises:
        FormulaError: a formula does not fit an operator of a graph.
        TargetError: the graphs compute more than any computer could.
    """
    transforms = Counter[str]()
    components = {item.name: _assembled(item, formulas, transforms, lifetimes=lifetimes) for item in capture.components}
    _check_largest(components)
    return Profile(
        target=capture.target,
        class_name=capture.class_name,
        workload=dict(capture.workload),
        versions=dict(capture.versions),
        components=components,
        geometry=geometry_of(capture),
        approximations=fold_remarks(capture.approximations),
        order=capture.order,
        held_between=dict(capture.held),
        remarks=fold_remarks((*capture.remarks, *_told(transforms), *_never_used(components))),
    )


def _told(transforms: Counter[str]) -> Iterator[str]:
    """Remarks about the FLOPs of Fourier transforms, which are not part of any sum of MACs."""
    for name, flops in transforms.items():
        yield f"{name}: Fourier transforms take {flops:,} FLOPs in one run (5 N log2 N), which are no part of the MACs"


def _never_used(components: Mapping[str, Component]) -> Iterator[str]:
    """A remark about computed results that nobody reads."""
    rows = (row for component in components.values() for call in component.calls for row in call.ops)
    if any(row.op == NOT_CAPTURED for row in rows):
        return  # nobody knows what the rest of a run that ended early would have read
    unused = {name: component.unused_macs for name, component in components.items()}
    parts = [f"{format_macs(macs)} of {name}" for name, macs in unused.items() if macs]
    if parts:
        yield f"never used: {', '.join(parts)} (MACs whose results nobody reads; they are part of the totals)"


def _check_largest(components: Mapping[str, Component]) -> None:
    for component in components.values():
        if not has_plausible_size(component.modules, component.calls):
            raise TargetError(f"the graphs of {component.name} mention more modules than any model has")
    calls = [call for component in components.values() for call in component.calls]
    runs = sum(row.count * call.count for call in calls for row in call.ops)
    macs = sum(component.macs for component in components.values())
    params = sum(component.params for component in components.values())
    weights = sum(group.bytes for component in components.values() for group in component.weights or ())
    for what, number in (("MACs", macs), ("executions", runs), ("parameters", params), ("bytes of weights", weights)):
        if number >= LARGEST:
            raise TargetError(f"the graphs make some 10**{len(str(number)) - 1} {what}, more than any computer could run")


def assemble_component(captured: CapturedComponent, formulas: Formulas = BUILT_IN) -> Component:
    """Make one component with counted calls."""
    return _assembled(captured, formulas, Counter(), lifetimes=True)


def _assembled(captured: CapturedComponent, formulas: Formulas, transforms: Counter[str], *, lifetimes: bool) -> Component:
    """Make the component, and add the FLOPs of its Fourier transforms to `transforms`."""
    sizes = [group.bytes_each for group in captured.weights or ()]
    modules = tuple(
        ModuleRecord(item.path, item.class_name, item.params, sum(sizes[place] for place in item.weights), item.weights)
        for item in captured.modules
    )
    root = (ModuleRecord("", captured.class_name, 0),)
    calls, loaded = [], sum(group.bytes for group in captured.weights or ())
    for item in captured.calls:
        counted = count(item.trace, formulas)
        weight_bytes = 0 if captured.weights is None else max(0, loaded + item.more_weight_bytes)
        found = find_lifetimes(item.trace) if lifetimes and item.is_whole else {}
        calls.append(_call(item, counted, formulas, weight_bytes, found))
        flops = sum(op.flops * op.times for op in counted if op.flops) * item.count
        if flops:
            transforms[captured.name] += flops
    stored = sum(item.stored_bytes for item in captured.modules)
    runs = _runs(captured)
    made = tuple(calls)
    return Component(
        captured.name,
        captured.class_name,
        modules or root,
        made,
        runs,
        stored,
        captured.weights,
        captured.held,
        captured.offload_blocks,
        captured.offload_turn,
        captured.offload_never,
    )


def _runs(captured: CapturedComponent) -> tuple[Run, ...]:
    """The runs that calls from outside consist of, if they add information to the calls themselves."""
    if all(sum(times for _, times in run.calls) <= 1 for run in captured.runs):
        return ()
    return tuple(Run(run.count, run.calls) for run in captured.runs)


def _call(
    captured: CapturedCall,
    counted: tuple[CountedOp, ...],
    formulas: Formulas,
    weight_bytes: int,
    lifetimes: Mapping[str, Lifetimes],
) -> Call:
    trace = captured.trace
    sizes = trace.sizes()
    inputs = tuple(_input(name, value, sizes) for name, value in trace.inputs)
    return Call(
        entry=captured.entry,
        count=captured.count,
        inputs=inputs,
        ops=_rows(counted),
        visits=_visits(trace),
        note=captured.note,
        unused=_unused(captured, formulas),
        weight_bytes=weight_bytes,
        held_bytes=max(captured.held, sum(_bytes(value, sizes) for _, value in trace.inputs)),
        lifetimes=lifetimes,
    )


def _bytes(value: Value, sizes: Sizes) -> int:
    """Bytes of an input; 0 for a plain value, and for a tensor of unknown size."""
    if not isinstance(value, Tensor) or value.nnz is not None:
        return 0
    try:
        return bytes_of(value, sizes)
    except UnknownTypeError:
        return 0


def _unused(captured: CapturedCall, formulas: Formulas) -> dict[str, int]:
    """Module path to the MACs of its own operators whose results nobody needs."""
    found = unneeded(captured.trace, captured.read, objects=captured.returns_objects)
    ops = tuple(op for op in found if op.subgraphs or formulas.find(op.target) is not None)  # others cost no MACs
    macs: dict[str, int] = {}
    for op in count(replace(captured.trace, parts=ops), formulas) if ops else ():
        if op.macs:
            path = op.stack[-1].path if op.stack else ""
            macs[path] = macs.get(path, 0) + op.macs * op.times
    return macs


def _rows(counted: tuple[CountedOp, ...]) -> tuple[OpRow, ...]:
    """One row for all executions that differ only in their amounts. Most rows have a single execution, and share its bytes."""
    sums: dict[tuple[Any, ...], tuple[int, int | None, Traffic | None, int]] = {}
    for op in counted:
        path = op.stack[-1].path if op.stack else ""
        times, macs, traffic, masked = op.times, op.macs, op.traffic, op.masked
        # The source lines of operators without MACs are useless, and would fill most of a profile.
        source = "" if macs == 0 else op.source or ""
        at_most = None if traffic is None else traffic.bounded
        key = path, op.target, op.kind, source, macs is None, op.bounded, op.note, op.shapes, op.types, at_most
        if times != 1:
            macs, masked = None if macs is None else macs * times, masked * times
            traffic = None if traffic is None else traffic.times(times)
        before = sums.get(key)
        if before is not None:
            times, masked = times + before[0], masked + before[3]
            macs = None if macs is None or before[1] is None else macs + before[1]
            traffic = None if traffic is None or before[2] is None else before[2].plus(traffic)
        sums[key] = times, macs, traffic, masked
    return tuple(
        [
            OpRow(path, target, kind, source, times, macs, bounded, note, shapes, types, traffic, masked)
            for (path, target, kind, source, _, bounded, note, shapes, types, _), (times, macs, traffic, masked) in sums.items()
        ]
    )


def _visits(trace: Trace) -> dict[str, int]:
    """Module path to its number of calls in the graph; bodies of higher-order operators count once."""
    stacks = {op.stack for op in trace.walk()}
    seen = {(frame.path, frame.visit) for stack in stacks for frame in stack}
    visits: dict[str, int] = {}
    for path, _ in sorted(seen):
        visits[path] = visits.get(path, 0) + 1
    return visits


def _input(name: str, value: Value, sizes: Sizes) -> Input:
    if isinstance(value, Tensor):
        return Input(name, tuple(sizes.size(size) for size in value.shape), value.dtype)
    text = str(value)
    return Input(name, None, "", text if len(text) <= limits.LONG_TEXT else f"{text[: limits.LONG_TEXT - 3]}...")
