"""Saved profiles: one JSON text for one profile, always the same bytes. Standard library only.

The fields are those of the records in `fxprof.result.profile`, and the sums that follow from them, which loading checks.
Modules are told by `tree`: a node without `class_name` and `params` is a path that only the graph mentions. `bounded`,
`note`, `shapes`, `types`, `shape`, `value`, `runs` and `stored_bytes` are left out where they have nothing to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fxprof.errors import OutputError, ProfileError
from fxprof.result.files import reason, write_whole
from fxprof.result.profile import Call, Component, Geometry, Input, Node, OpRow, Profile, Run, Total
from fxprof.result.reading import FORMAT_VERSION, MOST_BYTES, most_values, read_profile
from fxprof.strict_json import JsonError, decoded, read_json
from fxprof.texts import read_bytes, read_most
from fxprof.trace.collector import uncollected

__all__ = ["FORMAT_VERSION", "dumps", "load", "loads", "looks_like_profile", "save"]

Json = dict[str, Any]


@uncollected()
def dumps(profile: Profile) -> str:
    """The profile as JSON, one operator a line.

    Raises:
        OutputError: the workload holds a number that JSON cannot write, such as infinity.
    """
    try:
        return "".join(_write("profile", _profile(profile), "")) + "\n"
    except ValueError as error:
        raise OutputError(
            f"cannot save the profile of {profile.target}: its workload holds a number that is not finite"
        ) from error


def loads(text: str, name: str = "the profile") -> Profile:
    """The profile of a JSON text.

    Args:
        text: what `dumps` made.
        name: what to call the text in errors; the file's name as a rule.

    Raises:
        ProfileError: the text is not a profile, is of a newer format, or contradicts itself.
    """
    return read_profile(text, name)


def save(profile: Profile, path: str | Path, *, force: bool = False) -> None:
    """Write the profile as JSON, whole or not at all.

    Raises:
        OutputError: the file exists and `force` is not set, or it cannot be written.
    """
    write_whole(path, dumps(profile), force=force)


def load(path: str | Path) -> Profile:
    """The profile in a file.

    Raises:
        ProfileError: the file cannot be read, or what it holds is not a profile.
    """
    try:
        raw = read_bytes(path, MOST_BYTES)
        if len(raw) > MOST_BYTES:
            raise ProfileError(f"cannot load {path}: it is larger than any profile, {MOST_BYTES // 2**20} MiB")
        text = decoded(raw, json.detect_encoding(raw))
    except JsonError as error:
        raise ProfileError(f"cannot load {path}: it {error}") from error
    except (OSError, ValueError) as error:
        raise ProfileError(f"cannot load {path}: {reason(error)}") from error
    del raw
    return loads(text, str(path))


_BEGINNING = re.compile(r'\s*\{\s*"format"\s*:\s*-?\d')


def looks_like_profile(path: str | Path) -> bool:
    """Whether a file is a saved profile, damaged or not, by what it holds and not by its name."""
    try:
        if not Path(path).is_file():  # opening a pipe would wait for whoever writes into it
            return False
        with Path(path).open("rb") as file:
            raw = file.read(400)
            text = raw.decode(json.detect_encoding(raw), errors="replace")
            if not text.lstrip().startswith("{"):
                return False
            return bool(_BEGINNING.match(text)) or _has_fields(raw + read_most(file, MOST_BYTES))
    except (OSError, ValueError):  # ValueError: a name with a null character
        return False


def _has_fields(raw: bytes) -> bool:
    """Whether it is a JSON object with the fields of a profile, which another program may have put in another order."""
    try:  # whatever is wrong with it otherwise, reading it says
        value = read_json(raw, values=most_values(len(raw)), repeats=True, infinite=True, encoding=json.detect_encoding(raw))
    except JsonError:
        return False
    return isinstance(value, dict) and {"format", "workload", "components"} <= value.keys()


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
        "components": [_component(component) for component in profile.components.values()],
    }


def _total(total: Total) -> Json:
    return {"macs": total.macs, "uncounted": total.uncounted, "bounded": total.bounded}


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
    built = {module.path for module in component.modules}
    return {
        "name": component.name,
        "class_name": component.class_name,
        "params": component.params,
        **({"stored_bytes": component.stored_bytes} if component.stored_bytes else {}),
        **_total(component.total),
        "calls": [_call(call) for call in component.calls],
        **({"runs": [_run(component, run) for run in component.runs]} if component.runs else {}),
        "tree": _node(component.tree, built),
    }


def _run(component: Component, run: Run) -> Json:
    return {"count": run.count, "macs": component.cost_of(run).macs, "calls": [list(part) for part in run.calls]}


def _call(call: Call) -> Json:
    return {
        "entry": call.entry,
        "count": call.count,
        **_total(call.total),
        "note": call.note,
        "inputs": [_input(argument) for argument in call.inputs],
        "visits": dict(call.visits),
        "ops": [_op(row) for row in call.ops],
    }


def _input(argument: Input) -> Json:
    if argument.shape is None:
        return {"name": argument.name, "dtype": argument.dtype, "value": argument.value}
    shaped = {"name": argument.name, "shape": list(argument.shape), "dtype": argument.dtype}
    return {**shaped, "value": argument.value} if argument.value else shaped


def _op(row: OpRow) -> Json:
    written: Json = {
        "path": row.path,
        "op": row.op,
        "kind": row.kind,
        "source": row.source,
        "count": row.count,
        "macs": row.macs,
    }
    if row.bounded:
        written["bounded"] = True
    if row.note:
        written["note"] = row.note
    if row.shapes:
        written["shapes"] = row.shapes
    if row.types:
        written["types"] = row.types
    return written


def _node(node: Node, built: set[str]) -> Json:
    record = {"class_name": node.class_name, "params": node.params} if node.path in built else {}
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


_OBJECTS = {"profile", "workload", "versions", "geometry", "component", "call", "visits"}
_LISTS = {"approximations", "remarks", "components", "calls", "runs", "inputs", "ops", "children"}
_OPEN = _OBJECTS | _LISTS
"""Objects and lists that take a line for each of their parts; all others are written on one line."""

_ITEMS: Mapping[str, str] = MappingProxyType({"components": "component", "calls": "call", "children": "tree"})


def _write(key: str, value: Any, indent: str) -> Iterator[str]:
    """Lay JSON out so that a change of one number is a change of one line."""
    if key == "tree" and value["children"]:
        own = _encode({name: item for name, item in value.items() if name != "children"})
        yield own[:-1] + ', "children": '
        yield from _write("children", value["children"], indent)
        yield "}"
    elif key in _OPEN and value and isinstance(value, dict):
        yield from _open("{}", [(f"{_encode(name)}: ", name, item) for name, item in value.items()], indent)
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
