"""A `.pt2` file as a capture: every exported program in it becomes a component that is called once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from io import FileIO
from math import isclose, prod
from pathlib import Path
from typing import Any

from fxprof.errors import TargetError
from fxprof.trace.allowance import Allowance
from fxprof.trace.archive import read_archive
from fxprof.trace.arithmetic import MOST_ELEMENTS, Number
from fxprof.trace.captured import Capture, CapturedCall, CapturedComponent, CapturedModule
from fxprof.trace.collector import uncollected
from fxprof.trace.conditions import Conditions, Ranges, at_sizes, conditions_of
from fxprof.trace.dims import Dims, bind_dims, read_names, told_guards
from fxprof.trace.fields import (
    FaultError,
    a_code,
    a_list,
    a_text,
    an_integer,
    an_object,
    brief,
    check_path,
    fail,
    given,
    the_one,
)
from fxprof.trace.graph import GraphReader, ProgramReader, references, stacks_of
from fxprof.trace.guards import Inputs, input_paths
from fxprof.trace.modules import called_paths, modules_of_graph, programs_among, root_class, with_weights
from fxprof.trace.owners import Owners, ProgramPaths, constant_names, other_paths, renaming
from fxprof.trace.records import Origin, Tensor, Trace, Value
from fxprof.trace.schema import NEWEST_MAJOR, READ_MAJORS
from fxprof.trace.stacks import Entry, StackReader, true_entries
from fxprof.trace.symbols import Expr, Sizes, UnboundSymbolError, in_short
from fxprof.trace.weights import KINDS, PARAMETER, WeightGroup

DIM_NAMES = "dim_names.json"
"""A text in an archive with the names of symbols from `dynamic_shapes`, which torch does not save."""


@dataclass(frozen=True, slots=True)
class Program:
    """The contents of one exported program."""

    name: str
    """`model` if an archive holds a single program; otherwise the method's name."""
    trace: Trace
    modules: tuple[CapturedModule, ...]
    weights: tuple[WeightGroup, ...]
    ranges: Ranges
    conditions: Conditions
    """Its conditions on its sizes."""
    torch_version: str
    """The version of the torch that wrote it."""

    @property
    def class_name(self) -> str:
        """The class of the exported module; "" if no operator shows it."""
        return root_class(self.trace.ops)


@dataclass(frozen=True, slots=True)
class Package:
    """The contents of an archive."""

    programs: tuple[Program, ...]
    names: Mapping[str, str]
    """Further names of the programs' sizes, to a symbol or a place."""
    remarks: tuple[str, ...] = ()
    """Sentences about the other contents of the archive."""


def read_programs(
    path: str | Path,
    *,
    prefix: str = "",
    aliases: Mapping[str, str] | None = None,
    allowance: Allowance | None = None,
) -> tuple[tuple[Program, ...], Mapping[str, str]]:
    """The programs of a `.pt2` file, and further names of their sizes; see `read_package`."""
    package = read_package(path, prefix=prefix, aliases=aliases, allowance=allowance)
    return package.programs, package.names


def read_package(
    path: str | Path,
    opened: FileIO | None = None,
    *,
    prefix: str = "",
    aliases: Mapping[str, str] | None = None,
    allowance: Allowance | None = None,
) -> Package:
    """Read a `.pt2` file.

    Args:
        path: the path of the file.
        opened: the already open file, at its beginning; it is closed afterwards.
        prefix: path of the exported module below its component, put before the path of every module.
        aliases: other paths of shared modules, to the one path that collects their calls.
        allowance: the amount that may still be read of a captured run; by default that of one file.

    Raises:
        TargetError: the file is not a `.pt2` file, is damaged, has a newer schema, or contradicts itself.
    """
    allowance = allowance or Allowance()
    try:
        with uncollected():
            archive = read_archive(path, opened, extra=(DIM_NAMES,), allowance=allowance)
            programs = tuple(
                _program(
                    name,
                    value,
                    _places(archive.weights.get(name, {"config": {}}), archive.empty),
                    ProgramReader(prefix, aliases, allowance),
                )
                for name, value in archive.programs.items()
            )
            return Package(programs, read_names(archive.extra.get(DIM_NAMES, "{}")), archive.remarks)
    except FaultError as fault:
        raise TargetError(f"cannot read {path}: {fault}", "export the program again with torch.export.save") from fault
    except RecursionError as error:
        raise TargetError(f"cannot read {path}: its graph nests too deeply") from error
    except MemoryError as error:
        raise TargetError(f"cannot read {path}: there is not enough memory") from error


def read_capture(path: str | Path, dims: Mapping[str, int], opened: FileIO | None = None) -> Capture:
    """Read a `.pt2` file as a capture, at the sizes of its example inputs or at given ones.

    Args:
        path: the path of the file.
        opened: as for `read_package`.
        dims: sizes by symbol (`s77`), by place (`x.0`: the first size of the input `x`), or by a name from the file.

    Raises:
        TargetError: as `read_package`.
        UsageError: `dims` names a size that no program has, or a value is out of its range.
    """
    read = read_package(path, opened)
    programs = read.programs
    sides = [_dims(program) for program in programs]
    bound = bind_dims(Path(path).name, sides, read.names, dims)
    components = tuple(_component(program, symbols) for program, symbols in zip(programs, bound, strict=True))
    several = len(programs) > 1
    workload = {
        f"{program.name}:{name}" if several else name: size
        for program, symbols in zip(programs, bound, strict=True)
        for name, size in sorted(symbols.items())
    }
    class_name = programs[0].class_name if not several else ""
    doubts, remarks = told_guards(sides, dims)
    return Capture(
        class_name or "ExportedProgram",
        components,
        workload,
        approximations=doubts,
        remarks=(*remarks, *read.remarks),
        target=Path(path).name,
        versions={"torch": programs[0].torch_version},
    )


def _dims(program: Program) -> Dims:
    return Dims(program.name, program.trace, program.ranges, program.conditions)


def _component(program: Program, symbols: Mapping[str, int]) -> CapturedComponent:
    calls = (CapturedCall("", 1, at_sizes(program.trace, symbols)),)
    class_name = program.class_name or "GraphModule"
    return CapturedComponent(program.name, class_name, program.modules, calls, weights=program.weights)


def _program(name: str, value: Any, weights: _Weights, reader: ProgramReader) -> Program:
    where = "" if name == "model" else f"{name}: "
    fields = an_object(value, f"{where}the program")
    _check_schema(fields, where)
    module = an_object(fields.get("graph_module"), f"{where}graph_module")
    signature = an_object(module.get("signature"), f"{where}signature")
    specs = [the_one(item, f"{where}input_specs") for item in a_list(signature.get("input_specs"), f"{where}input_specs")]
    names = list(_order(module.get("module_call_graph")))
    order = tuple(called_paths(names))
    owner_of = dict(_owners(specs))
    reader.stacks.rename = _renaming(module.get("graph"), reader.parsed, owner_of, {*order, *owner_of.values()})
    owners = Owners(reader.stacks, owner_of, programs=ProgramPaths(programs_among(names)))
    graph = GraphReader(reader, module.get("graph"), f"{where}graph", owners=owners)
    inputs = tuple(_inputs(graph, specs))
    ops = tuple(graph.ops())
    gives = graph.gives()
    named = ((graph.numbers[name], origin) for name, origin in _origins(specs, reader.stacks) if name in graph.numbers)
    trace = Trace(ops, inputs, origins=tuple(named), gives=gives)
    reader.finish()
    trace = replace(trace, symbols=tuple(sorted(reader.symbols.items())))
    _check_hints(at_sizes(trace, reader.symbols), reader.hints)
    held = list(_held(graph, specs, *weights))
    params = _params(held)
    ranges = _ranges(fields.get("range_constraints"))
    guards = [a_code(text, "guards_code") for text in a_list(given(fields.get("guards_code"), []), "guards_code")]
    reader.allowance.guards(sum(map(len, guards)), "guards_code")
    reader.allowance.guards(sum(map(len, ranges)), "range_constraints")
    modules, groups = with_weights(modules_of_graph(trace.walk(), params, order), held)
    return Program(
        name,
        trace,
        modules,
        groups,
        ranges,
        conditions_of(trace, guards, _named_inputs(graph, specs, module.get("module_call_graph")), ranges),
        _torch_version(fields.get("torch_version")),
    )


_HELD = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}


def _owners(specs: list[tuple[str, Any]]) -> Iterator[tuple[str, str]]:
    """(name in the graph, path of its module) of every weight."""
    for kind, spec in specs:
        if kind in _HELD:
            fields = an_object(spec, kind)
            path = a_text(fields.get(_HELD[kind]), _HELD[kind]).rpartition(".")[0]
            check_path(path, _HELD[kind])
            yield a_text(an_object(fields.get("arg"), f"{kind}.arg").get("name"), f"{kind}.arg"), path


def _origins(specs: list[tuple[str, Any]], stacks: StackReader) -> Iterator[tuple[str, Origin]]:
    """(name in the graph, origin) of each value that no operator makes."""
    numbered = constant_names(spec[_HELD[kind]] for kind, spec in specs if kind == "tensor_constant")
    for kind, spec in specs:
        if kind in _HELD:
            path, _, leaf = numbered.get(spec[_HELD[kind]], spec[_HELD[kind]]).rpartition(".")
            name = ".".join(filter(None, (stacks.path(path), leaf)))
            yield spec["arg"]["name"], Origin(kind.removeprefix("tensor_"), name)
        elif kind == "user_input":
            yield from ((name, Origin("input", name)) for name in references(spec["arg"]))


def _renaming(
    graph: Any, parsed: dict[str, tuple[Entry, ...]], owner_of: Mapping[str, str], modules: Collection[str]
) -> Callable[[str], str] | None:
    """A function that gives modules their own paths, if the program uses further paths; otherwise None."""
    nodes = an_object(graph, "graph")
    paths = {path for entries, _ in stacks_of(nodes, parsed, operands=False) for _, path, _ in true_entries(entries)}
    own_paths = {} if paths <= {"", *modules} else other_paths(stacks_of(nodes, parsed), owner_of, {"", *modules})
    return renaming(own_paths) if own_paths else None


def _check_hints(trace: Trace, hints: Iterable[tuple[Expr, Number, str]]) -> None:
    """Compare the file's values of its expressions at the example inputs with the computed values."""
    sizes = trace.sizes()
    for expression, hint, where in hints:
        try:
            value = sizes.number(expression)
        except UnboundSymbolError:
            continue
        if not -MOST_ELEMENTS < value < MOST_ELEMENTS:
            continue  # not a size; reading its user reports it
        if value != hint and not (isinstance(hint, float) and isclose(value, hint)):
            fail(where, f"says that {in_short(expression)} is {hint} in the example inputs, but it is {value}")


def _named_inputs(graph: GraphReader, specs: list[tuple[str, Any]], calls: Any) -> Inputs:
    """The inputs by their names in guards."""
    values, names = [], []
    for kind, spec in specs:
        if kind == "user_input":
            name, value = _input(graph, spec)
            names.append(name)
            values.append(value)
        elif kind == "constant_input":
            fields = an_object(spec, "constant_input")
            names.append(a_text(given(fields.get("name"), ""), "constant_input.name"))
            values.append(_constant(fields.get("value")))
    entries = a_list(given(calls, []), "module_call_graph")
    root = an_object(entries[0], "module_call_graph") if entries else {}
    signature = an_object(given(root.get("signature"), {}), "module_call_graph.signature")
    return Inputs(values, names, input_paths(signature.get("in_spec"), signature.get("forward_arg_names")))


def _input(graph: GraphReader, spec: Any) -> tuple[str, Value]:
    """(name in the graph, value) of a user's input; ("", value) for a constant."""
    argument = an_object(spec, "user_input").get("arg")
    kind, value = the_one(argument, "user_input.arg")
    fields = an_object(value, "user_input.arg") if kind in _NAMED else {}
    name = fields.get("name", fields.get("as_name"))
    return a_text(given(name, ""), "user_input.arg"), graph.argument(argument, "user_input.arg")


def _constant(value: Any) -> Value:
    """The value of an input that the export fixed."""
    held = next(iter(value.values())) if type(value) is dict and len(value) == 1 else None
    return held if type(held) in (int, float, bool, str) else None


def _check_schema(fields: dict[str, Any], where: str) -> None:
    version = fields.get("schema_version")
    version = {"major": version, "minor": 0} if type(version) is int else an_object(version, f"{where}schema_version")
    major, minor = (an_integer(version.get(part), f"{where}schema_version.{part}") for part in ("major", "minor"))
    written = f"written by torch {_torch_version(fields.get('torch_version'))}"
    if major > NEWEST_MAJOR:
        fail("", f"{where}it is of schema {major}.{minor}, {written}; this fxprof reads {NEWEST_MAJOR} and is too old for it")
    if major not in READ_MAJORS:
        fail("", f"{where}it is of schema {major}.{minor}, {written}, which torch itself no longer reads")


def _torch_version(value: Any) -> str:
    return a_text(value if value is not None else "unknown", "torch_version")


def _inputs(graph: GraphReader, specs: list[tuple[str, Any]]) -> Iterator[tuple[str, Value]]:
    seen: set[str] = set()
    for kind, spec in specs:
        if kind == "user_input":
            argument = an_object(spec, "user_input").get("arg")
            held, value = the_one(argument, "user_input.arg")
            name = an_object(value, "user_input.arg") if held in _NAMED else {}
            named = name.get("name", name.get("as_name"))
            if named is not None:
                if a_text(named, "user_input.arg") in seen:
                    fail("user_input.arg", f"names {brief(named)} a second time")
                seen.add(named)
                yield a_text(named, "user_input.arg"), graph.argument(argument, "user_input.arg")


_NAMED = ("as_tensor", "as_sym_int", "as_sym_float", "as_sym_bool", "as_custom_obj")


_Place = tuple[Any, ...]
_Weights = tuple[Mapping[str, _Place], Mapping[str, tuple[Any, ...]]]
"""Name of a weight to its place, and to its sizes."""


def _places(weights: Any, empty: frozenset[str]) -> tuple[dict[str, _Place], dict[str, tuple[Any, ...]]]:
    """Name of a weight to its place, and to its sizes.

    Two names with one place are one weight. Weights without data have no place.
    """
    table = an_object(an_object(weights, "weights").get("config"), "weights.config")
    places = {name: _place(an_object(item, f"weights.config[{brief(name)}]")) for name, item in table.items()}
    return {name: place for name, place in places.items() if place[0] not in empty}, {
        name: place[2] for name, place in places.items()
    }


def _place(item: dict[str, Any]) -> _Place:
    meta = an_object(given(item.get("tensor_meta"), {}), "weights.tensor_meta")
    offset = an_object(given(meta.get("storage_offset"), {}), "weights.storage_offset").get("as_int")
    sizes = [an_object(size, "weights.sizes").get("as_int") for size in a_list(given(meta.get("sizes"), []), "weights.sizes")]
    return a_text(item.get("path_name"), "weights.path_name"), str(offset), tuple(map(_whole, sizes))


def _whole(size: Any) -> int | None:
    return size if type(size) is int else None


def _check_record(name: str, sizes: tuple[Any, ...] | None, tensor: Value) -> None:
    """Compare the archive's record of a weight with the tensor in the graph."""
    if sizes and isinstance(tensor, Tensor) and all(type(size) is int for size in sizes) and sizes != tensor.shape:
        written = ["x".join(map(str, shape)) or "a number" for shape in (sizes, tensor.shape)]
        fail("weights.config", f"records {brief(name)} as {written[0]}, but the graph takes it as {written[1]}")


def _held(
    graph: GraphReader, specs: list[tuple[str, Any]], places: Mapping[str, _Place], recorded: Mapping[str, tuple[Any, ...]]
) -> Iterator[tuple[str, str, tuple[int, ...], str]]:
    """Kind, name, sizes and element type of each parameter and buffer; the type of one that has another name before is ""."""
    seen: set[_Place] = set()
    for kind, spec in specs:
        if kind in KINDS:
            fields = an_object(spec, kind)
            name = a_text(fields.get(f"{kind}_name"), f"{kind}_name")
            tensor = graph.argument({"as_tensor": fields.get("arg")}, f"{kind}.arg")
            _check_record(name, recorded.get(name), tensor)
            if kind == PARAMETER:
                check_path(name.rpartition(".")[0], "parameter_name")
            place = places.get(name, (name,))
            if place in seen or not isinstance(tensor, Tensor):
                yield kind, name, (), ""
            else:
                yield kind, name, tuple(_size(size, kind) for size in tensor.shape), tensor.dtype
            seen.add(place)


def _params(held: Iterable[tuple[str, str, tuple[int, ...], str]]) -> dict[str, int]:
    """Module path to the number of its own parameters."""
    params: dict[str, int] = {}
    for kind, name, shape, dtype in held:
        if kind == PARAMETER:
            path = name.rpartition(".")[0]
            params[path] = params.get(path, 0) + (prod(shape) if dtype else 0)
    return params


def _size(size: Any, kind: str) -> int:
    try:
        return Sizes({}).size(size)
    except UnboundSymbolError:
        return fail(kind, "has a symbolic size")


def _order(entries: Any) -> Iterator[str]:
    """Paths of the modules in the order in which they were built."""
    for entry in a_list(given(entries, []), "module_call_graph"):
        path = a_text(an_object(entry, "module_call_graph").get("fqn"), "module_call_graph.fqn")
        check_path(path, "module_call_graph.fqn")
        yield path


def _ranges(value: Any) -> dict[str, tuple[int | None, int | None]]:
    ranges = {}
    for name, item in an_object(given(value, {}), "range_constraints").items():
        fields = an_object(item, "range_constraints")
        least, largest = fields.get("min_val"), fields.get("max_val")
        ranges[name] = (_bound(least), _bound(largest))
    return ranges


def _bound(value: Any) -> int | None:
    if value is None or value in ("Infinity", "-Infinity"):
        return None
    return an_integer(value, "range_constraints")
