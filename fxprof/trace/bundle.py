"""A captured run as a directory: a manifest, and one `.pt2` file per distinct call.

The manifest adds the facts that a graph lacks: the component and module of each call, its count and arguments, the modules of
each component, and the pipeline and workload of the run. `fxprof.capture.save` writes the files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from typing import Any

from fxprof import limits
from fxprof.errors import TargetError
from fxprof.strict_json import count_values
from fxprof.texts import read_bytes
from fxprof.trace.allowance import Allowance
from fxprof.trace.archive import MOST_BYTES
from fxprof.trace.captured import Capture, CapturedCall, CapturedComponent, CapturedModule, CapturedRun
from fxprof.trace.fields import (
    FaultError,
    a_float,
    a_list,
    a_name,
    a_text,
    an_integer,
    an_object,
    brief,
    check_path,
    check_sizes,
    fail,
    read_json,
)
from fxprof.trace.frees import with_frees, write_frees
from fxprof.trace.pt2 import read_programs
from fxprof.trace.records import UNKNOWN_NNZ, Frame, Op, Origin, Tensor, Trace, Value, tensors_in
from fxprof.trace.weights import KINDS, QUANTISERS, WeightGroup

MANIFEST = "capture.json"
FORMAT = 1
"""The format of the manifest. 1: the first one."""

Json = dict[str, Any]


def looks_like_bundle(path: str | Path) -> bool:
    """Whether a directory holds a captured run."""
    try:
        return (Path(path) / MANIFEST).is_file()
    except (OSError, ValueError):  # ValueError: a name with a null character
        return False


def write_manifest(capture: Capture, files: Mapping[tuple[str, int], str]) -> str:
    """The text of a captured run's manifest.

    Args:
        capture: the run.
        files: (component, position of the call) to the file with the graph; the manifest holds the operators of other calls.
    """
    components = [_component(component, files) for component in capture.components]
    whole = {
        "capture_format": FORMAT,
        "target": capture.target,
        "class_name": capture.class_name,
        "versions": dict(capture.versions),
        "workload": dict(capture.workload),
        "image_size": capture.image_size,
        "guided": capture.guided,
        "approximations": list(capture.approximations),
        "remarks": list(capture.remarks),
        **({"order": list(capture.order)} if capture.order else {}),
        **({"held": dict(capture.held)} if capture.held else {}),
        "components": components,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _component(component: CapturedComponent, files: Mapping[tuple[str, int], str]) -> Json:
    calls = [_call(call, files.get((component.name, place))) for place, call in enumerate(component.calls)]
    return {
        "name": component.name,
        "class_name": component.class_name,
        "tiling": component.tiling,
        "slicing": component.slicing,
        "entered": component.entered,
        "calls": calls,
        "aliases": dict(component.aliases),
        "modules": [f"{module.path} {module.class_name} {module.params}" for module in component.modules],
        "stored_bytes": [module.stored_bytes for module in component.modules],
        "runs": [[run.count, [list(part) for part in run.calls]] for run in component.runs],
        **({"held": component.held} if component.held else {}),
        **({"offload_blocks": list(component.offload_blocks)} if component.offload_blocks else {}),
        **({} if component.offload_turn is None else {"offload_turn": component.offload_turn}),
        **({"offload_never": True} if component.offload_never else {}),
        **_written_weights(component),
    }


def _written_weights(component: CapturedComponent) -> Json:
    if component.weights is None:
        return {}
    groups = [
        [group.kind, group.class_name, group.name, group.shape, group.parts, group.linear, group.skipped_by]
        for group in component.weights
    ]
    return {"weights": groups, "held_weights": [module.weights for module in component.modules]}


def _call(call: CapturedCall, file: str | None) -> Json:
    inputs = [{"name": name, **_written_input(value)} for name, value in call.trace.inputs]
    graph: Json = {"file": file} if file else _written_ops(call.trace)
    read: Json = {} if call.read is None else {"read": list(call.read)}
    more: Json = {**read, "returns_objects": True} if call.returns_objects else read
    if call.more_weight_bytes:
        more = {**more, "more_weight_bytes": call.more_weight_bytes}
    if call.held:
        more = {**more, "held": call.held}
    if file and call.trace.has_frees:
        frees, insides = write_frees(call.trace)
        more = {**more, "frees": frees, "inside": insides}
    return {**graph, "entry": call.entry, "count": call.count, "note": call.note, "inputs": inputs, **more}


def _written_input(value: Value) -> Json:
    if isinstance(value, Tensor):
        return {"shape": list(value.shape), "dtype": value.dtype}
    return {"value": str(value)}


def _written_ops(trace: Trace) -> Json:
    """Operators that were recorded one by one, with the values that they name."""
    origins = [[number, *origin] for number, origin in trace.origins]
    return {"ops": [_written_op(op) for op in trace.ops], "origins": origins, "gives": list(trace.gives)}


def _written_op(op: Op) -> Json:
    return {
        "reads": list(op.reads),
        "makes": list(op.makes),
        "target": op.target,
        "args": [[name, _written(value)] for name, value in op.args],
        "outputs": [_written(value) for value in op.outputs],
        "stack": [[frame.path, frame.class_name, frame.visit] for frame in op.stack],
        "source": op.source,
    }


def _written(value: Value) -> Any:
    match value:
        case Tensor():
            nnz = {} if value.nnz is None else {"nnz": value.nnz}
            return {"shape": list(value.shape), "dtype": value.dtype, **nnz}
        case tuple():
            return [_written(item) for item in value]
        case float() | complex():
            return {"number": repr(value)}
        case _:
            return value


def read_bundle(directory: str | Path) -> Capture:
    """Read a captured run.

    Raises:
        TargetError: the manifest or a graph is missing, damaged, of a newer format, or contradicts itself.
    """
    path = Path(directory) / MANIFEST
    try:
        allowance = Allowance()
        fields = _load(path, allowance)
        return _capture(fields, _Files(Path(directory), allowance))
    except FaultError as fault:
        raise TargetError(f"cannot read {path}: {fault}", "capture the pipeline again with fxprof capture") from fault
    except MemoryError as error:
        raise TargetError(f"cannot read {path}: there is not enough memory") from error


def _load(path: Path, allowance: Allowance) -> Json:
    try:
        data = read_bytes(path, MOST_BYTES)
    except OSError as error:
        raise TargetError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > MOST_BYTES:
        fail("", f"it is larger than {MOST_BYTES // 2**20} MiB, the limit for a manifest")
    allowance.values(count_values(data), "it")
    value = read_json(data, "it")
    if not isinstance(value, dict) or type(value.get("capture_format")) is not int:
        fail("", "it is not the manifest of a captured run")
    if not 1 <= value["capture_format"] <= FORMAT:
        fail("", f"it is of format {brief(value['capture_format'])}; this fxprof reads {FORMAT}")
    return value


def _capture(fields: Json, files: _Files) -> Capture:
    items = a_list(fields.get("components"), "components")
    if len(items) > limits.COMPONENTS:
        fail("components", f"are {len(items):,}, more than {limits.COMPONENTS:,}")
    components = tuple(
        _read_component(an_object(item, f"components[{place}]"), files, f"components[{place}]")
        for place, item in enumerate(items)
    )
    names = [component.name for component in components]
    if len(set(names)) < len(names):
        fail("components", "holds two components of the same name")
    return Capture(
        class_name=a_text(fields.get("class_name"), "class_name"),
        components=components,
        workload={
            name: _plain(value, f"workload.{name}") for name, value in an_object(fields.get("workload"), "workload").items()
        },
        image_size=_size(fields.get("image_size")),
        guided=None if fields.get("guided") is None else _flag(fields.get("guided"), "guided"),
        approximations=_texts(fields, "approximations"),
        remarks=_texts(fields, "remarks"),
        order=_texts(fields, "order") if "order" in fields else (),
        held={name: _count(size, "held") for name, size in an_object(fields.get("held", {}), "held").items()},
        target=a_text(fields.get("target"), "target"),
        versions=_texts_by_name(fields, "versions"),
    )


def _size(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    sizes = [_count(item, "image_size") for item in a_list(value, "image_size")]
    return (sizes[0], sizes[1]) if len(sizes) == 2 else fail("image_size", "is not a height and a width")  # noqa: PLR2004


def _count(value: Any, where: str) -> int:
    number = an_integer(value, where)
    return number if number >= 0 else fail(where, f"is {number}, but cannot be negative")


def _flag(value: Any, where: str) -> bool:
    return value if type(value) is bool else fail(where, f"is {brief(value)}, not true or false")


def _plain(value: Any, where: str) -> int | float | str | bool | None:
    if type(value) is float:
        return a_float(value, where)
    if type(value) is int:
        return an_integer(value, where)
    if value is None or isinstance(value, bool):
        return value
    return _long_text(value, where) if isinstance(value, str) else fail(where, f"is {brief(value)}, not a plain value")


def _texts(fields: Json, name: str) -> tuple[str, ...]:
    texts = a_list(fields.get(name), name)
    if not all(type(text) is str for text in texts):
        fail(name, "is not a list of texts")
    return tuple(_long_text(text, name) for text in texts)


def _long_text(text: str, where: str) -> str:
    """The text, which may be as long as a sentence or a prompt."""
    if len(text) > limits.LONG_TEXT:
        fail(where, f"holds a text of {len(text):,} characters, more than {limits.LONG_TEXT:,}")
    return text


def _texts_by_name(fields: Json, name: str) -> dict[str, str]:
    return {key: a_text(text, f"{name}.{key}") for key, text in an_object(fields.get(name), name).items()}


def _aliases(fields: Json) -> dict[str, str]:
    aliases = _texts_by_name(fields, "aliases")
    for path, one in aliases.items():
        check_path(one, "aliases")
        if one in aliases:
            fail("aliases", f"leads from {brief(path)} to {brief(one)}, which is an alias too")
    return aliases


def _read_component(fields: Json, files: _Files, where: str) -> CapturedComponent:
    aliases = _aliases(fields)
    for name, most in (("calls", limits.CALLS), ("modules", limits.PROFILE_MODULES)):
        number = len(a_list(fields.get(name), f"{where}.{name}"))
        if number > most:
            fail(f"{where}.{name}", f"are {number:,}, more than {most:,}")
    calls = tuple(
        _read_call(an_object(item, f"{where}.calls[{place}]"), files, aliases, f"{where}.calls[{place}]")
        for place, item in enumerate(a_list(fields.get("calls"), f"{where}.calls"))
    )
    modules = tuple(_read_modules(a_list(fields.get("modules"), f"{where}.modules"), f"{where}.modules"))
    modules, weights = _with_weights(fields, _with_bytes(fields, modules, where), where)
    return CapturedComponent(
        name=a_text(fields.get("name"), f"{where}.name"),
        class_name=a_text(fields.get("class_name"), f"{where}.class_name"),
        modules=modules,
        calls=calls,
        tiling=_flag(fields.get("tiling"), f"{where}.tiling"),
        slicing=_flag(fields.get("slicing"), f"{where}.slicing"),
        entered=_count(fields.get("entered", 0), f"{where}.entered"),
        aliases=aliases,
        runs=tuple(_read_run(item, len(calls), f"{where}.runs") for item in a_list(fields.get("runs", []), f"{where}.runs")),
        weights=weights,
        held=_count(fields.get("held", 0), f"{where}.held"),
        offload_blocks=_texts(fields, "offload_blocks") if "offload_blocks" in fields else (),
        offload_turn=_count(fields["offload_turn"], f"{where}.offload_turn") if "offload_turn" in fields else None,
        offload_never=_flag(fields.get("offload_never", False), f"{where}.offload_never"),
    )


def _with_bytes(fields: Json, modules: tuple[CapturedModule, ...], where: str) -> tuple[CapturedModule, ...]:
    """The modules with their stored bytes, which an older capture does not give."""
    stored = a_list(fields.get("stored_bytes", [0] * len(modules)), f"{where}.stored_bytes")
    if len(stored) != len(modules):
        fail(f"{where}.stored_bytes", f"has {len(stored)} numbers for {len(modules)} modules")
    numbers = (_count(item, f"{where}.stored_bytes") for item in stored)
    return tuple(replace(module, stored_bytes=number) for module, number in zip(modules, numbers, strict=True))


def _with_weights(
    fields: Json, modules: tuple[CapturedModule, ...], where: str
) -> tuple[tuple[CapturedModule, ...], tuple[WeightGroup, ...] | None]:
    """The modules with their weights, and the weights in groups; None for an older capture, which does not give them."""
    if "weights" not in fields:
        return modules, None
    groups = [_read_group(item, f"{where}.weights") for item in a_list(fields["weights"], f"{where}.weights")]
    held = a_list(fields.get("held_weights"), f"{where}.held_weights")
    if len(held) != len(modules):
        fail(f"{where}.held_weights", f"has {len(held)} lists for {len(modules)} modules")
    counts = [0] * len(groups)
    found = []
    for module, item in zip(modules, held, strict=True):
        places = tuple(_count(place, f"{where}.held_weights") for place in a_list(item, f"{where}.held_weights"))
        for place in places:
            if place >= len(groups):
                fail(f"{where}.held_weights", f"holds {place}, which is not a position among {len(groups)} weights")
            counts[place] += 1
        found.append(replace(module, weights=places))
    return tuple(found), tuple(group._replace(count=count) for group, count in zip(groups, counts, strict=True))


def _read_group(item: Any, where: str) -> WeightGroup:
    match item:
        case [str() as kind, class_name, name, list(shape), list(parts), bool() as linear, list(skipped_by)] if kind in KINDS:
            sizes = tuple(_count(size, where) for size in shape)
            check_sizes(sizes, where)
            pairs = [a_list(part, where) for part in parts]
            if any(len(pair) != 2 for pair in pairs):  # noqa: PLR2004  # an element type and bytes
                fail(where, f"holds {brief(item)}, whose parts are no pairs")
            stored = tuple((a_text(dtype, where), _count(size, where)) for dtype, size in pairs)
            skipped = tuple(a_text(one, where) for one in skipped_by)
            if not set(skipped) <= set(QUANTISERS):
                fail(where, f"holds {brief(item)}, which no known package skips")
            return WeightGroup(kind, a_text(class_name, where), a_text(name, where), sizes, stored, 1, linear, skipped)
        case _:
            return fail(where, f"holds {brief(item)}, which is not a weight")


def _read_run(item: Any, calls: int, where: str) -> CapturedRun:
    match item:
        case [count, list(parts)]:
            pairs = tuple(tuple(a_list(part, where)) for part in parts)
        case _:
            fail(where, f"holds {brief(item)}, which is not a run")
    if any(len(pair) != 2 or _count(pair[0], where) >= calls for pair in pairs):  # noqa: PLR2004  # position and count
        fail(where, f"holds {brief(item)}, which names calls that do not exist")
    return CapturedRun(_count(count, where), tuple((pair[0], _count(pair[1], where)) for pair in pairs))


def _read_modules(items: list[Any], where: str) -> Iterator[CapturedModule]:
    """The modules depth first, each once, in the order of the file."""
    seen: set[str] = set()
    for item in items:
        head, _, params = a_text(item, where).rpartition(" ")
        path, _, class_name = head.rpartition(" ")
        check_path(path, where)
        parent = path.rpartition(".")[0]
        if not params.isascii() or not params.isdecimal() or path in seen or (path and parent not in seen):
            fail(where, f"holds {brief(item)}, which is out of order or damaged")
        seen.add(path)
        yield CapturedModule(path, class_name, _count(int(params), where))


def _read_call(fields: Json, files: _Files, aliases: Mapping[str, str], where: str) -> CapturedCall:
    entry = a_text(fields.get("entry"), f"{where}.entry")
    check_path(entry, f"{where}.entry")
    inputs = tuple(_read_input(an_object(item, f"{where}.inputs")) for item in a_list(fields.get("inputs"), f"{where}.inputs"))
    if "file" in fields:
        trace = files.graph(a_name(fields["file"], f"{where}.file"), f"{where}.file", entry, aliases)
    else:
        trace = _read_ops(fields, files, where)
    note = fields.get("note")
    text = _long_text(note, f"{where}.note") if type(note) is str else fail(f"{where}.note", "is not a text")
    count, objects = _count(fields.get("count"), f"{where}.count"), _flag(fields.get("returns_objects", False), where)
    read = None if fields.get("read") is None else tuple(_places(fields["read"], len(trace.gives), f"{where}.read"))
    more = fields.get("more_weight_bytes", 0)
    if type(more) is not int or abs(more) >= 2**63:
        fail(f"{where}.more_weight_bytes", f"is {brief(more)}, not a difference of bytes")
    trace = replace(_with_frees(fields, trace, where), inputs=inputs)
    return CapturedCall(
        entry,
        count,
        trace,
        text,
        read=read,
        returns_objects=objects,
        more_weight_bytes=more,
        held=_count(fields.get("held", 0), f"{where}.held"),
        is_whole="file" in fields,
    )


def _with_frees(fields: Json, trace: Trace, where: str) -> Trace:
    """The trace with the lifetimes that were seen when it was captured; an early fxprof wrote none."""
    if "file" not in fields or "frees" not in fields:
        return trace
    frees, insides = (_by_operator(fields.get(name, []), f"{where}.{name}") for name in ("frees", "inside"))
    if any(len(numbers) != 1 for numbers in insides.values()):
        fail(f"{where}.inside", "holds an item other than an operator and its bytes")
    return with_frees(trace, frees, {at: size for at, (size,) in insides.items()})


def _by_operator(value: Any, where: str) -> dict[int, tuple[int, ...]]:
    rows = [_numbers(item, where) for item in a_list(value, where)]
    if not all(rows):
        fail(where, "holds an item without an operator")
    return {row[0]: row[1:] for row in rows}


def _read_ops(fields: Json, files: _Files, where: str) -> Trace:
    """Operators that were recorded one by one; an early fxprof wrote no values."""
    ops = tuple(files.op(an_object(item, f"{where}.ops"), f"{where}.ops") for item in a_list(fields.get("ops"), f"{where}.ops"))
    origins = tuple(_origin(item, f"{where}.origins") for item in a_list(fields.get("origins", []), f"{where}.origins"))
    return Trace(ops, origins=origins, gives=_numbers(fields.get("gives", []), f"{where}.gives"))


def _origin(item: Any, where: str) -> tuple[int, Origin]:
    match item:
        case [int() as number, str() as kind, str() as name] if type(number) is int and kind in _KINDS:
            return _count(number, where), Origin(kind, a_text(name, where))
        case _:
            return fail(where, "holds an item other than a number, a kind and a name")


_KINDS = frozenset({"input", "parameter", "buffer", "constant"})


def _numbers(value: Any, where: str) -> tuple[int, ...]:
    return tuple(_count(item, where) for item in a_list(value, where))


def _places(value: Any, number: int, where: str) -> Iterator[int]:
    """Positions among `number` results, each once, in ascending order."""
    last = -1
    for item in a_list(value, where):
        place = _count(item, where)
        if not last < place < number:
            fail(where, f"holds {brief(item)}, which is not a further position among {number} results")
        yield place
        last = place


class _Files:
    """The graphs of a captured run, one per call: files in its directory, or lists in the manifest."""

    def __init__(self, directory: Path, allowance: Allowance) -> None:
        self._directory = directory
        self._allowance = allowance
        self._stacks: dict[tuple[Frame, ...], tuple[Frame, ...]] = {}
        self._read: set[tuple[int, int]] = set()

    def graph(self, file: str, where: str, entry: str, aliases: Mapping[str, str]) -> Trace:
        """The single graph in a file."""
        if PureWindowsPath(file).name != file or file in {".", ".."}:  # it knows both kinds of slashes, and drives
            fail(where, f"is {brief(file)}, which is not in the directory")
        path = self._directory / file
        self._check_unread(path, where)
        programs, _ = read_programs(path, prefix=entry, aliases=aliases, allowance=self._allowance)
        if len(programs) != 1:
            raise TargetError(f"cannot read {path}: it holds {len(programs)} programs, but a call has one")
        return programs[0].trace

    def op(self, fields: Json, where: str) -> Op:
        """One operator of a list in the manifest."""
        self._allowance.operator(where)
        op = _read_op(fields, where)
        if op.stack not in self._stacks:
            self._allowance.modules(len(op.stack), where)
            self._stacks[op.stack] = op.stack
        return replace(op, stack=self._stacks[op.stack])

    def _check_unread(self, path: Path, where: str) -> None:
        """Refuse a file that was already read, under any name: reading one file many times could take very long."""
        try:
            status = path.stat()
        except OSError:  # reading the file will report it
            return
        if (status.st_dev, status.st_ino) in self._read:
            fail(where, f"is {brief(path.name)}, the file of another call")
        self._read.add((status.st_dev, status.st_ino))


def _read_input(fields: Json) -> tuple[str, Value]:
    name = a_text(fields.get("name"), "inputs.name")
    return name, _tensor(fields, "inputs") if "shape" in fields else _plain_text(fields.get("value"), "inputs.value")


def _plain_text(value: Any, where: str) -> str:
    return _long_text(value, where) if type(value) is str else fail(where, f"is {brief(value)}, not a text")


def _tensor(fields: Json, where: str) -> Tensor:
    shape = tuple(_count(size, f"{where}.shape") for size in a_list(fields.get("shape"), f"{where}.shape"))
    check_sizes(shape, f"{where}.shape")
    nnz = fields.get("nnz")
    if nnz is not None and an_integer(nnz, f"{where}.nnz") < UNKNOWN_NNZ:
        fail(f"{where}.nnz", f"is {nnz}, which is not a number of elements")
    return Tensor(shape, a_text(fields.get("dtype"), f"{where}.dtype"), nnz=nnz)


def _read_op(fields: Json, where: str) -> Op:
    args = []
    for item in a_list(fields.get("args"), f"{where}.args"):
        match item:
            case [str() as name, value]:
                args.append((name, _read_value(value, f"{where}.args")))
            case _:
                fail(f"{where}.args", "holds an item other than a name and a value")
    source = fields.get("source")
    outputs = tuple(_read_value(value, f"{where}.outputs") for value in a_list(fields.get("outputs"), f"{where}.outputs"))
    reads, makes = (_numbers(fields.get(name, []), f"{where}.{name}") for name in ("reads", "makes"))
    for name, numbers, values in (("reads", reads, [value for _, value in args]), ("makes", makes, outputs)):
        if numbers and len(numbers) != sum(1 for _ in tensors_in(values)):
            fail(f"{where}.{name}", "has another number of values than there are tensors")
    return Op(
        a_name(fields.get("target"), f"{where}.target"),
        tuple(args),
        outputs,
        tuple(_read_frame(item, where) for item in a_list(fields.get("stack"), f"{where}.stack")),
        None if source is None else a_text(source, f"{where}.source"),
        reads=reads,
        makes=makes,
    )


def _read_frame(item: Any, where: str) -> Frame:
    match item:
        case [str() as path, str() as class_name, int() as visit] if type(visit) is int:
            check_path(path, f"{where}.stack")
            return Frame(path, a_text(class_name, f"{where}.stack"), _count(visit, f"{where}.stack"))
        case _:
            return fail(f"{where}.stack", "holds an item other than a path, a class and a number")


def _read_value(value: Any, where: str, depth: int = 0) -> Value:
    if depth > _DEEPEST:
        fail(where, "nests too deeply")
    match value:
        case {"shape": _, "dtype": _}:
            return _tensor(value, where)
        case {"number": str() as text} if len(text) < _LONGEST_NUMBER:
            return _number(text, where)
        case list():
            return tuple(_read_value(item, where, depth + 1) for item in value)
        case dict():
            return fail(where, "holds an object that is not a tensor")
        case _:
            return _plain(value, where)


_LONGEST_NUMBER = 100
_DEEPEST = limits.NESTING


def _number(text: str, where: str) -> Value:
    try:
        return complex(text) if text.endswith(("j", "j)")) else float(text)
    except ValueError:
        return fail(where, f"holds {brief(text)}, which is not a number")
