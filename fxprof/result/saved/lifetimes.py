"""The peaks of a call as JSON and back; see `docs/profile-format.md`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fxprof import limits
from fxprof.cost.lifetimes import ATTENTION, AliveTensor, Lifetimes, Peak
from fxprof.result.records import Call

if TYPE_CHECKING:  # for annotations alone: that file reads this part with this one
    from fxprof.result.saved.parse import _Fields

Json = dict[str, Any]


def written(call: Call) -> Json:
    """The fields of a call about memory; none where nothing is known."""
    held: Json = {"held_bytes": call.held_bytes} if call.held_bytes else {}
    return (
        {**held, "memory": {way: _lifetimes(found, call) for way, found in call.lifetimes.items()}} if call.lifetimes else held
    )


def _lifetimes(found: Lifetimes, call: Call) -> Json:
    eager = None if found.eager is None else _peak(found.eager)
    modules = [found.by_module.get(path) for path in call.visits]
    return {"eager": eager, "graph": _peak(found.graph), "modules": modules}


def _peak(peak: Peak) -> Json:
    flags: Json = {"bounded": True} if peak.bounded else {}
    if peak.unknown:
        flags["unknown"] = peak.unknown
    return {
        "bytes": peak.bytes,
        **flags,
        "op": peak.op,
        "path": peak.path,
        "source": peak.source,
        "at": peak.at,
        "inside": peak.inside,
        "workspace": peak.workspace,
        "others": peak.others,
        "alive": [[item.bytes, list(item.shape), *item[2:]] for item in peak.alive],
    }


def read_lifetimes(fields: _Fields, visits: Mapping[str, int]) -> dict[str, Lifetimes]:
    """The peaks of a call; none in files of early formats."""
    if "memory" not in fields.left:
        return {}
    memory = fields.inner("memory")
    found = {way: _read(memory.inner(way), tuple(visits)) for way in ATTENTION if way in memory.left}
    if "fused" not in found:
        memory.fail("fused", "is missing")
    memory.done()
    return found


def _read(fields: _Fields, paths: tuple[str, ...]) -> Lifetimes:
    eager = None if fields.is_null("eager") else _read_peak(fields.inner("eager"))
    graph, modules = _read_peak(fields.inner("graph")), fields.items("modules")
    if len(modules) != len(paths):
        fields.fail("modules", f"has {len(modules)} numbers, but the call visits {len(paths)} modules")
    for number in modules:
        if number is not None and not (type(number) is int and 0 <= number < 10**limits.TOTAL_DIGITS):
            fields.fail("modules", "holds something other than bytes")
    by_module = {path: number for path, number in zip(paths, modules, strict=True) if number is not None}
    most = graph if eager is None else eager
    if by_module and max(by_module.values()) != most.bytes:
        fields.fail("modules", f"reach {max(by_module.values())} bytes, but the peak is {most.bytes}")
    fields.done()
    return Lifetimes(eager, graph, by_module)


def _read_peak(fields: _Fields) -> Peak:
    peak = Peak(
        bytes=fields.integer("bytes"),
        bounded=fields.flag("bounded", default=False),
        unknown=fields.integer("unknown") if "unknown" in fields.left else 0,
        op=fields.short("op"),
        path=fields.short("path"),
        source=fields.short("source"),
        at=fields.integer("at"),
        inside=fields.integer("inside"),
        workspace=fields.integer("workspace"),
        others=fields.integer("others"),
        alive=tuple(_read_alive(fields)),
    )
    listed = peak.inside + sum(tensor.bytes for tensor in peak.alive)
    if listed > peak.bytes or (not peak.others and listed != peak.bytes):
        fields.fail("alive", f"adds up to {listed} bytes, but the peak is {peak.bytes}")
    fields.done()
    return peak


def _read_alive(fields: _Fields) -> Iterator[AliveTensor]:
    for item in fields.items("alive"):
        match item:
            case [int(size), list(shape), str(dtype), str(op), str(path), str(source), int(since)] if (
                all(type(number) is int and number >= 0 for number in (size, since, *shape))
                and len(shape) <= limits.TENSOR_SIZES
                and all(len(text) <= limits.NAME for text in (dtype, op, path, source))
            ):
                yield AliveTensor(size, tuple(shape), dtype, op, path, source, since)
            case _:
                fields.fail("alive", "holds an item other than a tensor with its bytes, shape, type and origin")
