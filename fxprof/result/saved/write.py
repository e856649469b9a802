"""A profile as JSON text; equal profiles give equal bytes.

The fields are those of a profile's records, and their sums, which reading checks. `tree` contains the modules: a node without
`class_name` and `params` is a path that only the graph mentions. `bounded`, `note`, `shapes`, `types`, `masked`, `shape`,
`value`, `runs`, `stored_bytes` and `unused` are left out if they are empty. A component lists its weights in groups; its
modules refer to them by number. A call has `weight_bytes` if its component takes other bytes than as loaded while it runs. A
call lists each distinct text of `shapes` and `types` and each distinct `traffic` once; its operators refer to them by number.
An operator without `traffic` moves no bytes, and one whose `traffic` is null moves an unknown number; so it is with `masked`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fxprof.cost.traffic import NONE, Traffic
from fxprof.errors import OutputError
from fxprof.result.records import Call, Geometry, Input, ModuleRecord, OpRow, Run, Total
from fxprof.result.saved.lifetimes import written
from fxprof.result.tree import Node
from fxprof.trace.collector import uncollected
from fxprof.trace.weights import WeightGroup

if TYPE_CHECKING:  # only for annotations: a profile imports this file to save itself
    from fxprof.result.profile import Component, Profile

FORMAT_VERSION = 6
"""The format that is written.

1: the first one.
2: operators with MACs have `shapes`, and `types` if known. Files of format 1 are read; their operators have neither.
3: components may have `runs` and `stored_bytes`. Files of format 2 are read; their components have neither.
4: all operators have `shapes` and `types`, by number in lists of the call, and calls may have `unused`. Files of format 3 are
read; their operators without MACs have neither shapes nor types.
5: sums and operators have bytes, operators by number in the list `traffic` of the call. Files of format 4 are read; the bytes
of their operators are unknown.
6: components, modules and calls have weights, calls have `held_bytes` and `memory`, operators of causal attention `masked`.
Files of format 5 are read; their weights and peaks are unknown, and so is which of their attention is causal.
"""

Json = dict[str, Any]


@uncollected()
def dumps(profile: Profile) -> str:
    """The profile as JSON, with one operator per line.

    Raises:
        OutputError: the workload holds a number that JSON cannot write, such as infinity.
    """
    try:
        return "".join(_write("profile", _profile(profile), "")) + "\n"
    except ValueError as error:
        raise OutputError(
            f"cannot save the profile of {profile.target}: its workload holds a number that is not finite"
        ) from error


def _profile(profile: Profile) -> Json:
    assert all(name == component.name for name, component in profile.components.items()), "components go by their names"
    return {
        "format": FORMAT_VERSION,
        "target": profile.target,
        "class_name": profile.class_name,
        "workload": dict(profile.workload),
        "versions": dict(profile.versions),
        **_total(profile.total),
        "geometry": _geometry(profile.geometry),
        "approximations": list(profile.approximations),
        "remarks": list(profile.remarks),
        **({"order": list(profile.order)} if profile.order else {}),
        **({"held_between": dict(profile.held_between)} if profile.held_between else {}),
        "components": [_component(component) for component in profile.components.values()],
    }


def _total(total: Total) -> Json:
    macs = {"macs": total.macs, "uncounted": total.uncounted, "bounded": total.bounded}
    moved = {"bytes_read": total.bytes_read, "bytes_written": total.bytes_written}
    return {**macs, **moved, "bytes_unknown": total.bytes_unknown, "bytes_bounded": total.bytes_bounded}


def _geometry(geometry: Geometry) -> Json:
    return {
        "pixels_asked": geometry.pixels_asked,
        "pixels_computed": geometry.pixels_computed,
        "latents": geometry.latents,
        "text_tokens": geometry.text_tokens,
        "attention": geometry.attention,
        "denoiser": geometry.denoiser,
        "denoiser_calls": geometry.denoiser_calls,
        "denoiser_batch": geometry.denoiser_batch,
        "guidance": geometry.guidance,
        "tiling": geometry.tiling,
        "slicing": geometry.slicing,
    }


def _component(component: Component) -> Json:
    built = {module.path: module for module in component.modules}
    return {
        "name": component.name,
        "class_name": component.class_name,
        "params": component.params,
        **({"stored_bytes": component.stored_bytes} if component.stored_bytes else {}),
        **({"held_bytes": component.held_bytes} if component.held_bytes else {}),
        **({"offload_blocks": list(component.offload_blocks)} if component.offload_blocks else {}),
        **({} if component.offload_turn is None else {"offload_turn": component.offload_turn}),
        **({"offload_never": True} if component.offload_never else {}),
        **({"quantised": component.quantised} if component.quantised else {}),
        **_weights(component),
        **_total(component.total),
        "calls": [_call(call, component) for call in component.calls],
        **({"runs": [_run(component, run) for run in component.runs]} if component.runs else {}),
        "tree": _node(component.tree, built),
    }


def _weights(component: Component) -> Json:
    if component.weights is None:
        return {}
    return {"weight_bytes": component.weight_bytes, "weights": [_group(group) for group in component.weights]}


def _group(group: WeightGroup) -> Json:
    return {
        "kind": group.kind,
        "class_name": group.class_name,
        "name": group.name,
        "shape": list(group.shape),
        "parts": [list(part) for part in group.parts],
        "count": group.count,
        **({"linear": True} if group.linear else {}),
        **({"skipped_by": list(group.skipped_by)} if group.skipped_by else {}),
    }


def _run(component: Component, run: Run) -> Json:
    return {"count": run.count, "macs": component.cost_of(run).macs, "calls": [list(part) for part in run.calls]}


def _call(call: Call, component: Component) -> Json:
    shapes = {text: number for number, text in enumerate(dict.fromkeys(row.shapes for row in call.ops if row.shapes))}
    types = {text: number for number, text in enumerate(dict.fromkeys(row.types for row in call.ops if row.types))}
    moved = dict.fromkeys(row.traffic for row in call.ops if row.traffic not in {None, NONE})
    traffic = {item: number for number, item in enumerate(moved)}
    return {
        "entry": call.entry,
        "count": call.count,
        **_total(call.total),
        "note": call.note,
        "inputs": [_input(argument) for argument in call.inputs],
        "visits": dict(call.visits),
        **({"unused": dict(call.unused)} if call.unused else {}),
        **_weight_bytes(call, component),
        **written(call),
        **({"shapes": list(shapes)} if shapes else {}),
        **({"types": list(types)} if types else {}),
        "traffic": [_Encoded(_moved(item)) for item in traffic],
        "ops": [_Encoded(_op(row, shapes, types, traffic)) for row in call.ops],
    }


def _weight_bytes(call: Call, component: Component) -> Json:
    differs = component.weights is not None and call.weight_bytes != component.weight_bytes
    return {"weight_bytes": call.weight_bytes} if differs else {}


def _input(argument: Input) -> Json:
    if argument.shape is None:
        return {"name": argument.name, "dtype": argument.dtype, "value": argument.value}
    shaped = {"name": argument.name, "shape": list(argument.shape), "dtype": argument.dtype}
    return {**shaped, "value": argument.value} if argument.value else shaped


class _Encoded(str):
    """JSON as text: a call has a hundred thousand operators, and encoding each as an object takes three times as long."""

    __slots__ = ()


def _moved(traffic: Traffic) -> str:
    bounded = ', "bounded"' if traffic.bounded else ""
    return f"[{traffic.read}, {traffic.written}{bounded}]"


def _op(row: OpRow, shapes: Mapping[str, int], types: Mapping[str, int], traffic: Mapping[Traffic, int]) -> str:
    path, op, kind, source = _text(row.path), _text(row.op), _text(row.kind), _text(row.source)
    macs = "null" if row.macs is None else row.macs
    text = f'{{"path": {path}, "op": {op}, "kind": {kind}, "source": {source}, "count": {row.count}, "macs": {macs}'
    if row.bounded:
        text += ', "bounded": true'
    if row.note:
        text += f', "note": {_text(row.note)}'
    if row.shapes:
        text += f', "shapes": {shapes[row.shapes]}'
    if row.types:
        text += f', "types": {types[row.types]}'
    if row.traffic != NONE:
        text += f', "traffic": {"null" if row.traffic is None else traffic[row.traffic]}'
    if row.masked != 0:
        text += f', "masked": {"null" if row.masked is None else row.masked}'
    return f"{text}}}"


def _node(node: Node, built: Mapping[str, ModuleRecord]) -> Json:
    record: Json = {}
    if node.path in built:
        record = {"class_name": node.class_name, "params": node.params}
        if built[node.path].weights:
            record["weights"] = list(built[node.path].weights)
    return {
        "path": node.path,
        **record,
        "total_params": node.total_params,
        "calls": node.calls,
        "self_macs": node.self_macs,
        "total_macs": node.total_macs,
        "uncounted": node.total.uncounted,
        "children": [_node(child, built) for child in node.children],
    }


_OBJECTS = {"profile", "workload", "versions", "geometry", "component", "call", "visits", "unused"}
_LISTS = {
    *("approximations", "remarks", "components", "weights", "calls", "runs", "inputs", "shapes", "types", "traffic", "ops"),
    "children",
}
_OPEN = _OBJECTS | _LISTS
"""Objects and lists with one line per part; all others are written on one line."""

_ITEMS: Mapping[str, str] = MappingProxyType({"components": "component", "calls": "call", "children": "tree"})


def _write(key: str, value: Any, indent: str) -> Iterator[str]:
    """Lay out JSON so that a change of one number changes one line."""
    if key == "tree" and value["children"]:
        own = _encode({name: item for name, item in value.items() if name != "children"})
        yield own[:-1] + ', "children": '
        yield from _write("children", value["children"], indent)
        yield "}"
    elif key in _OPEN and value and isinstance(value, dict):
        yield from _open("{}", [(f"{_encode(name)}: ", name, item) for name, item in value.items()], indent)
    elif key in _OPEN and value and isinstance(value, list) and key not in _ITEMS:
        lines = f",\n{indent} ".join([item if type(item) is _Encoded else _encode(item) for item in value])
        yield f"[\n{indent} {lines}\n{indent}]"
    elif key in _OPEN and value and isinstance(value, list):
        yield from _open("[]", [("", _ITEMS.get(key, ""), item) for item in value], indent)
    else:
        yield _encode(value)


def _open(brackets: str, parts: list[tuple[str, str, Any]], indent: str) -> Iterator[str]:
    before = brackets[0]
    for label, key, value in parts:
        yield f"{before}\n{indent} {label}"
        yield from _write(key, value, indent + " ")
        before = ","
    yield f"\n{indent}{brackets[1]}"


_encode = json.JSONEncoder(allow_nan=False).encode
_text = json.encoder.encode_basestring_ascii
